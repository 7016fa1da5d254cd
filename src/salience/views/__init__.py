"""Random views of whole batches, on the training device, each sample with its own draw."""

from salience.views.policies import FLIPPING, MIRRORED, NO_FLIP, TURNED
from salience.views.unit import unit_images, unit_table
from salience.views.views import POLICIES, Views, default_policy, in_variant, make_views

__all__ = [
    "FLIPPING",
    "MIRRORED",
    "NO_FLIP",
    "POLICIES",
    "TURNED",
    "Views",
    "default_policy",
    "in_variant",
    "make_views",
    "unit_images",
    "unit_table",
]
