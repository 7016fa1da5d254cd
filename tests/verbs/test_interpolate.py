import json

import numpy as np
import pytest
import torch

from salience.errors import UserError
from salience.measures.intervals import Metric
from salience.training import fit
from salience.verbs.feature_space import make_feature_space
from salience.verbs.interpolate import _asked_for, _seen_by, _verdict, decoded, interpolate, random_pairs
from salience.verbs.paths import lerp, log_reach


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch):
    monkeypatch.setattr("salience.verbs.interpolate.PAIRS", 12)


def test_a_path_begins_and_ends_at_the_rebuilt_items(autoencoder, digits, tmp_path):
    found = interpolate(autoencoder, digits, tmp_path / "out", start="3", end=10, steps=5, progress=False)
    rebuilt = autoencoder.reconstruct(digits.subset([3, 10])).clip(0, 1)
    for way in ("linear", "spherical"):
        stored = np.load(tmp_path / "out" / f"{way}.npy")
        assert stored.shape == (5, 1, 8, 8)
        np.testing.assert_allclose(stored[[0, -1]], rebuilt, atol=1e-5)
        np.testing.assert_array_equal(found.arrays[way], stored)
    codes = autoencoder.embed(digits.subset([3, 10]))
    middle = autoencoder.decode(codes.mean(0, keepdims=True)).clip(0, 1)
    np.testing.assert_allclose(found.arrays["linear"][2], middle[0], atol=1e-5)
    assert (found.about["start"], found.about["end"]) == ("3", "10")
    assert (tmp_path / "out" / "picture.png").exists()


def test_density_of_a_linear_code_that_keeps_everything_is_that_of_a_cross_fade(digits, tmp_path):
    run = fit("pca", digits, out=tmp_path / "run", dim=64, progress=False)
    few = digits.subset(range(300))
    figures = interpolate(run, few, tmp_path / "out", features=run, progress=False).figures
    fade, linear = figures["cross-fade of the originals"]["density"], figures["linear path"]["density"]
    assert linear.value == pytest.approx(fade.value, abs=1e-4)
    stored = json.loads((tmp_path / "out" / "interpolate.json").read_text())
    assert stored["linear path"]["density"]["value"] == pytest.approx(linear.value)
    # rebuilt ends are the items themselves, which have other neighbours than their own selves
    x = torch.from_numpy(few.x).double() / 255
    level = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True, correction=0)
    codes = torch.from_numpy(run.embed_unit((level * x.std(correction=0) + x.mean()).float())).double()
    codes = torch.nn.functional.normalize(codes - codes.mean(0), dim=1)
    distance = torch.cdist(codes, codes).fill_diagonal_(torch.inf).kthvalue(5, dim=1).values.log()
    pairs = random_pairs(few, 12, 0)
    expected = []
    for a, b in pairs:
        others = np.setdiff1d(np.arange(300), [a, b])
        reach = torch.cdist(codes[[a, b]], codes[others]).kthvalue(5, dim=1).values.log()
        expected.append(float(distance.mean() - reach.mean()))
    assert figures["rebuilt ends"]["density"].value == pytest.approx(np.mean(expected), abs=1e-4)


@pytest.mark.parametrize("together", [1, 5])
def test_densities_do_not_depend_on_how_many_pairs_are_judged_at_once(autoencoder, digits, monkeypatch, together):
    few = digits.subset(range(100))
    expected = interpolate(autoencoder, few, features=autoencoder, progress=False).figures
    monkeypatch.setattr("salience.verbs.interpolate.TOGETHER", together)
    found = interpolate(autoencoder, few, features=autoencoder, progress=False).figures
    for name, figures in expected.items():
        assert found[name]["density"].value == pytest.approx(figures["density"].value, abs=1e-5), name


