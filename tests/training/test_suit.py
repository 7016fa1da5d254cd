"""The views that suit the data: who decides, and what is kept of it in the run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import salience
from salience.data import open_data
from salience.training.fit import resume
from salience.verbs.preview import preview


def pictures(n=240, channels=1):
    """Images with a left: their right side is lighter."""
    x = np.random.default_rng(0).normal(size=(n, channels, 8, 8)) * 10 + 128 + np.linspace(-60, 60, 8)
    return x.clip(0, 255).astype(np.uint8)


QUICK = {"epochs": 1, "batch_size": 120, "encoder": "mlp", "progress": False}


def fitted(tmp_path, x, method="simclr", **options):
    return salience.fit(method, x, out=tmp_path / f"run{len(list(tmp_path.iterdir()))}", **QUICK, **options)


def test_the_choice_is_kept_in_the_run_and_is_as_if_it_had_been_given(tmp_path):
    rep = fitted(tmp_path, pictures())
    assert rep.config.model.views == "grey-noflip"
    assert rep.spec.views == "grey-noflip"
    given = fitted(tmp_path, pictures(), views="grey-noflip")
    for ours, theirs in zip(rep.method.state_dict().values(), given.method.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    again = salience.load(tmp_path / "run0")
    assert again.method.views.policy == "grey-noflip"
    assert again.open(pictures()).spec.views == "grey-noflip"


def test_colour_has_its_own_variant_and_so_has_what_a_method_compares(tmp_path):
    assert fitted(tmp_path, pictures(channels=3)).config.model.views == "natural-noflip"
    assert fitted(tmp_path, pictures(channels=3), "cmc").config.model.views == "crops-noflip"


@pytest.mark.parametrize("given", ["grey", "glyphs"])
def test_views_that_are_given_are_not_questioned(given, tmp_path, monkeypatch):
    monkeypatch.setattr("salience.modalities.image.symmetry.choose_variant", lambda *found: pytest.fail("tested"))
    assert fitted(tmp_path, pictures(), views=given).config.model.views == given


def test_neither_is_a_source_that_knows_its_views_nor_a_method_that_draws_none(tmp_path, monkeypatch):
    monkeypatch.setattr("salience.modalities.image.symmetry.choose_variant", lambda *found: pytest.fail("tested"))
    assert fitted(tmp_path, open_data("digits", progress=False).subset(range(240))).config.model.views == "glyphs"
    fitted(tmp_path, pictures(), "autoencoder")
    rows = np.random.default_rng(0).normal(size=(240, 6))
    assert fitted(tmp_path, rows).config.model.views == "table"


def test_a_source_that_names_a_policy_which_flips_is_believed(tmp_path, monkeypatch):
    monkeypatch.setattr("salience.modalities.image.symmetry.choose_variant", lambda *found: pytest.fail("tested"))
    data = open_data(pictures(), progress=False)
    named = replace(data, spec=replace(data.spec, views="grey"))
    assert fitted(tmp_path, named).config.model.views == "grey"


def test_it_is_told_with_its_figure_among_the_choices(tmp_path, capsys):
    salience.fit("simclr", pictures(), out=tmp_path / "run", **QUICK | {"progress": True})
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.strip().startswith("views")]
    assert "grey-noflip" in line
    assert "(AUC 1.00, harmless below 0.6)" in line


def test_an_interrupted_run_goes_on_with_the_same_views(tmp_path):
    rep = fitted(tmp_path, pictures())
    (tmp_path / "run0" / "model.safetensors").unlink()
    again = resume(tmp_path / "run0", pictures(), progress=False)
    assert again.method.views.policy == "grey-noflip"
    for ours, theirs in zip(rep.method.state_dict().values(), again.method.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_preview_draws_what_fit_would_see(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("salience.verbs.preview.set_title", lambda figure, title: drawn.append(title))
    preview("simclr", pictures(), tmp_path / "a.png")
    preview("simclr", pictures(), tmp_path / "b.png", views="grey")
    assert "grey-noflip" in drawn[0]
    assert "grey-noflip" not in drawn[1]
