"""Encoders by name: shapes, statistics that travel with the weights, networks fitted to small images, plain errors."""

import builtins
import dataclasses
import socket
from itertools import pairwise

import pytest
import torch
from torch import nn

from salience.errors import MissingPackage, UserError
from salience.modalities.image import timm_body
from salience.modalities.image.input import ImageInput
from salience.modalities.image.spec import ImageSpec
from salience.modalities.table.spec import Column, TableSpec
from salience.nets import follow, head, input_width, make_encoder, make_input, teacher_of

IMAGES = ImageSpec((3, 32, 32), "uint8", 0, 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.0))
DIGITS = ImageSpec((1, 8, 8), "uint8", 0, 255, mean=(0.3,), std=(0.3,))
TABLE = TableSpec((2,), "float32", columns=(Column("a"), Column("b", "category", ("x", "y", "z"))))


def raw(spec, n=4):
    if spec is TABLE:
        return torch.tensor([[0.5, 1.0], [float("nan"), 2.0], [1.0, float("nan")], [0.0, 0.0]])
    return torch.arange(n * torch.Size(spec.shape).numel()).remainder(251).to(torch.uint8).reshape(n, *spec.shape)


@pytest.mark.parametrize(
    ("name", "spec", "dim"),
    [
        (None, IMAGES, 256),
        (None, DIGITS, 256),
        (None, TABLE, 256),
        ("convnet", dataclasses.replace(IMAGES, shape=(2, 45, 45), mean=(), std=()), 256),
        ("mlp", DIGITS, 256),
        ("linear", DIGITS, 64),
        ("linear", IMAGES, 256),
        ("linear", TABLE, 4),
        ("resnet18", DIGITS, 512),
        ("vit_tiny_patch16_224", IMAGES, 192),
        ("mobilenetv3_small_050", IMAGES, 1024),  # its num_features says 288
    ],
)
def test_one_vector_of_the_stated_width_per_item(name, spec, dim):
    encoder = make_encoder(name, spec).eval()
    x = encoder.input.unit(raw(spec))
    with torch.no_grad():
        out = encoder(x)
    assert out.shape == (len(x), dim)
    assert encoder.dim == dim
    assert torch.isfinite(out).all()
    assert not torch.allclose(out[0], out[1])


@pytest.mark.parametrize(
    ("name", "spec"), [("convnet", IMAGES), ("mlp", TABLE), ("linear", IMAGES), ("resnet18", IMAGES)]
)
def test_the_width_can_be_asked_for(name, spec):
    encoder = make_encoder(name, spec, dim=10).eval()
    assert encoder.dim == 10
    out = encoder(encoder.input.unit(raw(spec)))
    assert out.shape == (4, 10)
    assert out.min() < 0  # a code is not cut off at zero


def test_the_benchmark_net_is_the_one_the_benchmarks_name():
    body = make_encoder("convnet", IMAGES).body
    convolutions = [layer for layer in body.modules() if isinstance(layer, nn.Conv2d)]
    plan = [(layer.in_channels, layer.out_channels, layer.stride[0]) for layer in convolutions]
    assert plan == [(3, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2)]
    assert all(layer.kernel_size == (3, 3) for layer in convolutions)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in body.modules()) == 6
    assert [a.out_channels for a, b in pairwise(convolutions)] == [b.in_channels for a, b in pairwise(convolutions)]


def test_images_reach_the_network_standardised_and_a_constant_channel_stays_finite():
    layer = ImageInput(IMAGES)
    x = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
    out = layer(layer.unit(x))[:, :, 0, 0]
    torch.testing.assert_close(out, torch.tensor([[-2.5, -1.6, -0.3], [2.5, 2.4, 0.7]]))


def test_statistics_travel_with_the_weights():
    here = make_encoder("convnet", IMAGES)
    there = make_encoder("convnet", dataclasses.replace(IMAGES, mean=(0, 0, 0), std=(1, 1, 1)))
    there.load_state_dict(here.state_dict())
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(here.eval()(x), there.eval()(x))


