"""DFC-VAE: with the identity the VAE of pixels; what the layers see; a network that never changes, from anywhere."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.config import TrainingPlan
from salience.data import open_data
from salience.errors import UserError
from salience.health.probe import own_statistics
from salience.methods import Context
from salience.methods.generative.dfcvae import DFCVAE, half_square
from salience.methods.generative.vae import VAE
from salience.modalities.image.input import ImageInput
from salience.nets import Features, keep_scale, make_encoder
from salience.representation import load
from salience.training import engine, fit
from tests import contract
from tests.methods.proof import assert_same_value_and_gradient, random_views, train_by_hand

AT = Progress(step=2, total=10, epoch=1, seed=3)
quiet = pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run


class Same(nn.Module):
    """A network that sees an item as it is."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


def built(**options: Any) -> tuple[DFCVAE, Batch]:
    """In float64, and some items."""
    dataset = contract.dataset_for("dfcvae")
    method = contract.build("dfcvae", dataset, dim=3, **options).double()
    assert isinstance(method, DFCVAE)
    return method, dataset.batch(np.arange(6))


def test_with_the_identity_it_is_the_vae_of_pixels() -> None:
    method, batch = built(encoder="mlp", beta=0.6)
    method.perceive = Same()
    twin = contract.build("vae", contract.dataset_for("vae"), encoder="mlp", dim=3, beta=0.6, likelihood="gaussian")
    assert isinstance(twin, VAE)
    assert twin.density.log_scale is not None
    twin.load_state_dict(method.state_dict() | {"density.log_scale": torch.zeros(())})  # a variance of 1
    ours, theirs = method.loss(batch, AT), twin.double().loss(batch, AT)
    constant = 64 / 2 * math.log(2 * math.pi)
    torch.testing.assert_close(ours["rebuild"], theirs["rebuild"] - constant, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours["loss"], theirs["loss"] - constant, rtol=1e-12, atol=0)
    ours["loss"].backward()
    theirs["loss"].backward()
    gradients = dict(method.named_parameters())
    for key, parameter in twin.named_parameters():
        if key != "density.log_scale":
            torch.testing.assert_close(gradients[key].grad, parameter.grad, rtol=0, atol=1e-12)


def test_the_difference_is_half_the_sum_of_squares_and_nothing_between_equals() -> None:
    a, b = random_views(3, 8)
    by_hand = torch.stack([torch.stack([(a[i, j] - b[i, j]) ** 2 for j in range(8)]).sum() / 2 for i in range(3)])
    ours = half_square(a.unflatten(1, (2, 2, 2)), b.unflatten(1, (2, 2, 2)))
    assert_same_value_and_gradient(ours.sum(), by_hand.sum(), (a, b))
    torch.testing.assert_close(ours, by_hand)
    assert not half_square(a, a).any()


