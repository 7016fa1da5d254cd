"""A kind of data that the package has never seen passes fit, resume, embed, evaluate, store, search and the page."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

import salience
from salience.data import open_data
from salience.explorer.app import make_app
from salience.explorer.state import Explorer
from salience.modalities import register, registry
from salience.store import open_store
from salience.training import Interrupted
from tests.modalities import toys

KINDS = {"walk": (toys.WALK, toys.write_walks, ".walks"), "node": (toys.NODE, toys.write_nodes, ".nodes")}


@pytest.fixture(scope="module", params=KINDS)
def source(request: Any, tmp_path_factory: Any) -> Iterator[Path]:
    """A file of a kind of data that is registered meanwhile."""
    kind, write, ending = KINDS[request.param]
    register(kind)
    yield write(tmp_path_factory.mktemp(request.param) / f"items{ending}")
    del registry._added[kind.name]


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: Any) -> salience.Representation:
    out = tmp_path_factory.mktemp("run") / "simclr"
    return salience.fit("simclr", source, out=out, epochs=3, batch_size=16, progress=False)


def test_a_kind_of_data_is_short() -> None:
    tree = ast.parse(Path(toys.__file__).read_text())
    first = {node.name: node.lineno for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert first["NodeSpec"] - first["WalkSpec"] < 150
    assert len(Path(toys.__file__).read_text().splitlines()) - first["NodeSpec"] < 150


def test_it_is_prepared_once_and_opened_again(source: Path) -> None:
    data, again = open_data(source, progress=False), open_data(source, progress=False)
    assert data.fingerprint == again.fingerprint
    assert data.classes == again.classes
    for row in (0, 7, len(data) - 1):
        assert np.array_equal(data.item(row), again.item(row))
    some = data.subset(np.array([5, 3]))
    assert np.array_equal(some.item(1), data.item(3))


def test_it_is_learnt_from(run: salience.Representation, source: Path) -> None:
    assert run.run is not None
    codes = run.embed(source)
    assert codes.shape == (len(open_data(source, progress=False)), run.dim)
    assert np.isfinite(codes).all()
    again = salience.load(run.run)
    assert np.array_equal(again.embed(source), codes)


def test_an_embedding_does_not_depend_on_its_company(run: salience.Representation, source: Path) -> None:
    data = open_data(source, progress=False)
    rows = np.array([9, 2, 40])
    np.testing.assert_allclose(run.embed(data.subset(rows)), run.embed(data)[rows], rtol=1e-5, atol=1e-6)


def test_padding_counts_for_nothing(run: salience.Representation, source: Path) -> None:
    data = open_data(source, progress=False)
    batch = data.batch(np.arange(8))
    if batch.mask is None:
        pytest.skip("not ragged")
    changed = batch.with_x(torch.where(batch.mask[..., None], batch.x, torch.full_like(batch.x, 99.0)))
    assert torch.equal(run.method.embed(changed), run.method.embed(batch))


def test_closed_forms_take_its_flat_form(source: Path, tmp_path: Path) -> None:
    pca = salience.fit("pca", source, out=tmp_path / "pca", dim=2, progress=False)
    assert pca.embed(source).shape[1] == 2


def test_methods_that_need_vectors_refuse_it(source: Path, tmp_path: Path) -> None:
    with pytest.raises(salience.UserError, match="autoencoder learns from image and table"):
        salience.fit("autoencoder", source, out=tmp_path / "run", progress=False)


@pytest.mark.parametrize("method", ["byol", "dino", "swav", "vicreg", "moco", "barlowtwins", "simsiam"])
def test_joint_embedding_methods_learn_from_it(method: str, source: Path, tmp_path: Path) -> None:
    rep = salience.fit(method, source, out=tmp_path / method, epochs=1, batch_size=16, progress=False)
    assert np.isfinite(rep.embed(source)).all()


def test_a_stopped_run_resumes_to_the_same_weights(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    options: dict[str, Any] = {"epochs": 3, "batch_size": 16, "progress": False}
    whole = salience.fit("simclr", source, out=tmp_path / "whole", **options)
    interrupt_at(5, monkeypatch)
    with pytest.raises(Interrupted):
        salience.fit("simclr", source, out=tmp_path / "stopped", **options)
    monkeypatch.undo()
    resumed = salience.resume(tmp_path / "stopped", progress=False)
    for name, weights in whole.method.state_dict().items():
        assert torch.equal(weights, resumed.method.state_dict()[name]), name


def interrupt_at(step: int, monkeypatch: Any) -> None:
    """Ctrl-C in this step of SimCLR."""
    from salience.methods.contrastive.simclr import SimCLR

    after = SimCLR.after_step

    def stop(self: Any, at: Any) -> None:
        after(self, at)
        if at.step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(SimCLR, "after_step", stop)


def test_it_is_evaluated(run: salience.Representation, source: Path) -> None:
    report = salience.evaluate(run, on=source, write=False)
    found = report.to_dict()
    for measured in (found["representation"], *(found["baselines"][name] for name in ("raw", "pca", "untrained"))):
        accuracy = measured["knn"]["accuracy"]
        assert accuracy["interval"][0] <= accuracy["value"] <= accuracy["interval"][1]


def test_it_is_stored_searched_and_shown(run: salience.Representation, source: Path, tmp_path: Path) -> None:
    salience.embed_to(run, source, tmp_path / "items.lance", progress=False)
    opened = open_store(tmp_path / "items.lance")
    assert opened.about["modality"] == run.spec.modality.name
    found = salience.search(tmp_path / "items.lance", "0", k=3)
    assert len(found.table) == 3
    with TestClient(make_app(Explorer(opened)), base_url="http://127.0.0.1:8300") as client:
        assert client.get("/store").json()["modality"] == run.spec.modality.name
        assert client.get("/points?map=pca").status_code == 200
        assert client.get("/items/0").status_code == 200


def test_anomalies_are_ranked(run: salience.Representation, source: Path) -> None:
    found = salience.anomalies(run, source, progress=False)
    assert len(found.table) == len(open_data(source, progress=False))


def test_patches_of_a_toy_are_joined_again() -> None:
    patches = toys.WALK.patches(toys.WalkSpec((2,), "float32"))
    x = torch.randn(3, 8, 2)
    tokens = patches.cut(x)
    assert torch.equal(patches.join(tokens), x)
    assert patches.positions(x).shape == (8, 1)
    assert patches.embedding(5)(tokens).shape == (3, 8, 5)
    torch.testing.assert_close(patches.error(tokens + 2, tokens), torch.full((3, 8), 4.0))
