"""From raw data to predictions, as a user types it; the two verbs whose streams matter most as real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from salience.cli import main

pytestmark = pytest.mark.slow
PROGRAM = [sys.executable, "-c", "import sys; from salience.cli import main; sys.exit(main())"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder where a PCA of the digits was fitted by a process of its own."""
    place = tmp_path_factory.mktemp("place")
    done = run(place, "fit", "pca", "digits", "--dim", "12")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run: runs/pca-digits-1\nnext: salience evaluate runs/pca-digits-1 --on digits")
    return place


def run(place: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *argv], cwd=place, capture_output=True, text=True, check=False)


def test_evaluate_prints_json_alone_and_keeps_it(place):
    done = run(place, "evaluate", "runs/pca-digits-1", "--on", "digits", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((place / "runs/pca-digits-1/report.json").read_text())
    assert 0.9 < printed["representation"]["knn"]["accuracy"]["value"] <= 1
    assert set(printed["baselines"]) == {"raw", "pca", "untrained"}
    assert printed["baselines"]["untrained"] is None


def test_the_verbs_that_use_a_run(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert main(["embed", "runs/pca-digits-1", "digits", "--out", "codes.parquet"]) == 0
    assert len(pd.read_parquet("codes.parquet")) == 1797
    Path("few.csv").write_text("item,label\n0,zero\n1,one\n10,zero\n11,one\n")
    argv = ["predict", "runs/pca-digits-1", "digits", "--labels", "few.csv", "--out", "classes.csv"]
    assert main(argv) == 0
    assert set(pd.read_csv("classes.csv").predicted) == {"zero", "one"}
    assert main(argv) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: --out: classes.csv exists")


def test_a_finished_run_resumes_to_itself_and_its_config_fits_again(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    weights = Path("runs/pca-digits-1/model.safetensors").read_bytes()
    assert main(["fit", "--resume", "runs/pca-digits-1"]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert main(["fit", "--config", "runs/pca-digits-1/config.yaml", "--out", "again"]) == 0
    assert Path("again/model.safetensors").read_bytes() == weights
    assert main(["fit", "--config", "runs/pca-digits-1/config.yaml", "--out", "again"]) == 2
    assert "--out: again exists" in capsys.readouterr().err
