"""What codes say of their items is in the report of every method that can be asked, and is right where it is known."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from salience.data import open_data
from salience.evaluation import evaluate
from salience.evaluation.codes import codes_told
from salience.evaluation.latent import active_units, mutual_information, posteriors
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
    told = codes_told(contract.fitted(name, tmp_path / "run"), contract.dataset_for(name))
    assert set(told) == TOLD[name]
    for metric in told.values():
        assert metric.low <= metric.value <= metric.high
        assert math.isfinite(metric.value)


def test_the_figures_are_those_of_their_parts(tmp_path: Path) -> None:
    rep, data = contract.fitted("vae", tmp_path / "run"), contract.dataset_for("vae")
    told = codes_told(rep, data)
    mean, log_variance = posteriors(rep.method, data)
    x = rep.unit(data.batch(np.arange(len(data)))).numpy()
    assert told["squared_error"].value == pytest.approx(float(((rep.reconstruct(data) - x) ** 2).mean()), rel=1e-5)
    assert told["active_dimensions"].value == active_units(mean)
    assert told["mutual_information"].value == pytest.approx(float(mutual_information(mean, log_variance)))


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
    assert codes_told(rep, open_data(images, progress=False))["log_likelihood"].value == pytest.approx(exact, abs=0.02)


def test_the_report_has_them_for_the_representation_alone(tmp_path: Path) -> None:
    contract.fitted("vae", tmp_path / "run")
    report = evaluate(tmp_path / "run", contract.structured_images(labelled=True), progress=False)
    assert set(report.representation["codes"]) == TOLD["vae"]
    assert all("codes" not in (measures or {}) for measures in report.baselines.values())
    assert "codes log likelihood bound" in report.text()
    assert "log likelihood bound" in (tmp_path / "run" / "report.html").read_text()
