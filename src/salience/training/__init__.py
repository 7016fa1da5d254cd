"""fit and resume: training under Lightning, with a recipe, checkpoints and a cost.

Importing this loads no Lightning: closed forms are fitted without it.
"""

from salience.training.fit import fit, resume
from salience.training.sittings import Interrupted

__all__ = ["Interrupted", "fit", "resume"]
