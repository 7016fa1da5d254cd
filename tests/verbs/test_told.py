"""What verbs say of what they did, against what their figures and files have."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import salience
from salience.data import open_data
from salience.store import open_store
from salience.training import fit
from salience.verbs.pictures import Strip, sheet, table_figure
from tests.store.conftest import vectors_table, write_store

FROM = {"PCA", "the noisy input", "the Wiener filter"}


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """Sixteen images, twice as wide as high."""
    root, generator = tmp_path_factory.mktemp("wide") / "photos", np.random.default_rng(0)
    root.mkdir()
    for number in range(16):
        Image.fromarray(generator.integers(0, 255, (20, 40), np.uint8)).save(root / f"{number:02}.png")
    return root


def listed(said: str) -> dict[str, set[str]]:
    """The verdict's parts: "better than" -> names."""
    parts = re.findall(r"(better than|worse than|undecided against) (.*?)(?=, worse|, undecided|\.$)", said)
    return {how: set(re.split(r", | and ", names)) for how, names in parts}


def test_the_verdict_is_that_of_every_interval(digits, tmp_path):
    seen: dict[str, int] = {}
    for dim in (2, 24, 26, 28, 40):
        run = fit("pca", digits, out=tmp_path / f"{dim}", dim=dim, progress=False)
        for count, level in ((60, 0.1), (300, 0.3)):
            found = salience.denoise(run, digits.subset(range(count)), level=level, progress=False)
            verdict = next(said for said in found.said if said.startswith("The run is "))
            expected: dict[str, set[str]] = {}
            for name in FROM:
                gain = found.figures[f"gain over {name}"]["psnr"]
                how = "better than" if gain.low > 0 else "worse than" if gain.high < 0 else "undecided against"
                expected.setdefault(how, set()).add(name)
                seen[how] = seen.get(how, 0) + 1
                if how == "undecided against":
                    seen[f"undecided, {'above' if gain.value > 0 else 'below'}"] = 1
            assert listed(verdict) == expected
    assert {"better than", "worse than", "undecided against"} <= set(seen), seen
    assert "undecided, above" in seen, seen


def test_what_was_judged_fitted_and_kept_is_told(pca, digits):
    found = salience.denoise(pca, digits.subset(range(200)), noise="masking", level=0.25, seed=3, progress=False)
    used = found.about
    assert used["judged"] != used["fitted"]
    window = used["wiener_window"]
    assert found.said[0] == (
        f"masking noise of level 0.25; {used['judged']} items judged, held out (stratified, seed 3); PCA of "
        f"{used['fitted']} clean others keeps {used['pca_components']} components, the best for this noise on the "
        f"rest; the Wiener filter looks at {window}x{window} pixels and is told the noise's power"
    )


def test_notes_of_both_sources_are_told_once(pca, digits, wide):
    few = digits.subset(range(30))
    resized = "note: resized to 8x8"
    for ordinary, ranked, count in ((few, wide, 1), (wide, few, 1), (wide, wide, 1), (few, few, 0)):
        said = salience.anomalies(pca, ordinary, test=ranked, progress=False).said
        assert sum(one.startswith(resized) for one in said) == count


def test_the_number_of_clusters_is_tried_on_items_of_all_kinds(tmp_path, monkeypatch):
    """Bundles one after the other: the first items are of the first bundle alone."""
    monkeypatch.setattr("salience.verbs.cluster.TRIAL", 90)
    own = np.repeat(np.arange(3), 100)
    x = np.eye(6)[own] + np.random.default_rng(0).normal(0, 0.05, (300, 6))
    store = open_store(write_store(tmp_path / "bundles.lance", vectors_table(x), modality="table"))
    found = salience.cluster(store, progress=False)
    assert found.about["clusters"] == 3
    assert re.search(r"3 clusters: the best silhouette, 0\.\d\d, of 2 to 30, on 90 items", found.text())


def test_a_pair_whose_other_item_is_gone_is_passed_over(tmp_path):
    from salience.verbs.duplicates import closest_pairs

    store = open_store(write_store(tmp_path / "some.lance", vectors_table(np.eye(5) + 0.1), modality="table"))
    store.write_columns({"duplicate_of": [None, "gone", "row-0", None, "row-3"]})
    assert sorted(pair[:2] for pair in closest_pairs(store)) == [(2, 0), (4, 3)]


def test_denoised_images_are_named_by_their_rows_in_six_digits(pca, digits, tmp_path):
    few = digits.subset(range(12))
    salience.denoise(pca, few, tmp_path / "out", noisy=True, progress=False)
    table = pd.read_csv(tmp_path / "out" / "denoised.csv", dtype=str)
    assert table["item"].tolist() == list(few.ids)
    assert table["file"].tolist() == [f"denoised/{row:06d}.png" for row in range(12)]
    stored = np.load(tmp_path / "out" / "denoised.npy")
    for row, name in enumerate(table["file"]):
        pixels = np.asarray(Image.open(tmp_path / "out" / name))
        np.testing.assert_array_equal(pixels, np.rint(stored[row, 0] * 255))


