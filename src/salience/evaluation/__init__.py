"""Embeddings to figures: what a representation knows, beside what it has to beat."""

from salience.evaluation.compare import Comparison, compare
from salience.evaluation.protocol import evaluate
from salience.evaluation.report import Report

__all__ = ["Comparison", "Report", "compare", "evaluate"]
