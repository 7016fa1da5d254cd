"""The loss a method declares for a network that gives one vector to everything is what its loss function gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from salience.methods import Method
from salience.methods.contrastive.barlowtwins import barlow_twins_loss
from salience.methods.contrastive.byol import byol_loss
from salience.methods.contrastive.simclr import nt_xent
from salience.methods.contrastive.simsiam import simsiam_loss
from salience.methods.contrastive.vicreg import vicreg_loss
from tests import contract


def weighted(method: Any, terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([getattr(method, name) * term for name, term in terms.items()]).sum()


AT_ONE_POINT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "simclr": lambda method, z: nt_xent(z, z, temperature=method.temperature),
    "simsiam": lambda method, z: simsiam_loss(z, z),
    "byol": lambda method, z: byol_loss(z, z) + byol_loss(z, z),
    "barlowtwins": lambda method, z: sum(barlow_twins_loss(z, z, redundancy=method.redundancy).values()),
    "vicreg": lambda method, z: weighted(method, vicreg_loss(z, z)),
}


@pytest.mark.parametrize("name", AT_ONE_POINT)
def test_it_is_the_loss_of_items_that_are_all_alike(name: str) -> None:
    method = contract.build(name, contract.dataset_for(name))
    assert isinstance(method, Method)
    width = method.dim if name == "barlowtwins" else 16
    z = torch.randn(width, dtype=torch.float64).expand(12, width)
    assert float(AT_ONE_POINT[name](method, z)) == pytest.approx(method.collapsed_loss(12), rel=1e-9, abs=1e-9)
