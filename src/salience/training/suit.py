"""The views that suit the data: found by a test of the data where neither the user nor the source names them."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from salience.data import Dataset
from salience.views import Views, default_policy


def views_of(method: nn.Module) -> Views | None:
    """The views a method draws; None where it draws none."""
    views = dict(method.named_children()).get("views")
    return views if isinstance(views, Views) else None


def suited(dataset: Dataset, method: nn.Module, given: str | None) -> tuple[Dataset, str | None]:
    """The dataset, whose spec then names the policy that suits it, and why.

    As it was, and None, where nothing is to be found out: the user has given a policy, the source knows one, or the
    method draws no views that flip.
    """
    views = views_of(method)
    if given is not None or dataset.spec.views is not None or views is None:
        return dataset, None
    found = dataset.spec.modality.suggest_policy(dataset, views.policy)
    if found is None:
        return dataset, None
    policy, reason = found
    if policy == default_policy(dataset.spec)[0]:
        return dataset, reason
    return replace(dataset, spec=replace(dataset.spec, views=policy)), reason
