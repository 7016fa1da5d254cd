import json

import numpy as np
import pandas as pd
import pytest
import torch

from salience.errors import UserError
from salience.evaluation.frechet import frechet_distance
from salience.measures.intervals import Metric
from salience.training import fit
from salience.verbs.feature_space import make_feature_space
from salience.verbs.sample import _picture, _verdict, gaussian_like, nearest, sample, shuffled

SAMPLES, FLOOR = "the samples", "real items (the floor)"
GAUSSIAN, SHUFFLED = "a Gaussian fitted to the values", "values shuffled among items"


def test_equal_seeds_draw_equal_samples_however_many_and_disturb_nobody(vae):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    few, many, other = vae.sample(5), vae.sample(300), vae.sample(5, seed=1)
    assert torch.equal(torch.rand(2), expected)
    np.testing.assert_array_equal(many[:5], few)
    assert many.shape == (300, 1, 8, 8)
    assert not np.array_equal(few, other)
    with pytest.raises(UserError, match="n: 0 is not a whole number"):
        vae.sample(0)


def test_samples_are_kept_and_drawn(vae, tmp_path):
    found = sample(vae, None, tmp_path / "out", n=7, seed=2, progress=False)
    stored = np.load(tmp_path / "out" / "samples.npy")
    np.testing.assert_array_equal(stored, vae.sample(7, 2).clip(0, 1))
    np.testing.assert_array_equal(found.arrays["samples"], stored)
    assert json.loads((tmp_path / "out" / "sample.json").read_text())["about"]["n"] == 7
    assert (tmp_path / "out" / "picture.png").exists()
    assert not found.figures


def test_a_picture_of_some_says_how_many_there_are(vae):
    drawn = [_picture(vae, None, torch.zeros(n, 1, 8, 8)).get_suptitle() for n in (144, 200)]
    assert drawn == ["144 samples of vae", "the first 144 of 200 samples of vae"]


def test_distances_to_real_items_beside_what_anybody_could_draw(vae, pca, digits, tmp_path):
    found = sample(vae, digits.subset(range(600)), tmp_path / "out", n=9, features=pca, progress=False)
    value = {name: figures["frechet"].value for name, figures in found.figures.items()}
    assert set(value) == {SAMPLES, FLOOR, GAUSSIAN, SHUFFLED}
    assert 0.02 < value[FLOOR] < value[SAMPLES]
    # by linear features a Gaussian is told from the data by its values being cut at 0 and 1 alone
    assert value[FLOOR] < value[GAUSSIAN] < 0.5 * value[SHUFFLED]
    assert found.about["features"].startswith("the embedding of pca")
    assert found.about["compared"] == 300


def test_the_judge_by_default_tells_a_gaussian_and_shuffled_values_from_the_data(vae, digits, monkeypatch):
    monkeypatch.setattr("salience.verbs.sample.ROUNDS", 1)
    found = sample(vae, digits.subset(range(400)), n=3, progress=False)
    interval = {name: figures["frechet"] for name, figures in found.figures.items()}
    assert interval[FLOOR].value < interval[GAUSSIAN].value < interval[SHUFFLED].value
    assert found.about["features"] == "an untrained convnet (seed 0)"
    assert found.text().count("\n") >= 6


@pytest.mark.slow
def test_a_trained_generator_is_nearer_to_the_data_than_what_anybody_could_draw(digits, tmp_path):
    gan = fit("gan", digits, out=tmp_path / "run", encoder="mlp", epochs=120, progress=False)
    interval = {name: f["frechet"] for name, f in sample(gan, digits, n=3, progress=False).figures.items()}
    assert interval[FLOOR].high < interval[SAMPLES].low
    assert interval[SAMPLES].high < interval[GAUSSIAN].low
    assert interval[GAUSSIAN].high < interval[SHUFFLED].low


def test_a_gaussian_like_the_data_has_its_moments():
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.normal(size=(4000, 3)) @ generator.normal(size=(3, 3)) + [1, 2, 3])
    drawn = gaussian_like(x, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(x.T), atol=0.25)
    assert not torch.isclose(drawn[:, None], x[None]).all(-1).any()


