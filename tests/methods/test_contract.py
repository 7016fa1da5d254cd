"""The contract, applied to every method there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from salience import catalogue
from salience.representation import Representation, load
from tests import contract

NAMES = catalogue.names()
pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
BY_GRADIENT = [name for name in NAMES if catalogue.find(name).kind != "ClosedForm"]


@pytest.fixture(scope="module", params=NAMES)
def rep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Representation:
    return contract.fitted(request.param, tmp_path_factory.mktemp(request.param) / "run")


@pytest.mark.parametrize("name", NAMES)
def test_options_are_attributes(name: str) -> None:
    contract.check_options_are_attributes(name)


@pytest.mark.parametrize("name", NAMES)
def test_rebuilds_from_its_options(name: str) -> None:
    contract.check_rebuilds_from_its_options(name)


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_gradients_reach_what_is_trained(name: str) -> None:
    contract.check_gradients_reach_what_is_trained(name)


def test_same_seed_same_weights(rep: Representation, tmp_path: Path) -> None:
    contract.check_same_seed_same_weights(rep, tmp_path)


def test_embeds_alike_in_any_company(rep: Representation) -> None:
    contract.check_embeds_alike_in_any_company(rep)


def test_round_trip(rep: Representation, tmp_path: Path) -> None:
    contract.check_round_trip(rep, tmp_path)


def test_training_lowers_the_loss(rep: Representation, tmp_path: Path) -> None:
    """Of a copy, as a look at the loss moves what batch norms remember."""
    name = rep.method_name
    if name in contract.SLOW:
        contract.check_training_lowers_the_loss(contract.fitted(name, tmp_path / "run", epochs=contract.SLOW[name]))
    elif name in BY_GRADIENT:
        assert rep.run is not None
        contract.check_training_lowers_the_loss(load(rep.run))


def test_tells_classes_apart(rep: Representation) -> None:
    contract.check_tells_classes_apart(rep)
