"""Counter-based random numbers: a function of (seed, epoch, row, role, draw), and statistically sound."""

import math

import pytest
import torch
from scipy import stats

from salience.views.random import Keys

ROWS = torch.arange(4096)
MASK = (1 << 64) - 1


def splitmix_finaliser(z):  # written from the paper, on Python's unbounded integers
    z &= MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def chi2_p(counts, expected):
    return stats.chi2.sf(((counts - expected) ** 2 / expected).sum().item(), counts.numel() - 1)


def joint_p(a, b, bins=16):
    """How likely the joint histogram of two uniforms is, were they uniform and independent."""
    cell = (a.flatten() * bins).long() * bins + (b.flatten() * bins).long()
    return chi2_p(torch.bincount(cell, minlength=bins * bins).double(), cell.numel() / bins**2)


@pytest.mark.parametrize("key", [0, 1, -1, 2**63 - 1, -(2**63), 123456789])
def test_numbers_are_those_of_an_unbounded_integer_loop(key):
    drawn = Keys(torch.tensor([key])).uniform(5)[0]
    expected = [splitmix_finaliser((key + j) * 0x9E3779B97F4A7C15) >> 40 for j in range(5)]
    assert drawn.tolist() == [bits / 2**24 for bits in expected]


def test_a_row_draws_the_same_alone_in_any_batch_and_in_any_order():
    rows = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))[:64]
    whole = Keys.of(3, 5, rows).fold("global", 1).fold("crop").uniform(7)
    alone = torch.cat([Keys.of(3, 5, row[None]).fold("global", 1).fold("crop").uniform(7) for row in rows])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    shuffled = Keys.of(3, 5, rows[order]).fold("global", 1).fold("crop").uniform(7)
    assert torch.equal(whole, alone)
    assert torch.equal(whole[order], shuffled)


def test_every_ingredient_changes_every_draw():
    base = Keys.of(0, 0, ROWS).fold("global", 0).fold("crop")
    others = [
        Keys.of(1, 0, ROWS).fold("global", 0).fold("crop"),
        Keys.of(0, 1, ROWS).fold("global", 0).fold("crop"),
        Keys.of(0, 0, ROWS + 4096).fold("global", 0).fold("crop"),
        Keys.of(0, 0, ROWS).fold("local", 0).fold("crop"),
        Keys.of(0, 0, ROWS).fold("global", 1).fold("crop"),
        Keys.of(0, 0, ROWS).fold("global", 0).fold("flip"),
        Keys.of(0, 0, ROWS).fold(0, "global").fold("crop"),
        Keys(Keys.of(0, 0, ROWS).fold("global", 0).settled()).fold("crop"),
    ]
    first = base.uniform(8)
    for other in others:
        assert (first == other.uniform(8)).float().mean() < 1e-3
        assert joint_p(first, other.uniform(8)) > 1e-4


def test_seed_and_epoch_do_not_trade_places():
    draws = [Keys.of(seed, epoch, ROWS[:8]).uniform(1) for seed in range(4) for epoch in range(4)]
    assert len(torch.cat(draws).unique()) == 16 * 8


def test_folding_in_two_steps_is_folding_at_once():
    keys = Keys.of(0, 0, ROWS)
    assert torch.equal(keys.fold("a", 1).uniform(2), keys.fold("a").fold(1).uniform(2))


@pytest.mark.parametrize("seed", [0, 1, 2**40, -7])
def test_uniform_is_uniform(seed):
    u = Keys.of(seed, 0, ROWS).uniform(64).flatten()
    assert 0 <= u.min() < u.max() < 1
    assert stats.kstest(u.double().numpy(), "uniform").pvalue > 1e-4
    assert chi2_p(torch.histc(u, 256, 0, 1).double(), u.numel() / 256) > 1e-4


def test_each_bit_of_a_uniform_is_a_fair_coin():
    bits = (Keys.of(0, 0, ROWS).uniform(64).double() * 2**24).long().flatten()
    for at in range(24):
        ones = ((bits >> at) & 1).sum().item()
        assert stats.binomtest(ones, bits.numel()).pvalue > 1e-5, f"bit {at}"


def test_neighbours_are_independent():
    u = Keys.of(0, 0, ROWS).uniform(64)
    assert joint_p(u[1:], u[:-1]) > 1e-4  # rows
    assert joint_p(u[:, 1:], u[:, :-1]) > 1e-4  # numbers of one row
    assert joint_p(u[1:, :-1], u[:-1, 1:]) > 1e-4  # a row's next number and the next row's number
    assert joint_p(u, Keys.of(0, 1, ROWS).uniform(64)) > 1e-4  # epochs
    assert joint_p(u, Keys.of(1, 0, ROWS).uniform(64)) > 1e-4  # seeds
    assert joint_p(u, Keys.of(0, 0, ROWS).fold("global", 1).uniform(64)) > 1e-4  # draws


def test_one_row_over_many_epochs_is_uniform():
    row = torch.tensor([17])
    u = torch.cat([Keys.of(0, epoch, row).fold("global", 0).uniform(4) for epoch in range(2000)])
    assert stats.kstest(u.flatten().double().numpy(), "uniform").pvalue > 1e-4
    assert joint_p(u[1:], u[:-1], bins=8) > 1e-4


def test_no_two_rows_share_a_key():
    keys = torch.cat([Keys.of(0, epoch, torch.arange(100_000)).settled() for epoch in range(3)])
    assert len(keys.unique()) == len(keys)


def test_normal_is_normal():
    z = Keys.of(0, 0, ROWS).normal(65)  # odd: half of the last pair is left out
    assert z.shape == (4096, 65)
    assert stats.kstest(z.flatten().double().numpy(), "norm").pvalue > 1e-4
    assert abs(torch.corrcoef(z.T).fill_diagonal_(0)).max() < 5 / math.sqrt(4096)  # partners of a pair among them
    assert abs(torch.corrcoef((z**2).T).fill_diagonal_(0)).max() < 6 / math.sqrt(4096)
    assert torch.isfinite(z).all()


def test_derived_draws():
    keys = Keys.of(0, 0, torch.arange(100_000))
    assert keys.between(-2, 3).min() >= -2
    assert keys.between(-2, 3).max() < 3
    assert abs(keys.between(-2, 3).mean() - 0.5) < 0.02
    assert abs(keys.chance(0.2).float().mean() - 0.2) < 0.005
    assert keys.chance(0.0).sum() == 0
    assert keys.chance(1.0).all()
    counts = torch.bincount(keys.choice(7)).double()
    assert len(counts) == 7
    assert chi2_p(counts, 100_000 / 7) > 1e-4
    assert keys.uniform(2, 3).shape == (100_000, 2, 3)
    assert keys.uniform().shape == (100_000,)
