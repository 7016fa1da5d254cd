"""What codes say of their items is in the report of every method that can be asked, and is right where it is known."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from salience.batch import Batch
from salience.data import open_data
from salience.evaluation import codes, evaluate
from salience.evaluation.codes import measure_codes
from salience.methods.boltzmann.rbm import RBM
from salience.representation import Representation
from salience.training import fit
from tests import contract

CLOUDS = {"active_dimensions", "mutual_information", "log_likelihood_bound"}
TOLD = {
    "pca": {"squared_error"},
    "autoencoder": {"squared_error"},
    "vae": {"squared_error", *CLOUDS},
    "crvae": {"squared_error", *CLOUDS},
    "dfcvae": {"squared_error", *CLOUDS} - {"log_likelihood_bound"},
    "rbm": {"squared_error", "log_likelihood"},
    "dbm": {"squared_error", "log_likelihood_bound"},
    "simclr": set(),
    "gan": set(),
}


@pytest.mark.parametrize("name", TOLD)
def test_every_method_tells_what_it_can(name: str, tmp_path: Path) -> None:
    told = measure_codes(contract.fitted(name, tmp_path / "run"), contract.dataset_for(name))
    assert set(told) == TOLD[name]
    for metric in told.values():
        assert metric.low <= metric.value <= metric.high
        assert math.isfinite(metric.value)


def test_the_figures_of_a_vae_are_those_of_scipy(tmp_path: Path) -> None:
    """Means, variances and densities are computed here from the codes alone, with their intervals."""
    rep, data = contract.fitted("vae", tmp_path / "run"), contract.dataset_for("vae")
    told, n = measure_codes(rep, data), len(data)
    posterior = rep.method.posterior(data.batch(np.arange(n)))  # type: ignore[union-attr]
    mean, log_variance = (one.detach().double().numpy() for one in posterior)
    x = rep.unit(data.batch(np.arange(n))).numpy()
    errors = ((rep.reconstruct(data) - x) ** 2).reshape(n, -1).mean(1)
    noise = torch.randn(1, *mean.shape, generator=torch.Generator().manual_seed(0)).double().numpy()[0]
    std = np.exp(log_variance / 2)
    each = stats.norm.logpdf((mean + std * noise)[:, None], mean, std).sum(2)  # [n n], of draw i under posterior j
    information = np.diag(each) - np.log(np.exp(each).mean(1))
    for name, values, lowest in (("squared_error", errors, 0.0), ("mutual_information", information, -np.inf)):
        interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert told[name].value == pytest.approx(values.mean(), rel=1e-4)
        assert told[name].low == pytest.approx(max(lowest, interval.low), rel=1e-3)
        assert told[name].high == pytest.approx(interval.high, rel=1e-3)
    assert told["active_dimensions"].value == sum(one > 0.01 for one in np.square(mean - mean.mean(0)).mean(0))


@pytest.mark.parametrize("apart", [0.0, 1e4])
def test_planted_codes_have_the_figures_that_are_known(tmp_path: Path, apart: float) -> None:
    """Two of four means vary by more than a hundredth. Equal codes tell nothing, separate ones which item it is."""
    rep, data = contract.fitted("vae", tmp_path / "run", dim=4), contract.dataset_for("vae")
    variances = torch.tensor([0.0, 0.0099, 0.0101, 1.0])

    def posterior(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        index = batch.index[:, None]
        mean = (1.0 - 2.0 * (index % 2)) * variances.sqrt() * (apart == 0) + apart * index * torch.tensor([0, 0, 1, 1])
        return mean, torch.full_like(mean, 40.0 if apart == 0 else 0.0)  # as wide as to make the means alike

    object.__setattr__(rep.method, "posterior", posterior)
    told = measure_codes(rep, data)
    assert told["active_dimensions"].value == 2
    assert told["mutual_information"].value == pytest.approx(0 if apart == 0 else math.log(len(data)), abs=1e-4)


def test_of_many_items_a_part_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rep, data = contract.fitted("pca", tmp_path / "run"), contract.dataset_for("pca")
    monkeypatch.setattr(codes, "MOST_CODES", 10)
    rows = np.sort(np.random.default_rng(0).choice(len(data), 10, replace=False))
    few = data.subset(rows)
    expected = np.square(rep.reconstruct(few) - rep.unit(few.batch(np.arange(10))).numpy()).mean()
    assert measure_codes(rep, data)["squared_error"].value == pytest.approx(float(expected), rel=1e-5)


def test_the_likelihood_of_a_small_rbm_is_that_of_its_enumerated_states(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = (generator.random((64, 3, 3)) < 0.4).astype(np.uint8) * 255
    rep = fit("rbm", open_data(images, progress=False), out=tmp_path / "run", hidden=4, epochs=20, progress=False)
    assert isinstance(rep, Representation)
    assert isinstance(rep.method, RBM)
    machine = rep.method.machine()
    states = torch.tensor(list(product((0.0, 1.0), repeat=9)))
    log_z = torch.logsumexp(-machine.free_energy(states).double(), dim=0)
    seen = torch.from_numpy(images.reshape(64, 9) / 255).float()
    exact = float((-machine.free_energy(seen).double() - log_z).mean())
    found = measure_codes(rep, open_data(images, progress=False))
    assert found["log_likelihood"].value == pytest.approx(exact, abs=0.02)


def test_the_report_has_them_for_the_representation_alone(tmp_path: Path) -> None:
    contract.fitted("vae", tmp_path / "run")
    report = evaluate(tmp_path / "run", contract.structured_images(labelled=True), progress=False)
    assert set(report.representation["codes"]) == TOLD["vae"]
    assert all("codes" not in (measures or {}) for measures in report.baselines.values())
    assert "codes log likelihood bound" in report.text()
    assert "log likelihood bound" in (tmp_path / "run" / "report.html").read_text()