def test_ends_that_are_rebuilt_alike_are_no_path(digits, tmp_path):
    """A VAE whose posterior has collapsed: what it decodes is ordinary, and always the same."""
    run = fit("vae", digits, out=tmp_path / "run", encoder="mlp", epochs=10, beta=100.0, progress=False)
    found = interpolate(run, digits.subset(range(200)), features=run, progress=False)
    assert found.figures["rebuilt ends"]["apart"].value < 0.1
    assert found.said[-1] == "The reconstructed ends hardly differ, so the path between them is not rated."


def test_how_far_apart_ends_are_is_a_share_of_the_originals(digits, tmp_path):
    whole = fit("pca", digits, out=tmp_path / "run", dim=64, progress=False)
    few = digits.subset(range(200))
    found = interpolate(whole, few, features=whole, progress=False)
    assert found.figures["rebuilt ends"]["apart"].value == pytest.approx(1, abs=1e-4)
    half = fit("pca", digits, out=tmp_path / "half", dim=2, progress=False)
    pairs = random_pairs(few, 12, 0)
    x, codes = few.x.reshape(200, -1) / 255.0, half.reconstruct(few).clip(0, 1).reshape(200, -1)
    expected = [np.linalg.norm(codes[a] - codes[b]) / np.linalg.norm(x[a] - x[b]) for a, b in pairs]
    found = interpolate(half, few, features=whole, progress=False).figures["rebuilt ends"]["apart"]
    assert found.value == pytest.approx(np.mean(expected), abs=1e-5)
    assert found.value < 0.7


@pytest.mark.slow
def test_paths_of_a_vae_lose_less_between_their_ends_than_those_of_an_autoencoder(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("salience.verbs.interpolate.PAIRS", 60)
    lost = {}
    for name, settings in (("vae", {"dim": 16}), ("autoencoder", {"dim": 16})):
        run = fit(name, digits, out=tmp_path / name, encoder="mlp", epochs=40, seed=0, progress=False, **settings)
        figures = interpolate(run, digits, progress=False).figures
        lost[name] = figures["rebuilt ends"]["density"].value - figures["linear path"]["density"].value
        assert figures["rebuilt ends"]["apart"].value > 0.4
    assert lost["vae"] < lost["autoencoder"] - 0.02


def test_a_cross_fade_is_less_ordinary_than_real_items_that_were_held_out(digits):
    """Digits: of held-out items and the middles between two of them, nearly all middles are ranked below."""
    x = torch.from_numpy(digits.x).float() / digits.spec.high
    held, nobody = x[1400:], np.zeros((500, 0), np.int64)
    pairs = random_pairs(digits.subset(range(1400, 1797)), 100, 0)
    see, known = _seen_by(make_feature_space(None, digits), x[:1400])
    middles, real = (
        log_reach(see(shown), known, nobody[: len(shown)])
        for shown in ((held[pairs[:, 0]] + held[pairs[:, 1]]) / 2, held)
    )
    assert (
        middles[:, None] > real
    ).mean() > 0.65  # found: 0.80, standard error 0.03; 0.4 where lengths of features count


def test_the_densities_of_a_cross_fade_and_of_the_middle_of_real_items_have_their_order(
    autoencoder, digits, monkeypatch
):
    monkeypatch.setattr("salience.verbs.interpolate.PAIRS", 40)
    figures = interpolate(autoencoder, digits, progress=False).figures
    fade, ends = figures["cross-fade of the originals"]["density"], figures["rebuilt ends"]["density"]
    assert fade.high < 0
    assert fade.high < ends.low


def test_noise_is_less_ordinary_than_what_lies_between_items(autoencoder, digits, monkeypatch):
    few = digits.subset(range(200))
    usual = interpolate(autoencoder, few, features=autoencoder, progress=False).figures["linear path"]["density"]
    monkeypatch.setattr(
        "salience.verbs.interpolate.WAYS",
        {name: lambda a, b, t: 30 * torch.randn(len(a), len(t), a.shape[1]) for name in ("linear", "spherical")},
    )
    noise = interpolate(autoencoder, few, features=autoencoder, progress=False).figures["linear path"]["density"]
    assert noise.high < usual.low


def test_pairs_are_of_different_classes_and_the_same_for_every_run(digits):
    pairs = random_pairs(digits, 50, 3)
    assert (digits.labels[pairs[:, 0]] != digits.labels[pairs[:, 1]]).all()
    np.testing.assert_array_equal(pairs, random_pairs(digits, 50, 3))
    alone = random_pairs(digits.subset(np.flatnonzero(digits.labels == 1)), 50, 3)
    assert (alone[:, 0] != alone[:, 1]).all()


def test_several_paths_are_decoded_each_on_its_own(autoencoder, digits):
    ends = autoencoder.unit(digits.batch(np.array([0, 1, 2, 3])))
    both = decoded(autoencoder, ends, lerp, torch.linspace(0, 1, 3))
    torch.testing.assert_close(both[1:], decoded(autoencoder, ends[2:], lerp, torch.linspace(0, 1, 3)))


def test_an_end_that_is_not_named_is_of_another_class(autoencoder, digits):
    found = interpolate(autoencoder, digits.subset(range(100)), start="7", progress=False)
    assert found.about["start"] == "7"
    assert digits.labels[int(found.about["end"])] != digits.labels[7]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"start": "nobody"}, "start: digits has no item 'nobody'; row numbers go from 0 to 1796"),
        ({"end": 5000}, "end: digits has no item '5000'"),
        ({"start": 3, "end": "3"}, "end: '3' is the start of the path"),
        ({"steps": 2}, "steps: 2 is not a whole number of at least 3"),
        ({"steps": 4.5}, "steps: 4.5 is not a whole number of at least 3"),
    ],
)
def test_mistakes_name_the_argument(autoencoder, digits, options, complaint):
    with pytest.raises(UserError, match=complaint):
        interpolate(autoencoder, digits, progress=False, **options)


