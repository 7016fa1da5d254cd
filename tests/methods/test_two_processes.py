"""Two processes with different data equal one with all of it: loss, every parameter's gradient, and what a step leaves.

Without batch norm, whose statistics a CPU's processes do not share. One pair of processes serves all methods.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from salience import catalogue
from salience.batch import Progress
from salience.methods import Method
from tests import contract
from tests.methods.proof import without_batch_norm
from tests.two_processes import two_processes

ROWS = 16
STEP, LAST = 3, 9  # of ten
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {  # other choices and other stages bring in other losses
    "sparse_autoencoder kl": ({"penalty": "kl"}, STEP),
    "stacked_autoencoder layer": ({}, STEP),
    "stacked_autoencoder together": ({}, LAST),
    "dbm together": ({}, LAST),  # what draws from the data itself, as its first stages do, does so on each process
}
NAMES = [name for name in catalogue.names() if catalogue.find(name).kind == "Method"] + [*VARIANTS]
Left = dict[str, Tensor]


def one_step(name: str, rows: slice, *, rank: int = 0, world: int = 1) -> Left:
    """Loss and gradients of one step on these rows, and the buffers and teachers it leaves."""
    method_name, (options, step) = name.split()[0], VARIANTS.get(name, ({}, STEP))
    dataset = contract.dataset_for(method_name)
    method = without_batch_norm(contract.build(method_name, dataset, encoder="mlp", **options)).double()
    assert isinstance(method, Method)
    at = Progress(step, 10, epoch=1, seed=2, rank=rank, world=world)
    method.before_step(at)
    loss = method.loss(dataset.batch(np.arange(ROWS)[rows]), at)["loss"]
    loss.backward()
    method.after_step(at)
    gradients = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
    return {"loss": loss.detach()} | gradients | {f"{key} after": value for key, value in method.state_dict().items()}


def on_half(rank: int) -> dict[str, Left]:
    half = ROWS // 2
    return {name: one_step(name, slice(rank * half, rank * half + half), rank=rank, world=2) for name in NAMES}


@pytest.fixture(scope="module")
def halves() -> list[dict[str, Left]]:
    return two_processes(on_half)


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_with_different_data_equal_one_with_all(name: str, halves: list[dict[str, Left]]) -> None:
    whole, (first, second) = one_step(name, slice(None)), (half[name] for half in halves)
    assert not torch.equal(first["loss"], second["loss"]) or name in SHARED
    for key, expected in whole.items():
        mean = (first[key] + second[key]) / 2 if expected.is_floating_point() else first[key]
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-11, msg=lambda text, key=key: f"{key}: {text}")
        if key.endswith(" after"):
            torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)  # no process goes its own way


SHARED = ("barlowtwins", "vicreg")  # every process has the loss of all samples, not of its own anchors
