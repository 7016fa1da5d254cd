"""A package that extends Salience: its method, encoder, policy, metric and source by name, from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import salience
from salience import catalogue
from salience.cli import main
from salience.config import Config
from salience.errors import Note, UserError
from salience.run import Run
from tests.own_code import forget, install

pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")
FIT = ["fit", "agree", "stripes", "--encoder", "narrow", "--views", "shaky", "--epochs", "2", "--batch-size", "20"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture
def package(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    forget(monkeypatch)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.chdir(tmp_path)
    return place


@pytest.fixture(scope="module")
def run(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all parts of the package."""
    out = tmp_path_factory.mktemp("packages") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        assert main([*FIT, "--weight", "3", "--out", str(out)]) == 0
    return out


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(list(argv)) == code
    out = capsys.readouterr()
    return out.out if code == 0 else out.err


def test_methods_of_a_package_are_listed_without_importing_it(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "agree" in said(capsys, "methods")
    shown = said(capsys, "methods", "agree")
    assert "weight |f(a) - f(b)|^2" in shown
    assert "--weight" in shown
    assert "weight of the agreement" in said(capsys, "fit", "agree", "--help")
    assert "salience_example" not in sys.modules


def test_without_the_package_its_names_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "agree" not in catalogue.names()
    assert "stripes" in said(capsys, "data", "stripes", code=2)


def test_a_name_of_ours_stays_ours(package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = install(tmp_path / "other")
    points = next(other.glob("*.dist-info")) / "entry_points.txt"
    points.write_text(points.read_text().replace("agree =", "pca ="))
    monkeypatch.syspath_prepend(str(other))
    assert catalogue.find("pca").origin is None
    assert catalogue.names().count("pca") == 1


def test_all_parts_of_a_package_make_one_run(run: Path, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Run(run).config
    assert (config.model.method, config.model.encoder, config.model.views) == ("agree", "narrow", "shaky")
    assert config.model.options == {"weight": 3.0}
    assert config.data.source == "stripes"
    assert {part: record["package"] for part, record in config.model.code.items()} == dict.fromkeys(
        ("method", "encoder", "views"), "salience-example"
    )
    found = salience.load(run)
    assert found.dim == 12
    assert type(found.method).__module__ == "salience_example.method"
    codes = found.embed("stripes")
    assert codes.shape == (60, 12)
    assert len(found.embed("stripes://20")) == 20  # the place is the package's
    assert Config.from_dict(config.to_dict()) == config
    assert said(capsys, "fit", "--resume", str(run)) == said(capsys, "fit", "--resume", str(run))


def test_a_metric_of_a_package_stands_beside_the_baselines(
    run: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads(said(capsys, "evaluate", str(run), "--metric", "between", "--json"))
    own, raw = report["representation"]["own"]["between"], report["baselines"]["raw"]["own"]["between"]
    assert 0 < own["value"] < 1
    assert own["interval"][0] <= own["value"] <= own["interval"][1]
    assert own["interval"][0] < own["interval"][1]
    assert raw["value"] != own["value"]
    assert "own" in report["intervals"]
    assert "betwen" in said(capsys, "evaluate", str(run), "--metric", "betwen", code=2)
    assert "metric between" in said(capsys, "evaluate", str(run), "--metric", "between")


def test_a_source_of_a_package_has_labels_and_splits(package: Path) -> None:
    train, test = salience.open_data("stripes", progress=False), salience.open_data("stripes:test", progress=False)
    assert train.labels is not None
    assert train.classes == ("0", "1")
    assert train.spec.shape == (1, 8, 8)
    assert (train.split, test.split) == ("train", "test")
    assert not np.array_equal(train.batch(np.arange(9)).x, test.batch(np.arange(9)).x)
    with pytest.raises(UserError, match="salience-example"):
        salience.open_data("stripes://many", progress=False)


def test_a_run_says_which_package_to_install(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = said(capsys, "embed", str(run), "digits", "--out", "x.parquet", code=2)
    assert "pip install salience-example" in message
    with pytest.raises(UserError, match="salience-example"):
        salience.load(run)


def test_another_version_of_the_package_is_told(
    run: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = install(tmp_path / "newer")
    info = next(newer.glob("*.dist-info"))
    (info / "METADATA").write_text((info / "METADATA").read_text().replace("0.3", "0.4"))
    info.rename(newer / "salience_example-0.4.dist-info")
    forget(monkeypatch)
    monkeypatch.syspath_prepend(str(newer))
    with pytest.warns(Note, match=r"0\.4"):
        salience.load(run)
