"""Salience learns representations from data that nobody has labelled, shows what they know, and puts them to work.

    rep = salience.fit("simclr", "digits", resolution=16, epochs=20)
    codes = rep.embed("digits")                       # [n d]
    print(salience.evaluate(rep, on="digits"))

Importing this package imports neither torch nor NumPy: every public name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

PUBLIC = {
    "Batch": "salience.batch",
    "Column": "salience.modalities.table.spec",
    "Progress": "salience.batch",
    "Spec": "salience.modalities",
    "UserError": "salience.errors",
    "MissingPackage": "salience.errors",
    "Note": "salience.errors",
    "Dataset": "salience.data",
    "Reading": "salience.reading",
    "open_data": "salience.data",
    "Representation": "salience.representation",
    "load": "salience.representation",
    "compare": "salience.evaluation.compare",
    "evaluate": "salience.evaluation",
    "fit": "salience.training",
    "resume": "salience.training",
    "embed_to": "salience.verbs.export",
    "predict": "salience.verbs.predict",
    "describe": "salience.verbs.describe",
    "doctor": "salience.verbs.doctor",
    "preview": "salience.verbs.preview",
    "reconstruct": "salience.verbs.reconstruct",
    "denoise": "salience.verbs.denoise",
    "sample": "salience.verbs.sample",
    "interpolate": "salience.verbs.interpolate",
    "arithmetic": "salience.verbs.arithmetic",
    "anomalies": "salience.verbs.anomalies",
    "super_resolve": "salience.verbs.super_resolve",
    "search": "salience.verbs.search",
    "explore": "salience.explorer",
    "cluster": "salience.verbs.cluster",
    "duplicates": "salience.verbs.duplicates",
}

__all__ = sorted(PUBLIC)

if TYPE_CHECKING:
    from salience.batch import Batch as Batch
    from salience.batch import Progress as Progress
    from salience.data import Dataset as Dataset
    from salience.data import open_data as open_data
    from salience.errors import MissingPackage as MissingPackage
    from salience.errors import Note as Note
    from salience.errors import UserError as UserError
    from salience.evaluation import evaluate as evaluate
    from salience.evaluation.compare import compare as compare
    from salience.explorer import explore as explore
    from salience.modalities import Spec as Spec
    from salience.modalities.table.spec import Column as Column
    from salience.reading import Reading as Reading
    from salience.representation import Representation as Representation
    from salience.representation import load as load
    from salience.training.fit import fit as fit
    from salience.training.fit import resume as resume
    from salience.verbs.anomalies import anomalies as anomalies
    from salience.verbs.arithmetic import arithmetic as arithmetic
    from salience.verbs.cluster import cluster as cluster
    from salience.verbs.denoise import denoise as denoise
    from salience.verbs.describe import describe as describe
    from salience.verbs.doctor import doctor as doctor
    from salience.verbs.duplicates import duplicates as duplicates
    from salience.verbs.export import embed_to as embed_to
    from salience.verbs.interpolate import interpolate as interpolate
    from salience.verbs.predict import predict as predict
    from salience.verbs.preview import preview as preview
    from salience.verbs.reconstruct import reconstruct as reconstruct
    from salience.verbs.sample import sample as sample
    from salience.verbs.search import search as search
    from salience.verbs.super_resolve import super_resolve as super_resolve

    __version__: str
else:
    # Under TYPE_CHECKING only the names above exist, so that a type checker refuses salience.typo.

    def __getattr__(name: str) -> object:
        import importlib

        if name == "__version__":
            from importlib.metadata import version

            return version("salience")
        if name not in PUBLIC:
            raise AttributeError(f"module 'salience' has no attribute {name!r}")
        value = getattr(importlib.import_module(PUBLIC[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted([*globals(), *PUBLIC, "__version__"])
