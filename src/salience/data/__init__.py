"""Opening of sources, preparation in the cache, and batches for training."""

from salience.data.dataset import BadItem, Dataset
from salience.data.open import bad_items, open_data
from salience.data.sampling import Loader, permute

__all__ = ["BadItem", "Dataset", "Loader", "bad_items", "open_data", "permute"]