def test_where_ids_are_numbers_an_item_is_named_by_its_id_alone(autoencoder, digits):
    few = digits.subset(range(100, 200))
    assert interpolate(autoencoder, few, start="103", end=110, progress=False).about["start"] == "103"
    for options in ({"start": "3"}, {"end": 3}):
        with pytest.raises(UserError, match=r"(start|end): digits has no item '3'"):
            interpolate(autoencoder, few, progress=False, **options)


def test_a_table_is_refused(tmp_path):
    table = np.random.default_rng(0).normal(size=(30, 4))
    run = fit("pca", table, out=tmp_path / "run", progress=False)
    with pytest.raises(UserError, match=r"source: interpolate is for images, .* is table data"):
        interpolate(run, table, progress=False)


def test_what_is_named_keeps_its_end_and_the_other_is_of_another_class(digits):
    few = digits.subset(range(200))
    for seed in range(50):
        start, drawn_end = _asked_for(few, "7", None, seed)
        drawn_start, end = _asked_for(few, None, 7, seed)
        assert (start, end) == (7, 7)
        assert few.labels[7] not in few.labels[[drawn_end, drawn_start]]
    assert len({_asked_for(few, "7", None, seed)[1] for seed in range(50)}) > 10
    ones = digits.subset(np.flatnonzero(digits.labels == 1))
    pairs = [_asked_for(ones, ones.ids[3], None, seed) for seed in range(50)]  # there is no other class
    assert all(start == 3 != end for start, end in pairs)


def test_the_verdict_is_of_the_linear_path_and_the_rebuilt_ends():
    lower, equal = np.linspace(-0.6, -0.4, 50), np.linspace(-0.1, 0.1, 50)
    apart = Metric(0.5, 0.4, 0.6)
    values = {"linear": lower, "spherical": equal, "ends": equal, "fade": equal}
    assert _verdict(values, apart) == (
        "Between the ends items are less ordinary than at them, by 0.500 on a linear path."
    )
    values = {"linear": equal, "spherical": lower, "ends": equal, "fade": lower}
    assert _verdict(values, apart) == "Between the ends items are as ordinary as at them."
    assert _verdict(values, Metric(0.19, 0.1, 0.3)).startswith("The reconstructed ends hardly differ")
