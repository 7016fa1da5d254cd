import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from salience.evaluation import linear_probe as probes
from salience.evaluation.linear_probe import Scaling, evenly_spaced, fit_probe
from salience.evaluation.split import held_out


def digits():
    x, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy(x).float(), torch.from_numpy(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:1200]], y[order[:1200]], x[order[1200:]], y[order[1200:]]


def accuracy(probe, x, y):
    return float((probe.scores(x).argmax(0) == y).double().mean())


def test_as_accurate_as_scikit_learn_with_its_best_penalty():
    x, y, test, truth = digits()
    probe = fit_probe(x, y, 10, torch.from_numpy(held_out(y.numpy())))
    mean, scale = x.mean(), x.std()
    best = max(
        LogisticRegression(C=c, max_iter=2000).fit((x - mean) / scale, y).score((test - mean) / scale, truth)
        for c in (0.003, 0.03, 0.3, 3)
    )
    assert accuracy(probe, test, truth) > best - 0.01


def test_the_chosen_probe_is_the_optimum_at_its_penalty():
    x, y, _, _ = digits()
    probe = fit_probe(x[:300], y[:300], 10, torch.from_numpy(held_out(y[:300].numpy())))
    z = Scaling.of(x[:300])(x[:300])
    z = z / z.std(0, correction=0).clamp(min=1e-3) if probe.standardised else z
    model = LogisticRegression(C=1 / (300 * probe.penalty), tol=1e-8, max_iter=5000).fit(z.double(), y[:300])
    found, expected = probe.scores(x[:300]).softmax(0).T, torch.from_numpy(model.predict_proba(z.double()))
    assert (found - expected).abs().max() < 0.02


def informative_but_faint(n=400):
    """One faint dimension tells the classes apart, 30 loud ones tell nothing."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    faint = (2.0 * y - 1 + 0.3 * torch.randn(n, generator=generator)) * 1e-3
    return torch.cat([faint[:, None], 10 * torch.randn(n, 30, generator=generator)], 1), y


def test_standardises_where_that_helps():
    x, y = informative_but_faint()
    probe = fit_probe(x[:200], y[:200], 2, torch.from_numpy(held_out(y[:200].numpy())))
    assert probe.standardised
    assert accuracy(probe, x[200:], y[200:]) > 0.95


def test_features_far_from_the_origin_are_as_good():
    x, y, test, truth = digits()
    validation = torch.from_numpy(held_out(y.numpy()))
    far = fit_probe(x + 1e4, y, 10, validation)
    assert accuracy(far, test + 1e4, truth) > 0.94


def test_more_rows_than_the_sample_refine_the_choice_on_all(monkeypatch):
    x, y, test, truth = digits()
    validation = torch.from_numpy(held_out(y.numpy()))
    whole = fit_probe(x, y, 10, validation)
    monkeypatch.setattr(probes, "SAMPLE", 300)
    refined = fit_probe(x, y, 10, validation)
    assert refined.penalty not in (whole.penalty, *probes.PENALTIES)
    assert accuracy(refined, test, truth) > accuracy(whole, test, truth) - 0.01


def test_noise_gets_a_strong_penalty_and_signal_a_weak_one():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 40, generator=generator), torch.randint(2, (300,), generator=generator)
    validation = torch.from_numpy(held_out(y.numpy()))
    noisy = fit_probe(x, (x[:, 0] + 3 * torch.randn(300, generator=generator) > 0).long(), 2, validation)
    clear = fit_probe(x, (x @ torch.randn(40, generator=generator) > 0).long(), 2, validation)
    assert noisy.penalty > 3 * clear.penalty


def test_constant_dimensions_and_one_row_a_class_are_fine():
    x = torch.cat([torch.eye(3), torch.ones(3, 2)], 1)
    probe = fit_probe(x, torch.arange(3), 3, torch.zeros(3, dtype=torch.bool))
    assert accuracy(probe, x, torch.arange(3)) == 1


@pytest.mark.parametrize(("most", "expected"), [(10, range(10)), (4, [0, 3, 6, 9])])
def test_some_rows_are_spread_evenly(most, expected):
    np.testing.assert_array_equal(evenly_spaced(torch.arange(10), most), list(expected))