def test_a_table_is_unit_scale_already():
    layer = make_input(TABLE)
    assert input_width(TABLE) == 4
    unit = layer.unit(raw(TABLE))
    torch.testing.assert_close(unit, torch.tensor([[0.5, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]))
    assert layer(unit) is unit


@pytest.mark.parametrize(("resolution", "kernel", "stride"), [(32, 3, 1), (64, 3, 1), (96, 7, 2)])
def test_small_images_get_a_resnet_with_a_small_stem(resolution, kernel, stride):
    spec = dataclasses.replace(IMAGES, shape=(3, resolution, resolution))
    model = make_encoder("resnet18", spec).body.model
    assert model.conv1.kernel_size == (kernel, kernel)
    assert model.conv1.stride == (stride, stride)
    assert isinstance(model.maxpool, nn.Identity) == (resolution <= 64)
    features = model.forward_features(torch.rand(1, 3, resolution, resolution))
    assert features.shape[-1] == (resolution // 8 if resolution <= 64 else resolution // 32)


def test_a_deep_stem_keeps_its_small_kernels_and_loses_its_stride():
    model = make_encoder("resnet18d", DIGITS).body.model
    assert model.conv1[0].stride == (1, 1)
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 512)


def test_a_vit_is_built_for_the_resolution():
    model = make_encoder("vit_tiny_patch16_224", dataclasses.replace(IMAGES, shape=(3, 48, 48))).body.model
    assert model.patch_embed.grid_size == (8, 8)
    large = make_encoder("vit_tiny_patch16_224", dataclasses.replace(IMAGES, shape=(3, 96, 96))).body.model
    assert large.patch_embed.grid_size == (6, 6)


def test_a_pretrained_network_is_made_without_fetching_where_a_run_brings_the_weights():
    encoder = make_encoder("resnet18:pretrained", IMAGES, fetch=False)
    assert encoder.body.model.conv1.kernel_size == (7, 7)  # weights of a 7x7 stem do not fit a 3x3 one
    torch.testing.assert_close(encoder.input.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    grey = make_encoder("resnet18:pretrained", DIGITS, fetch=False)
    assert grey.input.mean.flatten().tolist() == pytest.approx([(0.485 + 0.456 + 0.406) / 3])


def test_weights_that_cannot_be_fetched_are_a_users_error(monkeypatch, tmp_path):
    import timm

    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("no route to host")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(timm_body, "cached", lambda published: None)
    monkeypatch.setattr(timm_body, "reachable", lambda url: True)
    with pytest.raises(UserError, match=r"cannot download the weights .no route to host"):
        make_encoder("resnet18:pretrained", IMAGES)
    with pytest.raises(UserError, match="'resnetblur18:pretrained' has no published weights; leave ':pretrained' out"):
        make_encoder("resnetblur18:pretrained", IMAGES)


def test_without_a_network_it_is_said_at_once_how_to_bring_the_weights(monkeypatch):
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: create(name, **options))
    monkeypatch.setattr(timm_body, "cached", lambda published: None)
    asked = []
    monkeypatch.setattr(timm_body, "reachable", lambda url: bool(asked.append(url)))
    told = (
        r"'resnet18:pretrained': huggingface\.co cannot be reached, and the weights are not in .*; download https://"
        r"huggingface\.co/timm/resnet18\.\w+/resolve/main/model\.safetensors elsewhere, "
        r"and use --encoder resnet18:FILE\.safetensors$"
    )
    with pytest.raises(UserError, match=told):
        make_encoder("resnet18:pretrained", IMAGES)
    assert len(asked) == 1


@pytest.fixture
def weights(tmp_path):
    """A file of resnet18's weights, as it is published: all are 0.25."""
    import timm
    from safetensors.torch import save_file

    state = {
        name: torch.full_like(tensor, 0.25) if tensor.is_floating_point() else tensor
        for name, tensor in timm.create_model("resnet18").state_dict().items()
    }
    save_file(state, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_weights_come_from_a_file_or_from_the_cache_without_a_network(monkeypatch, weights):
    monkeypatch.setattr(timm_body, "reachable", lambda url: pytest.fail("asked the network"))
    from_file = make_encoder(f"resnet18:{weights}", IMAGES)
    monkeypatch.setattr(timm_body, "cached", lambda published: weights)
    for encoder in (from_file, make_encoder("resnet18:pretrained", IMAGES)):
        kernel = encoder.body.model.conv1.weight
        assert kernel.shape == (64, 3, 7, 7)
        assert (kernel == 0.25).all()
        torch.testing.assert_close(encoder.input.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    weights.unlink()
    assert make_encoder(f"resnet18:{weights}", IMAGES, fetch=False).body.model.conv1.kernel_size == (7, 7)


def test_a_file_that_holds_no_such_weights_is_told(weights, tmp_path):
    with pytest.raises(UserError, match=r"encoder: .*model\.safetensors does not contain weights of resnet34"):
        make_encoder(f"resnet34:{weights}", IMAGES)
    with pytest.raises(UserError, match="the file of weights does not exist"):
        make_encoder(f"resnet18:{tmp_path}/other.safetensors", IMAGES)


def test_a_server_is_asked_for_once(monkeypatch):
    monkeypatch.setattr(timm_body, "getproxies", dict)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/timm"
        server.listen()
        assert timm_body.reachable(url)
    assert not timm_body.reachable(url)
    monkeypatch.setattr(timm_body, "getproxies", lambda: {"https": "http://proxy"})
    assert timm_body.reachable(url)  # who knows


def test_the_cache_is_looked_into_under_the_published_name(monkeypatch):
    import huggingface_hub
    import timm

    asked = []
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *what: asked.append(what))
    assert timm_body.cached(timm.get_pretrained_cfg("resnet18")) is None
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]


@pytest.mark.parametrize(
    ("name", "spec", "says"),
    [
        ("convnt", IMAGES, "did you mean convnet"),
        ("resnet81", IMAGES, "resnet18"),
        ("qqqqqq", IMAGES, "use convnet, mlp, linear or the name of a timm model"),
        ("resnet18:pretraned", IMAGES, "expected ':pretrained' or a file of weights"),
        ("convnet:pretrained", IMAGES, "no published weights"),
        ("convnet", TABLE, "use mlp or linear"),
        ("resnet18", TABLE, "use mlp or linear"),
        (
            "vit_tiny_patch16_224",
            dataclasses.replace(IMAGES, shape=(3, 100, 100)),
            "patches of 16 pixels; use a --resolution that is a multiple of 16",
        ),
        ("inception_v3", DIGITS, "raise --resolution"),
    ],
)
def test_names_that_are_unknown_or_do_not_fit_are_refused_in_one_line(name, spec, says):
    with pytest.raises(UserError, match=says) as caught:
        make_encoder(name, spec)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_timm(name, *args, **options):
        if name == "timm":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_timm)
    with pytest.raises(MissingPackage, match=r"'resnet18' needs timm; install it with pip install 'salience\[timm\]'"):
        make_encoder("resnet18", IMAGES)
    with pytest.raises(UserError, match="did you mean convnet"):
        make_encoder("convnt", IMAGES)
    assert make_encoder("convnet", IMAGES).dim == 256


