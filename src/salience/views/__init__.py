"""Random views of whole batches, on the training device, each sample with its own draw."""

from salience.views.unit import unit_images, unit_table
from salience.views.views import POLICIES, Views, default_policy, make_views

__all__ = ["POLICIES", "Views", "default_policy", "make_views", "unit_images", "unit_table"]
