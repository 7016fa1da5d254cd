"""fit and resume: training under Lightning, with a recipe, checkpoints and a cost."""

from salience.training.checkpoints import Interrupted
from salience.training.fit import fit, resume

__all__ = ["Interrupted", "fit", "resume"]
