"""Kinds of data, a folder each. The contract is in `modality`; everything that knows one kind is in its folder."""

from salience.modalities.modality import Items, Modality
from salience.modalities.registry import find, known, register
from salience.modalities.spec import Spec

__all__ = ["Items", "Modality", "Spec", "find", "known", "register"]
