import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.signal
import torch
from PIL import Image

from salience.errors import UserError
from salience.evaluation.denoisers import (
    Projection,
    Wiener,
    errors_by_components,
    fit_projection,
    fit_wiener,
)
from salience.evaluation.split import held_out
from salience.modalities.image.similarity import psnr
from salience.training import fit
from salience.verbs.denoise import Noise, _split, denoise

OURS, PCA, NOISY, WIENER = "the run", "PCA", "the noisy input", "the Wiener filter"


# --- the two that are to be beaten -------------------------------------------------------------------------------


def test_the_error_of_k_components_is_that_of_projecting_on_them():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(7, 4, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.0, 0.1])
    observed = truth + torch.randn(7, 4, generator=generator, dtype=torch.float64)
    found = errors_by_components(truth, observed)
    for k in range(5):
        kept = torch.cat([observed[:, :k], torch.zeros(7, 4 - k)], dim=1)
        torch.testing.assert_close(found[k], (kept - truth).square().sum())


def test_pca_keeps_the_dimensions_there_are_and_the_noise_in_them_alone():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(16, 3)))[0].T
    clean = torch.from_numpy(generator.normal(size=(3000, 3)) @ basis + 5)
    noisy = clean + 0.1 * torch.from_numpy(generator.normal(size=clean.shape))
    found = fit_projection(clean[:1000], clean[1000:2000], noisy[1000:2000])
    assert len(found.directions) == 3
    error = (found(noisy[2000:]) - clean[2000:]).square().mean()
    assert float(error) == pytest.approx(0.01 * 3 / 16, rel=0.1)


def test_a_projection_keeps_what_lies_in_it():
    directions = torch.eye(4)[:2]
    found = Projection(torch.tensor([0.0, 0.0, 7.0, 8.0]), directions)
    torch.testing.assert_close(found(torch.tensor([[1.0, 2.0, 3.0, 4.0]])), torch.tensor([[1.0, 2.0, 7.0, 8.0]]))


def test_wiener_is_scipys_channel_by_channel():
    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, 8, 8)))
    expected = np.stack([[scipy.signal.wiener(channel, 3, 0.02) for channel in image] for image in x.numpy()])
    np.testing.assert_allclose(Wiener(3, 0.02)(x).numpy(), expected, rtol=1e-12)


def test_wiener_leaves_an_image_without_anything_on_it():
    x = torch.full((1, 1, 6, 6), 0.5)
    assert torch.isfinite(Wiener(3, 0.0)(x)).all()
    torch.testing.assert_close(Wiener(3, 0.0)(x)[..., 2:4, 2:4], x[..., 2:4, 2:4])


def test_the_window_is_the_best_of_three_and_the_power_the_noises():
    smooth = torch.linspace(0, 1, 32).expand(20, 1, 32, 32)
    noisy = smooth + 0.2 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))
    found = fit_wiener(smooth, noisy)
    assert found.power == pytest.approx(0.04, rel=0.05)
    errors = {w: float((Wiener(w, found.power)(noisy) - smooth).square().mean()) for w in (3, 5, 7)}
    assert found.window == min(errors, key=errors.get)


# --- the verb ----------------------------------------------------------------------------------------------------


def test_noise_of_a_known_level_costs_what_it_must(tmp_path):
    grey = np.full((200, 8, 8), 0.5, np.float32)
    grey[:, 0, 0] = np.linspace(0.2, 0.8, 200)
    run = fit("pca", grey, out=tmp_path / "run", dim=1, progress=False)
    found = denoise(run, grey, noise="gaussian", level=0.05, progress=False)
    assert found.figures[NOISY]["mse"].value == pytest.approx(0.05**2, rel=0.08)
    assert found.figures[NOISY]["psnr"].value == pytest.approx(-20 * np.log10(0.05), abs=0.3)


