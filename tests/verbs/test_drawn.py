"""What the pictures show: which items, how many, in which order, under which names and captions."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from salience import (
    anomalies,
    arithmetic,
    cluster,
    denoise,
    duplicates,
    interpolate,
    reconstruct,
    sample,
    search,
    super_resolve,
)
from salience.data import open_data
from salience.training import fit
from salience.verbs import pictures as drawing
from tests.store.conftest import DIGITS


@pytest.fixture
def drawn(monkeypatch) -> list[dict]:
    """Every sheet and every figure of a table, wherever it is drawn: what it was drawn of."""
    found: list[dict] = []
    sheet, table = drawing.sheet, drawing.table_figure

    def sheets(strips, title, **options):
        found.append({"strips": list(strips), "title": title, **options})
        return sheet(strips, title, **options)

    def tables(versions, title="", names=(), columns=()):
        names, columns = list(names), list(columns)
        found.append({"versions": list(versions), "title": title, "names": names, "columns": columns})
        return table(versions, title, names, columns)

    for module in [one for name, one in list(sys.modules.items()) if name.startswith("salience.")]:
        for name, value in list(vars(module).items()):
            if value is sheet or value is table:
                monkeypatch.setattr(module, name, sheets if value is sheet else tables)
    return found


def told(sheet: dict) -> list[tuple[str, int, bool]]:
    """Of each strip its name, how many images, and whether a group begins."""
    return [(strip.name, len(strip.x), strip.apart) for strip in sheet["strips"]]


def same(x, expected) -> None:
    np.testing.assert_allclose(np.asarray(x), np.asarray(expected), atol=1e-5)


def test_anomalies_shows_twelve_at_each_end_beside_what_they_are_rebuilt_as(autoencoder, digits, tmp_path, drawn):
    few = digits.subset(range(60))
    table = anomalies(autoencoder, few, tmp_path / "out", progress=False).table
    (shown,) = drawn
    assert shown["title"] == "autoencoder on digits: most and least anomalous items, by reconstruction"
    assert told(shown) == [
        ("most anomalous", 12, True), ("rebuilt", 12, False), ("least anomalous", 12, True), ("rebuilt", 12, False),
    ]  # fmt: skip
    rows = table["item"].astype(int).to_numpy()
    for (original, rebuilt), ends in ((shown["strips"][:2], rows[:12]), (shown["strips"][2:], rows[::-1][:12])):
        same(original.x, few.x[ends] / 255)
        same(rebuilt.x, autoencoder.reconstruct(few.subset(ends)).clip(0, 1))
        scores = table.set_index("item").loc[[str(row) for row in ends], "score"]
        assert list(rebuilt.captions) == [f"{score:.3g}" for score in scores]
    anomalies(autoencoder, few, tmp_path / "near", score="neighbours", progress=False)
    assert told(drawn[1]) == [("most anomalous", 12, True), ("least anomalous", 12, True)]
    assert all(len(strip.captions) == 12 for strip in drawn[1]["strips"])


def test_anomalies_of_a_table_shows_six_at_each_end(tmp_path, drawn):
    x = np.random.default_rng(0).normal(size=(40, 3))
    run = fit("pca", x, out=tmp_path / "run", dim=2, progress=False)
    for number, score in enumerate(("reconstruction", "neighbours")):
        table = anomalies(run, x, tmp_path / score, score=score, progress=False).table
        shown = drawn[number]
        ends = [*table.itertuples(index=False)][:6], [*table.itertuples(index=False)][::-1][:6]
        expected = [
            f"{name} anomalous: {one.item}, {one.score:.3g}"
            for name, some in zip(("most", "least"), ends, strict=True)
            for one in some
        ]
        assert shown["names"] == expected
        assert [name for name, _ in shown["versions"]] == (["original", "rebuilt"] if number == 0 else [""])
        rows = [int(one.item) for some in ends for one in some]
        same(shown["versions"][0][1], ((x - x.mean(0)) / x.std(0))[rows])


def test_denoise_shows_ten_clean_noisy_and_by_each_denoiser(pca, digits, tmp_path, drawn):
    few = digits.subset(range(100))
    items = denoise(pca, few, tmp_path / "out", noise="masking", level=0.25, progress=False).table["item"]
    (shown,) = drawn
    assert shown["title"] == "pca on digits: masking noise of level 0.25"
    names = ["clean", "the noisy input", "the run", "PCA", "the Wiener filter"]
    assert told(shown) == [(name, 10, False) for name in names]
    rows = items.astype(int).to_numpy()[:10]
    clean, noisy, ours, *others = (np.ascontiguousarray(strip.x, np.float32) for strip in shown["strips"])
    same(clean, few.x[rows] / 255)
    assert 0.15 < (noisy != clean).sum() / (clean != 0).sum() < 0.35
    same(ours, pca.decode(pca.embed_unit(torch.from_numpy(noisy))).clip(0, 1))
    assert len({one.tobytes() for one in (clean, noisy, ours, *others)}) == 5


def test_denoise_of_what_is_noisy_shows_ten_before_and_after(pca, digits, tmp_path, drawn):
    few = digits.subset(range(30))
    denoise(pca, few, tmp_path / "out", noisy=True, progress=False)
    (shown,) = drawn
    assert (shown["title"], told(shown)) == (
        "pca denoises digits",
        [("the noisy input", 10, False), ("the run", 10, False)],
    )
    same(shown["strips"][0].x, few.x[:10] / 255)
    same(shown["strips"][1].x, pca.reconstruct(few.subset(range(10))).clip(0, 1))


def test_arithmetic_shows_ten_at_every_strength(pca, digits, tmp_path, drawn):
    few = digits.subset(range(300))
    found = arithmetic(pca, few, tmp_path / "out", add="0", subtract="1", progress=False)
    (shown,) = drawn
    assert shown["title"] == "pca on digits: codes + '0' - '1'"
    names = ["original", "rebuilt", "0.5 x", "1 x", "1.5 x"]
    assert told(shown) == [(name, 10, False) for name in names]
    rows = found.table["item"].astype(int).to_numpy()[:10]
    same(shown["strips"][0].x, few.x[rows] / 255)
    codes = pca.embed(few.subset(rows))
    for strip, strength in zip(shown["strips"][1:], (0, 0.5, 1, 1.5), strict=True):
        same(strip.x, pca.decode(codes + np.float32(strength) * found.arrays["vector"]).clip(0, 1))


def test_interpolate_shows_the_asked_pair_first_and_three_more(pca, digits, tmp_path, drawn, monkeypatch):
    monkeypatch.setattr("salience.verbs.interpolate.PAIRS", 6)
    few = digits.subset(range(80))
    found = interpolate(pca, few, tmp_path / "out", start="3", end="10", steps=4, progress=False)
    (shown,) = drawn
    assert shown["title"] == "pca on digits: between two items"
    assert told(shown) == [("linear", 6, True), ("spherical", 6, False)] * 4
    first = shown["strips"][:2]
    for strip, name in zip(first, ("linear", "spherical"), strict=True):
        same(strip.x[[0, -1]], few.x[[3, 10]] / 255)
        same(strip.x[1:-1], found.arrays[name])
    captions = [list(strip.captions) for strip in shown["strips"]]
    assert captions == [[]] * 7 + [["original", "0", "0.33", "0.67", "1", "original"]]


def test_samples_are_shown_and_twelve_beside_their_nearest_items(vae, digits, tmp_path, drawn):
    found = sample(vae, digits.subset(range(40)), tmp_path / "out", n=20, progress=False)
    sample(vae, None, tmp_path / "alone", n=150, progress=False)
    beside, alone = drawn
    assert (beside["title"], alone["title"]) == ("20 samples of vae", "the first 144 of 150 samples of vae")
    assert told(beside) == [
        ("", 12, False), ("", 8, False), ("samples", 12, True), ("nearest real items", 12, False),
    ]  # fmt: skip
    same(np.concatenate([strip.x for strip in beside["strips"][:2]]), found.arrays["samples"])
    same(beside["strips"][2].x, found.arrays["samples"][:12])
    x, made = digits.x[:40].reshape(40, -1) / 255, found.arrays["samples"][:12].reshape(12, -1)
    nearest = ((made[:, None] - x[None]) ** 2).sum(2).argmin(1)
    same(beside["strips"][3].x, digits.x[nearest] / 255)
    assert told(alone) == [("", 12, False)] * 12


def test_samples_of_a_table_are_shown_beside_as_many_real_rows(tmp_path, drawn):
    x = np.random.default_rng(0).normal(size=(40, 3))
    run = fit("vae", x, out=tmp_path / "run", epochs=1, dim=2, progress=False)
    for name, source in (("alone", None), ("beside", x)):
        sample(run, source, tmp_path / name, n=30, progress=False)
    assert [shown["title"] for shown in drawn] == ["the first 24 of 30 samples of vae"] * 2
    assert [shown["names"] for shown in drawn] == [["samples"], ["samples", "real rows"]]
    assert [len(shown["versions"]) for shown in drawn] == [24, 24]
    assert [[len(rows) for _, rows in shown["versions"]] for shown in drawn] == [[1] * 24, [2] * 24]
    assert [len(shown["columns"]) for shown in drawn] == [3, 3]


def test_super_resolve_shows_eight_by_the_seed_from_small_to_original(enlarger, digits, tmp_path, drawn):
    few = digits.subset(range(50))
    for seed in (0, 1):
        super_resolve(enlarger, few, tmp_path / f"{seed}", seed=seed, progress=False)
    for seed, shown in enumerate(drawn):
        assert shown["title"] == "conditional_gan on digits: shrunk and enlarged 2-fold"
        assert told(shown) == [(name, 8, False) for name in ("shrunk", "bicubic", "the run", "original")]
        rows = np.sort(np.random.default_rng(seed).permutation(50)[:8])
        x = few.x[rows] / np.float32(255)
        small = x.reshape(8, 1, 4, 2, 4, 2).mean((3, 5))
        shrunk, _, ours, original = (strip.x for strip in shown["strips"])
        same(original, x)
        same(shrunk, small)
        same(ours, enlarger.enlarge(small).clip(0, 1))
        assert shown["tile"] > 100


def test_super_resolve_as_is_shows_the_first_eight(enlarger, digits, tmp_path, drawn):
    super_resolve(enlarger, digits.subset(range(11)), tmp_path / "out", as_is=True, progress=False)
    (shown,) = drawn
    assert shown["title"] == "conditional_gan enlarges digits 2-fold"
    assert told(shown) == [(name, 8, False) for name in ("as it is", "bicubic", "the run")]
    same(shown["strips"][0].x, digits.x[:8] / 255)


def test_reconstruct_shows_a_title_with_the_width_of_the_code(pca, digits, tmp_path, drawn):
    reconstruct(pca, digits.subset(range(40)), tmp_path / "out", progress=False)
    (shown,) = drawn
    assert shown["title"] == "pca rebuilds digits from 12 values an item"
    assert told(shown) == [
        ("original", 12, False), ("rebuilt", 12, False), ("worst: original", 12, True), ("rebuilt", 12, False),
    ]  # fmt: skip


def test_reconstruct_and_denoise_of_a_table_name_their_rows_and_columns(tmp_path, drawn):
    x = np.random.default_rng(0).normal(size=(40, 3))
    data = replace(open_data(x, progress=False), ids=[f"row {row}" for row in range(40)])
    run = fit("pca", data, out=tmp_path / "run", dim=2, progress=False)
    reconstruct(run, data, tmp_path / "rebuilt", seed=3, progress=False)
    judged = denoise(run, data, tmp_path / "denoised", progress=False).table["item"]
    rebuilt, denoised = drawn
    rows = np.sort(np.random.default_rng(3).permutation(40)[:12])
    assert rebuilt["names"] == [f"row {row}" for row in rows]
    assert [name for name, _ in rebuilt["versions"]] == ["original", "rebuilt"]
    same(rebuilt["versions"][0][1], ((x - x.mean(0)) / x.std(0))[rows])
    assert len(rebuilt["columns"]) == 3
    assert denoised["names"] == judged[:10].tolist()
    assert [name for name, _ in denoised["versions"]] == ["clean", "the noisy input", "the run", "PCA"]


# --- of a store -----------------------------------------------------------------------------------------------------


def ids(rows) -> list[str]:
    return [f"digit-{row:04d}" for row in rows]


def pictures(store, rows) -> np.ndarray:
    import io

    from PIL import Image

    files = store.thumbnails(rows)
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]) / 255


def shown_in(strips) -> np.ndarray:
    return np.concatenate([np.asarray(strip.x) for strip in strips]).transpose(0, 2, 3, 1)


def test_a_search_shows_the_query_above_the_hits_ten_in_a_row(store, tmp_path, drawn):
    table = search(store, "digit-0003", k=12, out=tmp_path / "out").table
    (shown,) = drawn
    assert (shown["title"], shown["tile"]) == ("digits.lance: nearest to digit-0003", 112)
    assert told(shown) == [("query", 1, True), ("nearest", 10, True), ("", 2, False)]
    same(shown_in(shown["strips"][:1]), pictures(store, [3]))
    same(shown_in(shown["strips"][1:]), pictures(store, [int(id[-4:]) for id in table["id"]]))
    captions = [caption for strip in shown["strips"] for caption in strip.captions]
    assert captions[0] == ""
    for caption, label, distance in zip(captions[1:], table["label"], table["distance"], strict=True):
        assert caption.startswith(f"{label} ")
        assert float(caption.split()[1]) == pytest.approx(distance, abs=6e-4)


def test_a_search_by_a_vector_shows_hits_alone(store, tmp_path, drawn):
    search(store, DIGITS.data[3], k=3, out=tmp_path / "out")
    assert told(drawn[0]) == [("nearest", 3, True)]


def test_strange_items_of_a_store_are_twenty_and_the_ordinary_ones_ten(store, tmp_path, drawn):
    table = anomalies(store, out=tmp_path / "out", progress=False).table
    (shown,) = drawn
    assert shown["title"] == "digits.lance: most and least anomalous items"
    assert told(shown) == [("most anomalous", 10, True), ("", 10, False), ("least anomalous", 10, True)]
    rows = [int(id[-4:]) for id in table["item"]]
    same(shown_in(shown["strips"]), pictures(store, [*rows[:20], *rows[::-1][:10]]))
    first = shown["strips"][0].captions[0].split()
    assert first[0] == table["label"][0]
    assert float(first[1]) == pytest.approx(table["score"][0], abs=6e-4)


def test_clusters_are_shown_by_their_eight_most_typical_items(store, tmp_path, drawn):
    table = cluster(store, "kmeans", 22, tmp_path / "out", progress=False).table
    (shown,) = drawn
    assert shown["title"] == "digits.lance: clusters, the largest 20 of 22"
    assert len(shown["strips"]) == 20
    for strip, one in zip(shown["strips"], table.itertuples(index=False), strict=False):
        assert strip.name == f"{one.cluster}: {one.size:,}, {one.label} {one.share:.0%}"
        assert len(strip.x) == min(8, one.size)
    cluster(store, "kmeans", 3, tmp_path / "three", progress=False)
    assert drawn[1]["title"] == "digits.lance: clusters"


def test_duplicates_are_shown_in_pairs_eight_across_and_24_at_most(store, tmp_path, drawn):
    table = duplicates(store, 0.05, tmp_path / "out", progress=False).table
    assert len(table) > 24
    (shown,) = drawn
    assert shown["title"] == "digits.lance: items nearly the same"
    assert told(shown) == [("item", 8, True), ("other", 8, False)] * 3
    for part in range(3):
        some = table.iloc[8 * part : 8 * part + 8]
        above, below = shown["strips"][2 * part : 2 * part + 2]
        same(shown_in([above]), pictures(store, [int(id[-4:]) for id in some["item"]]))
        same(shown_in([below]), pictures(store, [int(id[-4:]) for id in some["other"]]))
        labels = [str(DIGITS.target[int(id[-4:])]) for id in some["other"]]
        assert [caption.split()[0] for caption in below.captions] == labels