def test_captions_stand_between_the_rows_of_images():
    black = torch.zeros(3, 1, 8, 8)
    strips = [Strip("a", black, ["x", "y", "z"]), Strip("b", black, ["x", "y", "z"]), Strip("c", black, apart=True)]
    figure = sheet(strips, "t")
    figure.draw_without_rendering()
    canvas = np.asarray(figure.axes[0].images[0].get_array())
    dark = np.flatnonzero((canvas[..., 0] == 0).any(axis=1))
    captions = [text for text in figure.axes[0].texts if text.get_text() in "xyz"]
    assert len(captions) == 6
    for text in captions:
        extent = text.get_window_extent().transformed(figure.axes[0].transData.inverted())
        low, high = sorted((extent.y0, extent.y1))
        assert not ((dark > low) & (dark < high)).any()


def test_colours_of_a_table_reach_from_3_deviations_below_to_3_above():
    figure = table_figure([("original", torch.randn(2, 3))], "t", ["7", "8"], ["a", "b", "c"])
    limits = [image.get_clim() for axes in figure.axes for image in axes.images]
    assert limits == [(-3, 3)] * 2


@pytest.fixture(scope="module")
def embedded(wide, tmp_path_factory) -> tuple[Path, Path]:
    """A run trained on the middles of wide images, and its store."""
    folder = tmp_path_factory.mktemp("embedded")
    data = open_data(wide, resolution=8, progress=False)
    run = fit("pca", data, out=folder / "run", dim=4, progress=False)
    return folder / "run", salience.embed_to(run, wide, folder / "wide.lance", progress=False)


def test_a_query_is_shown_in_the_shape_of_the_hits(embedded, wide, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "salience.verbs.search.sheet", lambda strips, *a, **o: shown.append(strips) or sheet(strips, *a, **o)
    )
    found = salience.search(embedded[1], wide / "03.png", k=2, out=tmp_path / "out")
    assert found.table["id"][0] == "03.png"
    query, hits = shown[0]
    assert query.x.shape[1:] == hits.x.shape[1:]


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
def test_a_vector_in_a_file_is_one_in_a_row_or_alone(embedded, tmp_path, shape):
    store = open_store(embedded[1])
    np.save(tmp_path / "v.npy", store.vectors([5])[0].reshape(shape))
    assert salience.search(store, tmp_path / "v.npy", k=1).table["id"].tolist() == ["05.png"]


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int32, np.float32])
def test_an_image_of_any_kind_of_numbers_is_a_query(embedded, kind):
    image = (np.arange(64).reshape(8, 8) % 2).astype(kind)
    assert len(salience.search(embedded[1], image, k=3).table) == 3


@pytest.mark.parametrize(
    ("k", "where", "told"),
    [
        (3, None, "by cosine distance"),
        (99, None, "by cosine distance"),
        (2, "id IN ('00.png', '01.png')", "by cosine distance"),
        (3, "id IN ('00.png', '01.png')", "by cosine distance; no more than 2 satisfy the condition"),
        (3, "id = '99.png'", "no item satisfies: id = '99.png'"),
    ],
)
def test_that_fewer_were_found_is_told_where_a_condition_is_the_reason(embedded, k, where, told):
    store = open_store(embedded[1])
    (said,) = salience.search(store, store.vectors([5])[0], k=k, where=where).said
    assert said.endswith(told)


def test_how_many_of_the_strange_items_the_training_had_is_told(digits, tmp_path):
    """The run was trained on the first half of what is ranked."""
    x, labels = digits.x[:200], digits.labels[:200]
    np.save(tmp_path / "half.npy", x[:100])
    run = fit("pca", str(tmp_path / "half.npy"), out=tmp_path / "run", dim=5, progress=False)
    ranked = open_data(x, labels=labels, spec=run.spec, progress=False)
    count = int((labels[:100] == 3).sum())
    assert 0 < count < (labels == 3).sum()
    said = salience.anomalies(run, ranked, held_out="3", progress=False).said[-1]
    assert said.startswith(f"warning: the run was trained on {count} of these items of '3'")


@pytest.mark.parametrize("seed", [0, 1])
def test_of_few_items_in_many_dimensions_no_more_clusters_are_found_than_there_are(tmp_path, seed):
    """Four bundles of 20 items in 24 dimensions: too few for whole covariance matrices, by which 2 or 8 are best."""
    x = np.eye(24)[np.repeat(np.arange(4), 20)] + np.random.default_rng(seed).normal(0, 0.1, (80, 24))
    store = open_store(write_store(tmp_path / "few.lance", vectors_table(x), modality="table"))
    found = salience.cluster(store, "gmm", progress=False)
    assert found.about["clusters"] == 4
    assert found.table["size"].tolist() == [20] * 4
