"""Random views of whole batches, on the training device, each sample with its own draw."""

from salience.views.views import ANY, IDENTITY, Views, default_policy, make_views

__all__ = ["ANY", "IDENTITY", "Views", "default_policy", "make_views"]
