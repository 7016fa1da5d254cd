"""Random views of whole batches on the training device, with independent draws for each item."""

from salience.views.views import ANY, IDENTITY, Views, default_policy, make_views

__all__ = ["ANY", "IDENTITY", "Views", "default_policy", "make_views"]
