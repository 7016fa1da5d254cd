"""Tables of what each option does: a check for every option of every method, and a test that none is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from salience import catalogue
from salience.batch import Batch, Progress
from salience.data import Dataset
from salience.methods import Method
from tests import contract

ROWS = 8
AT = Progress(step=3, total=10, epoch=1, seed=2)
Check = Callable[[str, str], None]


class Effects(dict[str, Check]):
    """ "method.option" -> the check of it, which gets both names."""

    def of(self, *keys: str) -> Callable[[Check], Check]:
        """Registers a function as the check of these options."""

        def register(check: Check) -> Check:
            assert not self.keys() & set(keys), "an option has one check"
            self.update(dict.fromkeys(keys, check))
            return check

        return register

    def run(self, key: str) -> None:
        self[key](*key.split("."))


def options_of_family(family: str) -> set[str]:
    """Every "method.option" that the catalogue lists for this family."""
    entries = [entry for entry in catalogue.entries() if entry.family == family]
    return {f"{entry.name}.{option.name}" for entry in entries for option in entry.options}


@cache
def dataset_for(name: str) -> Dataset:
    return contract.dataset_for(name)


def built(name: str, *, encoder: str | None = "mlp", **options: Any) -> Method:
    """The method with these options, in float64; the same weights every time."""
    method = contract.build(name, dataset_for(name), encoder=encoder, **options)
    assert isinstance(method, Method)
    return method.double()


def batch_of(name: str, rows: int = ROWS) -> Batch:
    return dataset_for(name).batch(np.arange(rows))


def loss_of(method: Method, name: str, at: Progress = AT, rows: int = ROWS) -> Tensor:
    return method.loss(batch_of(name, rows), at)["loss"]


def widths(network: nn.Module) -> list[int]:
    """Outputs of the linear layers, in order."""
    return [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]


def number(value: Tensor | float) -> float:
    return torch.as_tensor(value).detach().item()


def assert_rises(values: Sequence[Any]) -> None:
    numbers = [number(value) for value in values]
    assert numbers == sorted(numbers), numbers
    assert len(set(numbers)) == len(numbers), numbers


def assert_weighs(name: str, option: str, term: Callable[[dict[str, Tensor]], Tensor], **others: Any) -> None:
    """The loss is what it is at 0, and so many times the term: at 0, 1 and 3."""
    losses = [built(name, **{option: weight}, **others).loss(batch_of(name), AT) for weight in (0.0, 1.0, 3.0)]
    for weight, terms in zip((0.0, 1.0, 3.0), losses, strict=True):
        torch.testing.assert_close(terms["loss"], losses[0]["loss"] + weight * term(losses[1]), rtol=1e-9, atol=1e-9)
    assert number(term(losses[1])) > 1e-6
