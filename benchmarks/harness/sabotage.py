"""Define how runs are broken for the doctor's benchmark. Each way is a context manager that takes the method's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salience.methods import method_class
from salience.methods.contract import Method
from salience.modalities.image import policies as images
from salience.modalities.table import policies as tables
from salience.views.policy import Shape
from salience.views.random import Keys

PROTOTYPES = ("scorer.weight", "directions")  # SwAV's and DINO's


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def no_stop_gradient(method: str) -> AbstractContextManager[None]:
    """SimSiam and BYOL: the target gets gradients; BYOL's teacher is the student itself."""
    module = import_module(f"salience.methods.contrastive.{method}")
    if method == "simsiam":
        return swapped(module, "simsiam_loss", lambda p, z: -F.cosine_similarity(p, z, dim=1).mean())
    return student_as_teacher(module)


@contextmanager
def student_as_teacher(module: Any) -> Iterator[None]:
    loss = swapped(module, "byol_loss", lambda q, z: 2 - 2 * F.cosine_similarity(q, z, dim=1).mean())
    with loss, swapped(module.BYOL, "target", lambda self, x: self.projector(self.encoder(x))):
        yield


def no_predictor(method: str) -> AbstractContextManager[None]:
    return changed_build(method, lambda made: setattr(made, "predictor", nn.Identity()))


def dead_prototypes(method: str) -> AbstractContextManager[None]:
    """All prototypes of SwAV, or of DINO's student and teacher, are one."""

    def kill(made: Any) -> None:
        for name, parameter in made.named_parameters():
            if name.endswith(PROTOTYPES):
                parameter.data.copy_(parameter.data[:1].expand_as(parameter))

    return changed_build(method, kill)


@contextmanager
def changed_build(method: str, change: Callable[[Any], None]) -> Iterator[None]:
    """Every method built within is changed."""
    owner = method_class(method)
    build = owner.build

    def changed(context: Any, **options: Any) -> Any:
        made = build(context, **options)
        change(made)
        return made

    with swapped(owner, "build", changed):
        yield


def destroying_views(method: str) -> AbstractContextManager[None]:
    """Views that keep next to nothing of the item: a few pixels, turned to noise."""

    def destroy(x: Tensor, keys: Keys, shape: Shape) -> Tensor:
        side = shape.side
        spot = F.interpolate(F.adaptive_avg_pool2d(x, 1), size=(side, side))
        return (0.15 * spot + 0.85 * keys.fold("noise").uniform(x.shape[1], side, side)).clamp(0, 1)

    return replaced_policies(destroy)


@contextmanager
def replaced_policies(policy: Any) -> Iterator[None]:
    known = (images.POLICIES, tables.POLICIES)
    before = [dict(policies) for policies in known]
    for policies in known:
        policies.update(dict.fromkeys(policies, policy))
    try:
        yield
    finally:
        for policies, kept in zip(known, before, strict=True):
            policies.update(kept)


@contextmanager
def flipped_sign(method: str) -> Iterator[None]:
    """The loss rises instead of falling."""
    owner = method_class(method)
    loss = owner.loss

    def negative(self: Method, batch: Any, at: Any) -> dict[str, Tensor]:
        terms = loss(self, batch, at)
        return terms | {"loss": torch.neg(terms["loss"])}

    with swapped(owner, "loss", negative):
        yield


SABOTAGES: dict[str, Callable[[str], AbstractContextManager[None]]] = {
    "no-stop-gradient": no_stop_gradient,
    "no-predictor": no_predictor,
    "dead-prototypes": dead_prototypes,
    "destroying-views": destroying_views,
    "flipped-sign": flipped_sign,
}
