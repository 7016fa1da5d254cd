"""A fit of several named sources, on the command line and in Python."""

import numpy as np
import pandas as pd
import pytest

import salience
from salience.cli import main
from salience.errors import UserError
from salience.run import Run

RNG = np.random.default_rng(0)


@pytest.fixture
def sources(tmp_path):
    np.save(tmp_path / "pictures.npy", RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8))
    label = np.arange(40) % 2
    pd.DataFrame({"a": RNG.normal(3 * label, 1), "b": RNG.normal(0, 1, 40), "label": label}).to_csv(
        tmp_path / "rows.csv", index=False
    )
    return {"main": tmp_path / "pictures.npy", "rows": tmp_path / "rows.csv"}


def test_the_command_line_and_python_fit_the_same(sources, tmp_path, capsys):
    out = tmp_path / "typed"
    assert main(["fit", "pca", str(sources["main"]), "--with", f"rows={sources['rows']}", "--out", str(out)]) == 0
    assert "joined row by row: 40 items" in capsys.readouterr().err
    typed, called = salience.load(out), salience.fit("pca", sources, out=tmp_path / "called", progress=False)
    assert np.array_equal(typed.embed(sources), called.embed(sources))
    assert Run(out).config.data.where == {name: str(path) for name, path in sources.items()}
    whole = called.method.flat(called.open(sources).batch(np.arange(40)))
    assert whole.shape == (40, 66)


def test_a_run_is_evaluated_on_the_sources_it_was_trained_on(sources, tmp_path):
    labelled = {"rows": sources["rows"], "pictures": sources["main"]}
    run = salience.fit("pca", labelled, out=tmp_path / "run", progress=False)
    with pytest.warns(salience.Note, match="no source was given; using .*rows.csv, .*pictures.npy"):
        report = salience.evaluate(run, progress=False, write=False)
    assert report.to_dict()["representation"]["linear"]["accuracy"]["value"] > 0.5


def test_new_data_lacking_a_source_is_refused(sources, tmp_path):
    run = salience.fit("pca", sources, out=tmp_path / "run", progress=False)
    with pytest.raises(UserError, match="source"):
        run.embed(sources["main"])


def test_a_method_for_vectors_refuses_joined_sources(sources, tmp_path):
    with pytest.raises(UserError, match="autoencoder learns from image and table"):
        salience.fit("autoencoder", sources, out=tmp_path / "run", progress=False)


@pytest.mark.parametrize("word", ["rows", "=x.csv", "rows=", "1=x.csv", "main=x.csv"])
def test_words_that_name_no_source_are_refused(word, sources, capsys):
    assert main(["fit", "pca", str(sources["main"]), "--with", word]) != 0
    assert "--with: " in capsys.readouterr().err


def test_a_run_of_one_source_writes_none_of_it(sources, tmp_path):
    run = salience.fit("pca", sources["main"], out=tmp_path / "run", progress=False)
    assert "sources:" not in (run.run / "config.yaml").read_text()


def test_a_method_without_an_encoder_of_parts_refuses_joined_sources(sources, tmp_path):
    with pytest.raises(UserError, match="simclr learns from image and table"):
        salience.fit("simclr", sources, out=tmp_path / "run", progress=False)
