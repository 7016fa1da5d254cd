import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from salience.data import open_data
from salience.errors import UserError
from salience.representation import Representation
from salience.training import fit
from salience.verbs.pictures import sheet
from salience.verbs.reconstruct import reconstruct


def test_figures_are_those_of_the_rebuilt_items(pca, digits, tmp_path):
    found = reconstruct(pca, digits, tmp_path / "out", progress=False)
    x = digits.x.reshape(len(digits), -1) / 255
    centred = x - x.mean(0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:12]
    rebuilt = (centred @ directions.T @ directions + x.mean(0)).clip(0, 1)
    errors = np.square(rebuilt - x).mean(1)
    np.testing.assert_allclose(found.table["mse"], errors, rtol=1e-3, atol=1e-6)
    assert found.figures["mse"].value == pytest.approx(errors.mean(), rel=1e-4)
    assert found.figures["psnr"].value == pytest.approx((-10 * np.log10(errors)).mean(), abs=1e-3)
    assert found.figures["ssim"].low < found.figures["ssim"].value < 1


def test_everything_is_in_the_folder(pca, digits, tmp_path):
    found = reconstruct(pca, digits.subset(range(40)), tmp_path / "out", progress=False)
    stored = json.loads((tmp_path / "out" / "reconstruct.json").read_text())
    assert stored["mse"]["value"] == pytest.approx(found.figures["mse"].value)
    assert stored["about"]["method"] == "pca"
    assert stored["about"]["items"] == 40
    table = pd.read_csv(tmp_path / "out" / "items.csv")
    assert list(table.columns) == ["item", "mse", "psnr", "ssim"]
    assert len(table) == 40
    picture = np.asarray(Image.open(tmp_path / "out" / "picture.png").convert("L"))
    assert picture.std() > 40
    assert found.folder == tmp_path / "out"
    assert "PSNR (dB)" in found.text()


def test_python_alone_writes_nothing(pca, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert reconstruct(pca, digits.subset(range(20)), progress=False).folder is None
    assert not list(tmp_path.iterdir())


def test_a_table_has_a_squared_error_and_a_picture(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3)) @ np.ones((3, 5)) + [1, 2, 3, 4, 5]
    run = fit("pca", x, out=tmp_path / "run", dim=1, progress=False)
    found = reconstruct(run, x, tmp_path / "out", progress=False)
    assert list(found.figures) == ["mse"]
    assert found.figures["mse"].value == pytest.approx(0, abs=1e-10)  # one direction is all there is
    assert (tmp_path / "out" / "picture.png").stat().st_size > 1000


def test_missing_cells_of_a_table_are_counted(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    run = fit("pca", x, out=tmp_path / "run", dim=2, progress=False)
    assert not any("missing" in said for said in reconstruct(run, x, progress=False).said)
    x[[3, 5], [0, 2]] = np.nan
    frame = pd.DataFrame({"a": x[:, 0], "kind": np.where(x[:, 1] > 0, "up", None)})
    mixed = fit("pca", frame, out=tmp_path / "mixed", dim=1, progress=False)
    gaps = int(frame.isna().sum().sum())
    assert f"note: {gaps} missing cells count as the column's mean, or as no category" in reconstruct(mixed, frame).said


def test_what_does_not_decode_is_told_who_does(digits, tmp_path):
    run = fit("kmeans", digits, out=tmp_path / "run", k=3, progress=False)
    with pytest.raises(UserError, match=r"^run: kmeans cannot reconstruct; fit one of the methods that can: .*autoenc"):
        reconstruct(run, digits, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(pca, digits, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"out: .* exists; name another folder"):
        reconstruct(pca, digits, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_failure_half_way_leaves_nothing(pca, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(Representation, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reconstruct(pca, digits, tmp_path / "out", progress=False)
    assert not list(tmp_path.iterdir())


def test_the_representation_decodes_alike_in_any_company(autoencoder, digits):
    codes = autoencoder.embed(digits)
    whole = autoencoder.decode(codes)
    assert whole.shape == (len(digits), 1, 8, 8)
    np.testing.assert_array_equal(autoencoder.decode(codes[5:7]), whole[5:7])
    np.testing.assert_array_equal(autoencoder.reconstruct(digits), whole)


def test_codes_of_another_width_and_no_codes_at_all(autoencoder, pca):
    assert autoencoder.decode(np.empty((0, 16))).shape == (0, 1, 8, 8)
    assert pca.decode(np.empty((0, 12))).shape == (0, 1, 8, 8)
    for codes in (np.zeros((2, 15)), np.zeros(16)):
        with pytest.raises(UserError, match=r"^codes: \(.*\) is not \[n 16\], n codes of this autoencoder"):
            autoencoder.decode(codes)
    with pytest.raises(UserError, match=r"^codes: not all values are finite"):
        autoencoder.decode(np.full((2, 16), np.nan))


def test_items_on_the_unit_scale_are_embedded_as_stored_ones(autoencoder, pca, digits):
    batch = digits.batch(np.arange(300))
    for run in (autoencoder, pca):
        np.testing.assert_array_equal(run.embed_unit(run.unit(batch)), run.embed(digits)[:300])


def test_double_precision_of_a_table_is_kept():
    x = np.random.default_rng(0).normal(size=(50, 4)) + 1e6
    run = fit("pca", open_data(x, progress=False), dim=4, progress=False)
    rebuilt = run.reconstruct(open_data(x, spec=run.spec, progress=False))
    assert rebuilt.dtype == np.float64
    np.testing.assert_allclose(rebuilt, (x - x.mean(0)) / x.std(0), atol=1e-8)


def test_what_a_method_lacks_is_refused_by_the_representation(autoencoder):
    with pytest.raises(UserError, match="run: autoencoder cannot sample; fit one of the methods that can"):
        autoencoder.sample(3)
    with pytest.raises(UserError, match="run: autoencoder cannot rate"):
        autoencoder.log_likelihood("digits")


def test_the_picture_shows_items_by_the_seed_and_the_worst_rebuilt_first(pca, digits, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "salience.verbs.reconstruct.sheet", lambda strips, title: drawn.append(strips) or sheet(strips, title)
    )
    few = digits.subset(range(100))
    for seed in (0, 1):
        found = reconstruct(pca, few, tmp_path / f"out-{seed}", seed=seed, progress=False)
    worst = np.argsort(-found.table["mse"].to_numpy())[:12]
    unit = few.x / np.float32(255)
    for seed, strips in enumerate(drawn):
        originals, rebuilt, far, far_rebuilt = (np.asarray(strip.x) for strip in strips)
        rows = np.sort(np.random.default_rng(seed).permutation(100)[:12])
        np.testing.assert_allclose(originals, unit[rows], atol=1e-6)
        np.testing.assert_allclose(rebuilt, pca.reconstruct(few.subset(rows)).clip(0, 1), atol=1e-5)
        np.testing.assert_allclose(far, unit[worst], atol=1e-6)
        np.testing.assert_allclose(far_rebuilt, pca.reconstruct(few.subset(worst)).clip(0, 1), atol=1e-5)