def test_figures_are_those_of_decoded_codes_of_noisy_items(autoencoder, digits):
    found = denoise(autoencoder, digits, noise="gaussian", level=0.3, progress=False)
    rows = np.flatnonzero(held_out(digits.labels))
    assert list(found.table["item"]) == [digits.ids[row] for row in rows]
    x = autoencoder.unit(digits.batch(rows))
    z = Noise("gaussian", 0.3, 0)(x, rows, digits)
    assert float((z - x).std()) == pytest.approx(0.3, rel=0.02)
    rebuilt = torch.from_numpy(autoencoder.decode(autoencoder.embed_unit(z))).clamp(0, 1)
    np.testing.assert_allclose(found.table["run psnr"], psnr(x, rebuilt), rtol=1e-5)
    np.testing.assert_allclose(found.table["noisy psnr"], psnr(x, z.clamp(0, 1)), rtol=1e-6)
    gain = found.figures[f"gain over {NOISY}"]["psnr"]
    difference = found.table["run psnr"] - found.table["noisy psnr"]
    assert gain.value == pytest.approx(difference.mean())
    assert found.figures[f"gain over {NOISY}"]["mse"].value > 0  # less of an error is a gain
    assert found.about["judged"] == len(rows)
    assert set(found.figures) >= {OURS, PCA, NOISY, WIENER}


@pytest.mark.parametrize(("noise", "level"), [("gaussian", 0.3), ("masking", 0.3)])
def test_a_denoising_autoencoder_beats_pca_and_the_wiener_filter_on_items_it_never_saw(digits, tmp_path, noise, level):
    settings = {"encoder": "mlp", "epochs": 30, "learning_rate": 2e-3, "noise": noise, "level": level}
    run = fit("denoising_autoencoder", digits.subset(range(1200)), out=tmp_path / "run", progress=False, **settings)
    found = denoise(run, digits.subset(range(1200, len(digits))), progress=False)
    for other in (PCA, NOISY, WIENER):
        assert found.figures[f"gain over {other}"]["psnr"].low > 0.5  # dB
        assert found.figures[f"gain over {other}"]["ssim"].low > 0
    assert "better than the noisy input, PCA and the Wiener filter" in found.text()


def test_the_seed_says_which_items_are_judged(pca, digits):
    few, items = digits.subset(range(200)), []
    for seed in (0, 1):
        found = denoise(pca, few, seed=seed, progress=False)
        items.append(found.table["item"].tolist())
        assert items[-1] == [few.ids[row] for row in np.flatnonzero(held_out(few.labels, None, seed))]
    assert items[0] != items[1]


def test_an_items_noise_is_its_own(digits):
    x, rows = torch.zeros(6, 1, 8, 8), np.array([5, 9, 2, 7, 1, 0])
    noise = Noise("gaussian", 0.3, 4)
    torch.testing.assert_close(noise(x, rows, digits)[2:4], noise(x[:2], rows[2:4], digits), rtol=0, atol=0)
    assert not torch.equal(noise(x, rows, digits), Noise("gaussian", 0.3, 5)(x, rows, digits))


def test_the_noise_is_by_default_what_the_run_was_trained_against(digits, tmp_path):
    options = {"noise": "salt-and-pepper", "level": 0.2, "epochs": 1, "encoder": "mlp", "dim": 8}
    run = fit("denoising_autoencoder", digits.subset(range(300)), out=tmp_path / "run", progress=False, **options)
    found = denoise(run, digits.subset(range(100)), progress=False)
    assert (found.about["noise"], found.about["level"]) == ("salt-and-pepper", 0.2)
    other = denoise(run, digits.subset(range(100)), noise="masking", progress=False)
    assert (other.about["noise"], other.about["level"]) == ("masking", 0.25)


def test_everything_is_in_the_folder(pca, digits, tmp_path):
    denoise(pca, digits.subset(range(80)), tmp_path / "out", noise="masking", progress=False)
    stored = json.loads((tmp_path / "out" / "denoise.json").read_text())
    assert stored["about"]["noise"] == "masking"
    assert stored["about"]["pca_components"] > 0
    assert stored[OURS]["psnr"]["interval"][0] < stored[OURS]["psnr"]["value"]
    table = pd.read_csv(tmp_path / "out" / "items.csv")
    assert list(table.columns) == ["item"] + [
        f"{name} {figure}" for name in ("noisy", "run", "pca", "wiener") for figure in ("mse", "psnr", "ssim")
    ]
    assert np.asarray(Image.open(tmp_path / "out" / "picture.png").convert("L")).std() > 30


