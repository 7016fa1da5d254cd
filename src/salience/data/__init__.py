"""Opening of sources, preparation in the cache, and batches for training."""

from salience.data.dataset import BadItem, Dataset
from salience.data.open import open_data
from salience.data.sampling import Loader, permute

__all__ = ["BadItem", "Dataset", "Loader", "open_data", "permute"]
