"""ONE FILE = ONE METHOD. A method's name is its file's name; the class is the file's only concrete method."""

from __future__ import annotations

from importlib import import_module

from salience.methods.closed_form import ClosedForm
from salience.methods.contract import Context, Method


def method_class(name: str) -> type[Method] | type[ClosedForm]:
    """The class of a method by name. Raises UserError with the nearest names where there is none."""
    from salience import catalogue  # a user of one method need not load the list of all

    entry = catalogue.find(name)
    module = import_module(f"salience.methods.{entry.family}.{entry.name}")
    return getattr(module, entry.class_name)


__all__ = ["ClosedForm", "Context", "Method", "method_class"]
