"""Corruption: the right share of values, the right values, the same for an item in any company."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec
from salience.views.corruption import corrupted, gaussian, masking, salt_and_pepper
from salience.views.random import Keys

IMAGES = ImageSpec((3, 16, 16), "uint8", 0, 255, (0.5,) * 3, (0.2,) * 3)
TABLE = TableSpec((2,), "float32", columns=(Column("a"), Column("b", "category", ("x", "y"))))
KINDS = ("masking", "gaussian", "salt-and-pepper")


def keys(rows: int = 200, epoch: int = 1) -> Keys:
    return Keys.of(7, epoch, torch.arange(rows))


def items() -> Tensor:
    return torch.rand(200, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1  # never 0 or 1


def test_masking_sets_its_share_to_zero_and_leaves_the_rest() -> None:
    x = items()
    out = masking(x, keys(), 0.25)
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.005)
    assert torch.equal(out[out != 0], x[out != 0])
    assert torch.equal(masking(x, keys(), 1.0), torch.zeros_like(x))


def test_gaussian_noise_has_its_deviation_and_no_mean() -> None:
    noise = gaussian(items(), keys(), 0.3) - items()
    assert noise.std().item() == pytest.approx(0.3, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.003)
    assert (noise.abs() < 0.3).float().mean().item() == pytest.approx(0.683, abs=0.005)


def test_salt_and_pepper_fall_equally_often() -> None:
    x = items()
    out = salt_and_pepper(x, keys(), 0.2, torch.tensor(0.0), torch.tensor(1.0))
    for value in (0.0, 1.0):
        assert (out == value).float().mean().item() == pytest.approx(0.1, abs=0.004)
    between = (out != 0) & (out != 1)
    assert torch.equal(out[between], x[between])


@pytest.mark.parametrize("kind", KINDS)
def test_level_0_changes_nothing(kind: str) -> None:
    assert torch.equal(corrupted(items(), keys(), kind, 0.0, IMAGES), items())


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_gets_the_same_noise_in_any_company_and_another_in_another_epoch(kind: str) -> None:
    whole = corrupted(items(), keys(), kind, 0.3, IMAGES)
    alone = corrupted(items()[5:7], Keys.of(7, 1, torch.tensor([5, 6])), kind, 0.3, IMAGES)
    assert torch.equal(alone, whole[5:7])
    assert not torch.equal(corrupted(items(), keys(epoch=2), kind, 0.3, IMAGES), whole)
    assert not torch.equal((whole - items())[0], (whole - items())[1])


def test_a_tables_numbers_have_two_deviations_and_its_categories_0_and_1() -> None:
    low, high = TABLE.modality.value_range(TABLE)
    assert low.tolist() == [-2, 0, 0]
    assert high.tolist() == [2, 1, 1]
    out = corrupted(torch.full((200, 3), 0.5), keys(), "salt-and-pepper", 1.0, TABLE)
    assert set(out[:, 0].tolist()) == {-2.0, 2.0}
    assert set(out[:, 1:].flatten().tolist()) == {0.0, 1.0}
