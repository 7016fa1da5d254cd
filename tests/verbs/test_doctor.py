"""The doctor reads what any training left: finished, stopped, diverged; and says why it cannot."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from torch import Tensor

from salience.batch import Batch, Progress
from salience.cli import main
from salience.errors import Note, UserError
from salience.evaluation import evaluate
from salience.health.probe import Probe
from salience.health.record import Collapsed, Diverged, Health
from salience.methods.contrastive.vicreg import VICReg
from salience.training import fit
from salience.verbs.doctor import doctor
from tests.contract import QUICK, structured_images
from tests.health.test_diagnosis import CONFIG, collapsing, record_of

pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("doctor") / "run"
    fit("simclr", structured_images(labelled=True), out=out, **QUICK)
    return out


def test_a_finished_run_is_judged_and_the_exit_code_says_how(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor(run)
    code = main(["doctor", str(run), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told == found.to_dict()
    assert set(told) == {"verdict", "findings"}
    assert code == (0 if told["verdict"] == "healthy" else 1)


@pytest.mark.parametrize("name", ["autoencoder", "simclr"])
def test_a_run_that_ended_in_nan_is_still_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Diverged):
        fit(name, structured_images(), out=tmp_path / "run", encoder="mlp", **QUICK, learning_rate=1e30)
    assert main(["doctor", str(tmp_path / "run"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "failing"
    assert {"what", "why", "change"} == set(told["findings"][0])


def test_collapse_is_told_in_words(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    record = collapsing()
    record["probes"][-2] |= {"std": 0.002, "uniformity": -0.002, "effective_rank": 1.01}
    (copy / "health.json").write_text(json.dumps(record))
    assert main(["doctor", str(copy)]) == 1
    assert capsys.readouterr().out.startswith("collapsed\n  all items become alike: ")


def test_a_closed_form_has_no_training_to_be_ill(tmp_path: Path) -> None:
    fit("pca", structured_images(), out=tmp_path / "run", progress=False)
    with pytest.raises(UserError, match=r"run: .* has no health.json; pca was not trained by gradient"):
        doctor(tmp_path / "run")


def test_a_damaged_record_is_named(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    for damaged in ('{"probes": [', "[]"):
        (copy / "health.json").write_text(damaged)
        with pytest.raises(UserError, match=r"health.json is damaged"):
            doctor(copy)


def test_while_training_it_warns_once_and_stops_only_where_asked(tmp_path: Path) -> None:
    probe = Probe(structured_images(), total=120, seed=0)

    def watching(**asked: bool) -> Health:
        health = Health(tmp_path / "health.json", probe, CONFIG | asked, batch_size=32, every=1, warn=True)
        health.record = collapsing()
        health.record["probes"][-2] |= {"std": 0.002, "uniformity": -0.002, "effective_rank": 1.01}
        return health

    health = watching()
    with pytest.warns(Note, match=r"step 100: collapsed; all items become alike"):
        health._diagnose(100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        health._diagnose(120)  # said already
    early = watching()
    early.record["probes"] = early.record["probes"][:2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        early._diagnose(30)  # nothing can be told yet, which is no news to who watches it train
    problem = watching(stop_when_collapsed=True)._diagnose(100)
    assert isinstance(problem, Collapsed)
    assert str(problem).startswith("training has collapsed by step 100: all items become alike")


def test_a_run_that_fails_in_another_way_is_never_stopped(tmp_path: Path) -> None:
    probe = Probe(structured_images(), total=120, seed=0)
    health = Health(
        tmp_path / "health.json", probe, CONFIG | {"stop_when_collapsed": True}, batch_size=32, every=1, warn=True
    )
    health.record = record_of(effective_rank=(20.0, 2.0), knn=(0.37, 0.30))
    health.record["probes"][-2]["effective_rank"] = 2.0
    with pytest.warns(Note, match="step 120: failing"):
        assert health._diagnose(120) is None


def test_data_of_one_item_stop_a_training_where_asked(tmp_path: Path) -> None:
    same, options = structured_images().subset([0] * 80), {"epochs": 20, "batch_size": 16, "progress": False}
    with pytest.raises(UserError, match=r"has collapsed by step .*: all items of the data are the same"):
        fit("vicreg", same, out=tmp_path / "run", stop_when_collapsed=True, **options)
    fit("vicreg", same, out=tmp_path / "on", **options)


def test_joint_embeddings_that_become_a_point_stop_a_training_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VICReg whose loss pulls the representation of all views together and to 0, and keeps nothing apart."""

    def pull(self: VICReg, batch: Batch, at: Progress) -> dict[str, Tensor]:
        first, second = (self.encoder(view.x) for view in self.views(batch, at)["global"][:2])
        return {"loss": 25 * (first - second).square().mean() + first.square().mean()}

    monkeypatch.setattr(VICReg, "loss", pull)
    monkeypatch.setattr(VICReg, "collapsed_loss", lambda *_: 0.0)
    options = {"epochs": 20, "batch_size": 16, "learning_rate": 0.01, "progress": False}
    with pytest.raises(
        UserError, match=r"training has collapsed by step \d+: the representation has at most one dimension"
    ):
        fit("vicreg", structured_images(), out=tmp_path / "run", stop_when_collapsed=True, **options)
    assert doctor(tmp_path / "run").verdict == "collapsed"


def test_a_training_that_collapses_is_told_and_stopped_only_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A posterior that weighs a thousand times too much, as a user would type it."""
    told, stopped = tmp_path / "told", tmp_path / "stopped"
    words = ["fit", "vae", "digits", "--encoder", "mlp", "--beta", "1000", "--epochs", "8", "--out"]
    with warnings.catch_warnings():
        warnings.simplefilter("default", Note)
        assert main([*words, str(told)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "collapsed;" in line]
    assert len(said) == 1
    assert "the posterior has collapsed" in said[0]
    assert main([*words, str(stopped), "--stop-when-collapsed"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: training has collapsed by step ")
    assert "a smaller --beta" in error
    seen = [json.loads((out / "health.json").read_text())["probes"] for out in (told, stopped)]
    assert len(seen[1]) < len(seen[0])
    assert main(["doctor", str(stopped), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "collapsed"


def test_it_stands_in_the_report(run: Path) -> None:
    report = evaluate(run, structured_images(labelled=True), progress=False)
    assert report.to_dict()["health"]["verdict"] == doctor(run).verdict
    assert f"The training was {doctor(run).verdict}" in report.text()
    assert "Diagnosis of the training" in (run / "report.html").read_text()