def test_what_is_noisy_already_is_only_written(pca, digits, tmp_path):
    few = digits.subset(range(5))
    found = denoise(pca, few, tmp_path / "out", noisy=True, progress=False)
    stored = np.load(tmp_path / "out" / "denoised.npy")
    np.testing.assert_allclose(stored, pca.reconstruct(few).clip(0, 1), atol=1e-6)
    np.testing.assert_array_equal(found.arrays["denoised"], stored)
    files = pd.read_csv(tmp_path / "out" / "denoised.csv")
    image = np.asarray(Image.open(tmp_path / "out" / files["file"][3]))
    np.testing.assert_array_equal(image, np.rint(stored[3, 0] * 255))
    assert not found.figures


def test_rows_of_a_table_come_back_in_their_own_units(tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.normal(100, 5, 90), "kind": generator.choice(["x", "y"], 90)})
    frame["b"] = 3 * frame["a"]
    run = fit("pca", frame, out=tmp_path / "run", dim=4, progress=False)
    denoise(run, frame, tmp_path / "out", noisy=True, progress=False)
    written = pd.read_csv(tmp_path / "out" / "denoised.csv")
    np.testing.assert_allclose(written["a"], frame["a"], rtol=1e-4)
    assert list(written["kind"]) == list(frame["kind"])
    judged = denoise(run, frame, tmp_path / "judged", noise="gaussian", level=0.5, progress=False)
    assert list(judged.figures[PCA]) == ["mse"]
    assert WIENER not in judged.figures


def test_a_note_where_the_judged_items_were_learnt_from(pca, digits):
    assert any("trained on the items of the evaluation" in said for said in denoise(pca, digits, progress=False).said)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"seed": -1}, "seed: -1 is not a whole number from 0"),
        ({"noise": "snow"}, "noise: 'snow' is not one of masking, gaussian, salt-and-pepper"),
        ({"noise": "masking", "level": 1.5}, "level: 1.5 is out of range"),
        ({"level": 0}, "level: 0 is out of range"),
        ({"noisy": True, "noise": "masking"}, "noise: no noise is added to a noisy source"),
        ({"noisy": True, "level": 0.1}, "level: no noise is added to a noisy source"),
    ],
)
def test_mistakes_name_the_argument(pca, digits, options, complaint):
    with pytest.raises(UserError, match=complaint):
        denoise(pca, digits, progress=False, **options)


@pytest.mark.parametrize("groups", [None, np.arange(300) // 7, np.zeros(300, int)])
def test_what_judges_what_fits_and_what_chooses_are_different_items(digits, groups):
    parts = _split(replace(digits.subset(range(300)), groups=groups), 0)
    rows = np.concatenate(parts)
    assert len(np.unique(rows)) == len(rows) == 300
    judged, fitting, choosing = map(len, parts)
    assert 40 <= judged <= 80
    assert fitting == pytest.approx(4 * choosing, abs=4)
    if groups is not None and groups.any():
        assert not np.isin(groups[parts[0]], groups[np.concatenate(parts[1:])]).any()


def test_few_items_that_are_all_alike_are_judged_as_far_as_they_go(pca, digits, recwarn, tmp_path):
    found = denoise(pca, digits.subset([5] * 6), tmp_path / "out", progress=False)  # one of them is judged
    assert not [one for one in recwarn if "divide" in str(one.message)]
    assert found.to_dict()["gain over PCA"]["psnr"]["interval"] == [None, None]
    assert "undecided against" in found.text()


def test_too_few_items_are_refused(pca, digits):
    with pytest.raises(UserError, match="source: digits has 2 items, too few"):
        denoise(pca, digits.subset([0, 10]), progress=False)
