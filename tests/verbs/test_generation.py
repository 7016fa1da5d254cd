"""The verbs that rebuild and generate, as commands."""

import json
import subprocess
import sys

import pytest

from salience.cli import main
from salience.cli.generation import GENERATION

VERBS = [verb.__name__.replace("_", "-") for verb in GENERATION]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("salience.verbs.interpolate.PAIRS", 4)


@pytest.mark.parametrize("verb", VERBS)
def test_help_succeeds(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert "--out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ("reconstruct RUN digits", "runs/reconstruct-1"),
        ("denoise RUN digits --noise gaussian --level 0.2 --seed 3", "runs/denoise-1"),
        ("interpolate RUN digits --from 3 --to 5 --steps 4 --features RUN", "runs/interpolate-1"),
        ("arithmetic RUN digits --add 1 --subtract 2 --out made", "made"),
        ("anomalies RUN digits --held-out 4", "runs/anomalies-1"),
    ],
)
def test_json_alone_is_printed_and_a_folder_left(pca, capsys, tmp_path, words, folder):
    verb = words.split()[0]
    assert main([*(str(pca.run) if word == "RUN" else word for word in words.split()), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["verb"] == verb
    assert printed["folder"] == folder
    assert {entry.name for entry in (tmp_path / folder).iterdir()} >= {f"{verb}.json", "picture.png"}


def test_samples_and_enlarged_images(vae, enlarger, capsys, tmp_path):
    assert main(["sample", str(vae.run), "-n", "5", "--out", "samples"]) == 0
    assert "picture: samples/picture.png" in capsys.readouterr().out
    assert main(["super-resolve", str(enlarger.run), "digits"]) == 0
    assert "better than bicubic" in capsys.readouterr().out
    assert main(["super-resolve", str(enlarger.run), "digits"]) == 0
    assert (tmp_path / "runs" / "super-resolve-2" / "super-resolve.json").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("sample RUN", "RUN: pca cannot sample; fit one of the methods that can: "),
        ("reconstruct RUN digits --out .", "--out: . exists; name another folder"),
        ("reconstruct nowhere digits", "RUN: nowhere does not exist"),
        ("reconstruct RUN nowhere", "SOURCE: nowhere does not exist"),
        ("sample RUN digits --features nowhere", "--features: nowhere does not exist"),
        ("sample RUN -n 0", "-n: 0 is out of range"),
        ("denoise RUN digits --level 0", "--level: 0 is out of range; it must be > 0"),
        ("denoise RUN digits --noise snow", "--noise"),
        ("interpolate RUN digits --from 9999", "--from: digits has no item '9999'"),
        ("interpolate RUN digits --to 9999", "--to: digits has no item '9999'"),
        ("arithmetic RUN digits --add 1", "--subtract: a value is missing"),
        ("arithmetic RUN digits --add 1 --subtract x", "--subtract: digits has no class 'x'"),
        ("anomalies RUN digits --test nowhere", "--test: nowhere does not exist"),
        ("anomalies RUN digits --held-out x", "--held-out: digits has no class 'x'"),
    ],
)
def test_mistakes_are_one_line(pca, capsys, words, complaint, tmp_path):
    assert main([str(pca.run) if word == "RUN" else word for word in words.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert complaint in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))


def test_help_and_early_refusals_load_nothing_heavy():
    calls = [[verb, "--help"] for verb in VERBS] + [["sample", "nowhere"], ["reconstruct", "nowhere", "digits"]]
    script = f"import sys; from salience.cli import main; [main(c) for c in {calls!r}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & {"torch", "numpy", "pandas", "lightning", "sklearn", "matplotlib"}
