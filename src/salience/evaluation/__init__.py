"""Embeddings to figures: what a representation knows, beside what it has to beat.

`compare` is in the module of that name. Importing the package loads nothing: comparing runs and asking for their health
need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_PUBLIC = {
    "Comparison": "salience.evaluation.compare",
    "Report": "salience.evaluation.report",
    "evaluate": "salience.evaluation.protocol",
}

__all__ = ["Comparison", "Report", "evaluate"]

if TYPE_CHECKING:
    from salience.evaluation.compare import Comparison
    from salience.evaluation.protocol import evaluate
    from salience.evaluation.report import Report
else:

    def __getattr__(name: str) -> object:
        import importlib

        if name not in _PUBLIC:
            raise AttributeError(f"module 'salience.evaluation' has no attribute {name!r}")
        return getattr(importlib.import_module(_PUBLIC[name]), name)