class Knows(nn.Module):
    """A decoder that rebuilds these items, whatever the code."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x

    def forward(self, code: Tensor) -> Tensor:
        return self.x


def test_what_is_rebuilt_exactly_differs_in_no_layer() -> None:
    method, batch = built()
    method.decoder = Knows(method.encoder.input.unit(batch.x))
    terms = method.loss(batch, AT)
    assert terms["rebuild"] == 0
    assert terms["loss"] == terms["kl"] > 0


def test_the_loss_sums_the_layers_that_a_network_passes() -> None:
    """The convolutional network run by hand, to its first activation at each of three sizes."""
    method, batch = built()
    x = method.encoder.input.unit(batch.x).double()
    rebuilt = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    method.decoder = Knows(rebuilt)
    perceive = method.perceive
    assert isinstance(perceive, Features)
    assert isinstance(perceive.input, ImageInput)
    total = torch.zeros((), dtype=torch.float64)
    seen = [(one - perceive.input.mean) / perceive.input.std for one in (x, rebuilt)]
    assert isinstance(perceive.body, nn.Sequential)
    assert len(perceive.body) == 4  # and nothing after the last layer that is compared
    for number, stage in enumerate(perceive.body):
        seen = [stage(one) for one in seen]
        if number in (0, 1, 3):  # 8, 4 and 2 pixels a side
            total = total + (seen[0] - seen[1]).square().sum() / 2
    torch.testing.assert_close(method.loss(batch, AT)["rebuild"], total / 6)


@pytest.mark.parametrize(("layers", "widths"), [(1, [32]), (2, [32, 64]), (3, [32, 64, 128]), (9, [32, 64, 128])])
def test_as_many_layers_as_asked_for(layers: int, widths: list[int]) -> None:
    spec = contract.dataset_for("dfcvae").spec
    seen = Features(make_encoder("convnet", spec, dim=5), layers)(torch.zeros(2, 1, 8, 8))
    assert [one.shape[1] for one in seen] == widths
    assert len({one.shape[2] for one in seen}) == len(widths)


def test_layers_of_networks_without_maps() -> None:
    spec = contract.dataset_for("dfcvae").spec
    x = torch.rand(2, 1, 8, 8)
    dense, narrow = make_encoder("mlp", spec), make_encoder("mlp", spec, dim=7)
    assert [tuple(one.shape) for one in Features(dense, 3)(x)] == [(2, 256), (2, 256)]
    torch.testing.assert_close(Features(dense, 2)(x)[1], dense.eval()(x))
    assert Features(narrow, 3).state_dict().keys() == Features(dense, 3).state_dict().keys()
    linear = make_encoder("linear", spec)
    torch.testing.assert_close(Features(linear, 3)(x), [linear(x)])


@pytest.mark.parametrize(("name", "least"), [("resnet10t", 2), ("vit_tiny_patch16_224", 3)])
def test_layers_of_networks_of_timm(name: str, least: int) -> None:
    pytest.importorskip("timm")
    dataset = open_data(np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8), progress=False)
    seen = Features(make_encoder(name, dataset.spec), 3)(torch.rand(2, 3, 16, 16).requires_grad_())
    assert least <= len(seen) <= 3
    assert all(one.grad_fn is not None and len(one) == 2 for one in seen)


def test_random_weights_keep_the_scale_of_what_they_see() -> None:
    dataset = contract.dataset_for("dfcvae")
    encoder = make_encoder("convnet", dataset.spec)
    keep_scale(encoder)
    powers = [one.square().mean() for one in Features(encoder, 3)(encoder.input.unit(dataset.batch(np.arange(96)).x))]
    assert 0.2 < powers[2] / powers[0] < 5


def test_the_network_gets_no_gradient_and_its_statistics_stay() -> None:
    method, batch = built()
    before = {key: value.clone() for key, value in method.perceive.state_dict().items()}
    own = {key: value.clone() for key, value in method.encoder.state_dict().items()}
    train_by_hand(method, contract.dataset_for("dfcvae"), steps=3)
    assert method.training
    assert not any(part.training for part in method.perceive.modules())
    assert all(torch.equal(before[key], value) for key, value in method.perceive.state_dict().items())
    assert not all(torch.equal(own[key], value) for key, value in method.encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in method.perceive.parameters())
    x = method.encoder.input.unit(batch.x)
    seen = method.perceive(x)
    with own_statistics(method):  # nor does a look at the run change what it compares by
        for one, other in zip(seen, method.perceive(x), strict=True):
            assert torch.equal(one, other)


@quiet
def test_any_run_gives_features_and_is_not_needed_afterwards(tmp_path: Path) -> None:
    dataset = contract.dataset_for("dfcvae")
    short: dict[str, Any] = {"epochs": 1, "batch_size": 48, "progress": False}
    seen = fit("autoencoder", dataset, out=tmp_path / "seen", **short)
    rep = fit("dfcvae", dataset, out=tmp_path / "run", features=str(tmp_path / "seen"), layers=2, **short)
    wanted = seen.method.state_dict()
    kept = {key: value for key, value in rep.method.state_dict().items() if key.startswith("perceive.")}
    assert sum(key.startswith("perceive.body") for key in kept) == 2 * 6  # two stages: weight, batch norm
    for key, value in kept.items():
        assert torch.equal(value, wanted[key.replace("perceive.", "encoder.")])
    assert rep.config.model.options["network"] == "convnet"
    shutil.rmtree(tmp_path / "seen")
    again = load(tmp_path / "run")
    assert all(torch.equal(value, again.method.state_dict()[key]) for key, value in kept.items())


@quiet
def test_features_that_cannot_be_are_refused(tmp_path: Path) -> None:
    dataset = contract.dataset_for("dfcvae")
    short: dict[str, Any] = {"epochs": 1, "batch_size": 48, "progress": False}
    fit("pca", dataset, out=tmp_path / "pca", progress=False)
    larger = open_data(np.random.default_rng(0).integers(0, 255, (8, 16, 16), dtype=np.uint8), progress=False)
    fit("autoencoder", larger, out=tmp_path / "larger", epochs=1, batch_size=8, progress=False)
    (tmp_path / "empty").mkdir()
    for features, what in {
        str(tmp_path / "pca"): "features: .*pca has a closed form and no encoder",
        str(tmp_path / "larger"): "features: .*larger sees image items of 1×16×16, these are image items of 1×8×8",
        str(tmp_path / "empty"): "features: ",
        "resnet81": "features: unknown encoder 'resnet81'",
    }.items():
        with pytest.raises(UserError, match=what):
            fit("dfcvae", dataset, out=tmp_path / "run", features=features, **short)
    with pytest.raises(UserError, match="network: 'linear' was given, and features 'mlp', which is no run"):
        DFCVAE.build(Context(dataset.spec, 96), features="mlp", network="linear")


def test_rows_of_a_table_are_compared_by_a_dense_network() -> None:
    dataset = open_data(np.random.default_rng(0).normal(size=(20, 6)), progress=False)
    method = DFCVAE.build(Context(dataset.spec, 20), dim=2)
    assert (method.features, method.network) == ("mlp", "mlp")
    terms = method.loss(dataset.batch(np.arange(20)), AT)
    assert all(torch.isfinite(term) for term in terms.values())
    assert method.decode(method.embed(dataset.batch(np.arange(4)))).shape == method.sample(4).shape == (4, 6)


def plan_for(**changes: Any) -> TrainingPlan:
    known: dict[str, Any] = {"batch_size": 8, "learning_rate": 1e-3, "steps": 1, "steps_per_epoch": 1}
    return TrainingPlan(**{**known, **changes})


def test_what_compares_is_never_compiled() -> None:
    """Its hooks would not run in compiled code."""
    method = contract.build("dfcvae", contract.dataset_for("dfcvae"))
    assert isinstance(method, DFCVAE)
    engine.prepare(method, plan_for(precision="32-true", compile=True))
    assert method.encoder._compiled_call_impl is not None
    assert method.perceive._compiled_call_impl is None