def test_head():
    plain = head(8, 16, 4)
    assert plain(torch.rand(5, 8)).shape == (5, 4)
    assert [type(layer) for layer in plain] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    normed = head(8, 16, 16, 4, last_norm=True)
    out = normed(torch.rand(50, 8))
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    assert [type(layer) for layer in normed][-2:] == [nn.Linear, nn.BatchNorm1d]
    assert normed[-2].bias is None
    assert not normed[-1].affine


@pytest.mark.parametrize(("name", "resolution", "side"), [("resnet18", 32, 16), ("vit_tiny_patch16_224", 32, 16)])
def test_networks_that_take_local_crops_say_which(name, resolution, side):
    encoder = make_encoder(name, ImageSpec((3, resolution, resolution), "uint8", 0, 255))
    assert encoder.local_side == side
    assert encoder(torch.rand(2, 3, side, side)).shape == (2, encoder.dim)


@pytest.mark.parametrize(("resolution", "side"), [(32, 16), (28, 14), (16, 8), (15, None)])
def test_local_crops_have_half_the_side_and_at_least_eight_pixels(resolution, side):
    assert make_encoder("convnet", ImageSpec((3, resolution, resolution), "uint8", 0, 255)).local_side == side


def test_a_dense_network_takes_one_size_only():
    assert make_encoder("mlp", ImageSpec((3, 8, 8), "uint8", 0, 255)).local_side is None


def test_a_small_image_gets_small_patches():
    encoder = make_encoder("vit_tiny_patch16_224", ImageSpec((3, 28, 28), "uint8", 0, 255))
    assert encoder.stride == 4  # 7 x 7 patches


def test_a_teacher_follows_in_closed_form():
    student = nn.Linear(3, 2)
    teacher = teacher_of(student)
    start = teacher.weight.clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    for _ in range(4):
        follow(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight, student.weight - 0.9**4 * (student.weight - start))
    follow(teacher, student, 1.0)
    torch.testing.assert_close(teacher.weight, student.weight - 0.9**4)
    follow(teacher, student, 0.0)
    torch.testing.assert_close(teacher.weight, student.weight)
    assert not any(p.requires_grad for p in teacher.parameters())