def test_shuffling_keeps_what_each_place_holds_and_breaks_what_places_share():
    base = torch.from_numpy(np.random.default_rng(0).random((500, 1, 1, 1)))
    x = torch.cat([base.expand(500, 1, 2, 2), 1 - base.expand(500, 1, 2, 2)], dim=1)  # colours that belong together
    mixed = shuffled(x, np.random.default_rng(1))
    np.testing.assert_array_equal(mixed.sort(dim=0).values, x.sort(dim=0).values)
    torch.testing.assert_close(mixed[:, 1], 1 - mixed[:, 0])
    assert abs(np.corrcoef(mixed[:, 0, 0, 0], mixed[:, 0, 1, 1])[0, 1]) < 0.15


def test_the_nearest_real_item_of_a_real_item_is_itself(vae, digits):
    rows = np.array([400, 3, 1700])
    np.testing.assert_array_equal(nearest(vae, digits, vae.unit(digits.batch(rows))), rows)


def test_the_untrained_judge_is_the_same_for_every_run_and_leaves_the_generator_alone(digits):
    state = torch.get_rng_state()
    one, other = make_feature_space(None, digits), make_feature_space(None, digits)
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.rand(9, 1, 8, 8)
    np.testing.assert_array_equal(one(x), other(x))
    np.testing.assert_array_equal(one(x)[3:5], one(x[3:5]))
    assert frechet_distance(one(x), one(x)) == pytest.approx(0, abs=1e-6)


def test_rows_of_a_table_are_written_as_one(tmp_path):
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(50, 2, 60), "b": list("xyz") * 20})
    run = fit("vae", frame, out=tmp_path / "run", epochs=2, dim=2, progress=False)
    sample(run, frame, tmp_path / "out", n=12, progress=False)
    written = pd.read_csv(tmp_path / "out" / "samples.csv")
    assert list(written.columns) == ["a", "b"]
    assert len(written) == 12
    assert set(written["b"]) <= set("xyz")
    assert written["a"].between(20, 80).all()


def test_mistakes_name_the_argument(vae, autoencoder, digits, tmp_path):
    with pytest.raises(UserError, match=r"run: autoencoder cannot sample; fit one of the methods that can: .*vae"):
        sample(autoencoder, progress=False)
    for n in (0, 2.5, "3", True):
        with pytest.raises(UserError, match=f"^n: {n} is not a whole number of at least 1"):
            sample(vae, n=n, progress=False)
    with pytest.raises(UserError, match="features: this option is for the comparison with real items"):
        sample(vae, features=vae, progress=False)
    with pytest.raises(UserError, match="source: digits has 12 items, too few to compare"):
        sample(vae, digits.subset(range(12)), progress=False)
    other = fit("pca", np.random.default_rng(0).random((20, 4, 4)), out=tmp_path / "other", progress=False)
    with pytest.raises(UserError, match=r"features: .* was trained on other data than digits"):
        sample(vae, digits, features=other, progress=False)


def test_features_of_a_table_of_other_columns_are_refused(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    frame, other = pd.DataFrame(x, columns=list("abc")), pd.DataFrame(100 * x, columns=list("xyz"))
    run = fit("vae", frame, out=tmp_path / "run", epochs=1, dim=2, progress=False)
    same, different = (fit("pca", one, out=tmp_path / name, dim=2, progress=False)
                       for name, one in (("same", frame), ("different", other)))  # fmt: skip
    assert sample(run, frame, n=3, features=same, progress=False).about["features"].startswith("the embedding of pca")
    with pytest.raises(UserError, match=r"^features: .* was trained on other data than"):
        sample(run, frame, n=3, features=different, progress=False)


def test_every_round_compares_other_samples_with_other_halves(vae, digits, monkeypatch):
    seeds, plain = [], type(vae).sample
    monkeypatch.setattr(type(vae), "sample", lambda self, n, seed: seeds.append(seed) or plain(self, n, seed))
    sample(vae, digits.subset(range(60)), n=3, seed=7, progress=False)
    assert seeds == [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ((1.0, 0.9, 1.1), "the samples are nearer to real items than what a Gaussian or shuffling gives"),
        ((1.9, 1.7, 2.1), "the samples are not clearly nearer to real items"),  # overlaps the Gaussian's
        ((2.5, 2.4, 2.6), "the samples are farther from real items than a Gaussian fitted to the values."),
        ((9.0, 8.9, 9.1), "a Gaussian fitted to the values and than values shuffled among items."),
    ],
)
def test_the_verdict_follows_the_intervals(ours, said):
    others = {"gaussian": Metric(2.0, 1.9, 2.2), "shuffled": Metric(5.0, 4.8, 5.2)}
    assert said in _verdict({"samples": Metric(*ours), **others})
