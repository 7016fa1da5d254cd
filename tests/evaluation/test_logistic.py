import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from salience.evaluation.logistic import Precondition, fit, second_moments, weighted_cross_entropy


def problem(n=80, d=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return x, (x @ torch.randn(d, classes, generator=generator, dtype=torch.float64) + noise).argmax(1)


def reference(x, y, penalty):
    """scikit-learn's, whose C is 1 / (rows x penalty)."""
    model = LogisticRegression(C=1 / (len(x) * penalty), tol=1e-10, max_iter=5000).fit(x.numpy(), y.numpy())
    return torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)


def test_many_penalties_at_once_equal_scikit_learn_one_by_one():
    x, y = problem()
    penalties = torch.tensor([1.0, 0.03, 0.001], dtype=torch.float64)
    found = fit(x, y, 3, penalties[:, None].expand(3, 6), tolerance=1e-14, steps=500)
    for at, penalty in enumerate(penalties.tolist()):
        weight, bias = reference(x, y, penalty)
        torch.testing.assert_close(found.weight[at], weight, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(found.bias[at] - found.bias[at].mean(), bias - bias.mean(), atol=2e-5, rtol=1e-4)


def test_a_penalty_of_its_own_for_each_dimension_is_a_scaling():
    x, y = problem()
    scale = torch.tensor([1.0, 2, 3, 0.5, 1, 4], dtype=torch.float64)
    found = fit(x, y, 3, (0.02 * scale.square())[None], tolerance=1e-14, steps=500)
    weight, _ = reference(x / scale, y, 0.02)
    torch.testing.assert_close(found.weight[0] * scale, weight, atol=2e-5, rtol=1e-4)


def test_separate_features_equal_fits_one_by_one():
    problems = [problem(seed=seed) for seed in range(3)]
    x, y = torch.stack([x for x, _ in problems]), torch.stack([y for _, y in problems])
    together = fit(x, y, 3, x.new_full((3, 6), 0.01), tolerance=1e-14, steps=500)
    for at in range(3):
        weight, _ = reference(x[at], y[at], 0.01)
        torch.testing.assert_close(together.weight[at], weight, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(together[at].scores(x[at])[0], together.scores(x)[at])


def test_rows_of_no_weight_do_not_count():
    x, y = problem()
    kept = torch.arange(80) < 50
    weights = torch.stack([kept.double() / 50, torch.full((80,), 1 / 80, dtype=torch.float64)])
    found = fit(x, y, 3, x.new_full((2, 6), 0.01), weights=weights, tolerance=1e-14, steps=500)
    for at, rows in enumerate((kept, torch.ones_like(kept))):
        weight, _ = reference(x[rows], y[rows], 0.01)
        torch.testing.assert_close(found.weight[at], weight, atol=2e-5, rtol=1e-4)


def test_loss_and_gradient_equal_torchs():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 10, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randint(3, (10,), generator=generator)
    weights = torch.rand(10, generator=generator, dtype=torch.float64)
    weights = weights / weights.sum()
    value, gradient = weighted_cross_entropy(scores.detach(), F.one_hot(y, 3).T.double(), weights[None])
    each = [(F.cross_entropy(part.T, y, reduction="none") * weights).sum() for part in scores]
    torch.testing.assert_close(value, torch.stack(each).detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(sum(each), scores)[0])


@pytest.mark.parametrize("batched", [False, True])
def test_moments_are_those_of_features_with_a_one(batched):
    x, _ = problem(n=20)
    weights = torch.rand(20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    joined = torch.cat([x, torch.ones(20, 1, dtype=torch.float64)], 1)
    expected = joined.T @ torch.diag(weights) @ joined
    found = second_moments(x[None], weights)[0] if batched else second_moments(x, weights)
    torch.testing.assert_close(found, expected)


def test_the_preconditioner_inverts_the_bound_and_stays_positive_in_single_precision():
    x, _ = problem(n=30)
    moments = second_moments(x, x.new_full((30,), 1 / 30))
    bound = moments / 2 + torch.diag(torch.tensor([0.1] * 6 + [0.0], dtype=torch.float64))
    gradient = torch.randn(1, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = Precondition(moments, x.new_full((1, 6), 0.1))(gradient)
    torch.testing.assert_close(found, gradient @ torch.linalg.inv(bound), atol=1e-4, rtol=1e-4)

    twins = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)) @ torch.ones(1, 40)  # rank one
    flat = Precondition(second_moments(twins, torch.full((50,), 0.02)), torch.zeros(1, 40))
    direction = torch.randn(1, 2, 41, generator=torch.Generator().manual_seed(1))
    assert (direction * flat(direction)).sum() > 0
