"""The loss of labels that stacks are fine-tuned with: its value and gradient, on one process and on two."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from salience.methods.fine_tuning import label_loss
from tests.methods.proof import assert_same_value_and_gradient, random_views
from tests.two_processes import two_processes

LABELS = torch.tensor([2, -1, 0, 1, -1, 2, 2])


def loop(logits: Tensor, labels: Tensor) -> Tensor:
    terms = [-(row[y] - torch.logsumexp(row, 0)) for row, y in zip(logits, labels, strict=True) if y >= 0]
    return torch.stack(terms).sum() / len(terms)


def test_the_label_loss_is_the_mean_over_known_labels() -> None:
    (logits,) = random_views(7, 3, count=1)
    assert_same_value_and_gradient(label_loss(logits, LABELS), loop(logits, LABELS), (logits,))
    assert label_loss(torch.zeros(7, 3), LABELS).item() == pytest.approx(math.log(3))
    nothing = label_loss(logits, torch.full((7,), -1))
    assert nothing.item() == 0
    assert torch.autograd.grad(nothing, logits)[0].abs().sum() == 0


def on_share(rank: int) -> dict[str, Tensor]:
    logits = random_views(8, 3, count=1)[0].detach()[rank * 4 : rank * 4 + 4].requires_grad_()
    labels = torch.cat([LABELS, torch.tensor([-1])])[rank * 4 : rank * 4 + 4]  # three are known, then two
    loss = label_loss(logits, labels)
    loss.backward()
    return {"loss": loss.detach(), "gradient": logits.grad}


def test_processes_that_know_different_numbers_of_labels_equal_one() -> None:
    (logits,) = random_views(8, 3, count=1)
    labels = torch.cat([LABELS, torch.tensor([-1])])
    whole = label_loss(logits, labels)
    first, second = two_processes(on_share, start="fork")
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, whole.detach())
    gradient = torch.cat([first["gradient"], second["gradient"]]) / 2  # as the engine averages over processes
    torch.testing.assert_close(gradient, torch.autograd.grad(whole, logits)[0])
