"""Schedules: where they begin and end, and which parameters a scheduled weight decay touches."""

from __future__ import annotations

import itertools

import pytest
import torch

from salience.methods.schedules import cosine, set_weight_decay, warm_up_cosine


def test_the_learning_rate_rises_and_ends_at_zero() -> None:
    factors = [warm_up_cosine(step, 100) for step in range(101)]
    assert factors[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert factors[10] == 1.0
    assert factors[100] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def test_half_a_cosine_goes_from_one_number_to_another() -> None:
    assert [cosine(0.9, 0.1, fraction) for fraction in (0.0, 0.5, 1.0)] == pytest.approx([0.9, 0.5, 0.1])
    assert cosine(0.0, 1.0, 0.25) == pytest.approx((1 - 0.5**0.5) / 2)


def test_a_scheduled_weight_decay_is_that_of_weights_alone_and_none_changes_nothing() -> None:
    layer = torch.nn.Linear(3, 2)
    groups = [{"params": [layer.weight], "weight_decay": 0.3}, {"params": [layer.bias], "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=0.1)
    for decay, expected in ((None, [0.3, 0.0]), (0.0, [0.0, 0.0]), (0.7, [0.7, 0.0])):
        set_weight_decay(optimiser, decay)
        assert [group["weight_decay"] for group in optimiser.param_groups] == expected
