"""Labels reach the methods that learn from them, and no other: their losses are the same to the bit without any."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from salience import catalogue
from salience.methods import Context, method_class
from tests.methods.effects import AT, ROWS, batch_of, built, dataset_for

NAMES = [entry.name for entry in catalogue.entries() if entry.kind != "ClosedForm"]
LABELLED = [name for name in NAMES if getattr(method_class(name), "needs_labels", False)]
EITHER = ("stacked_autoencoder", "dbn")  # which may be fine-tuned by labels


def losses(name: str, label: torch.Tensor | None) -> list[torch.Tensor]:
    batch = replace(batch_of(name), y={} if label is None else {"label": label})
    found = []
    for _, at in built(name).phases():
        torch.manual_seed(0)
        found += list(built(name).losses(batch, replace(at, seed=AT.seed, epoch=AT.epoch)))
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LABELLED])
def test_without_labels_with_them_and_with_others_the_loss_is_the_same(name: str) -> None:
    label = torch.arange(ROWS) % 3
    none, some, others = (losses(name, value) for value in (None, label, label.flip(0)))
    for one, second, third in zip(none, some, others, strict=True):
        assert torch.equal(one, second)
        assert torch.equal(one, third)


@pytest.mark.parametrize("name", LABELLED)
def test_a_method_of_labels_reads_them(name: str) -> None:
    label = torch.arange(ROWS) % 3
    some, others = losses(name, label), losses(name, label.flip(0) // 2)
    assert not torch.equal(some[0], others[0])


@pytest.mark.parametrize("name", EITHER)
def test_fine_tuning_by_labels_reads_them_in_its_last_stage_alone(name: str) -> None:
    torch.manual_seed(0)
    method = method_class(name).build(Context(dataset_for(name).spec, 96, classes=3), fine_tune="labels").double()
    label = torch.arange(ROWS) % 3
    phases = [at for _, at in method.phases()]
    for number, at in enumerate(phases):
        found = []
        for labels in (label, label.flip(0)):
            torch.manual_seed(0)
            found.append(method.loss(replace(batch_of(name), y={"label": labels}), at)["loss"])
        assert torch.equal(*found) == (number < len(phases) - 1)
