"""The losses and heads that are public: all that are named so, and usable with tensors alone."""

from __future__ import annotations

import math
from importlib import import_module

import pytest
import torch

from salience import catalogue, heads, losses


def losses_of(name: str) -> set[str]:
    """Functions named NAME_loss in a method's file."""
    entry = catalogue.find(name)
    module = import_module(f"salience.methods.{entry.family}.{name}")
    own = (key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
    return {key for key in own if key.endswith("_loss") and not key.startswith("_")}


def test_every_loss_of_a_method_is_public() -> None:
    found = set().union(*(losses_of(name) for name in catalogue.names()))
    assert {"byol_loss", "moco_loss", "swav_loss", "generator_loss"} <= found
    assert found - {"contrastive_loss"} <= set(losses.__all__)  # which takes a Boltzmann machine


@pytest.mark.parametrize("name", losses.__all__)
def test_a_public_loss_says_what_it_takes(name: str) -> None:
    said = getattr(losses, name).__doc__
    assert "->" in said  # the shapes of what it takes and gives


def test_a_training_of_ones_own_takes_a_head_a_teacher_and_a_loss() -> None:
    torch.manual_seed(0)
    projector = heads.head(4, 8, 3)
    teacher = heads.teacher_of(projector)
    x = torch.randn(6, 4)
    loss = losses.nt_xent(projector(x), projector(x), temperature=0.5)
    loss.backward()
    assert 0 < loss < math.log(11)  # less than where a partner is no nearer than the other ten
    assert all(p.grad is not None for p in projector.parameters())
    with torch.no_grad():
        projector[0].weight.add_(1.0)
    heads.follow(teacher, projector, 0.75)
    assert float(heads.distance(teacher, projector)) > 0
    torch.testing.assert_close(projector[0].weight - teacher[0].weight, torch.full((8, 4), 0.75))
