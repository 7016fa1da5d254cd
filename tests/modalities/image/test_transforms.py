"""Crops and maps: antialiased, equal to Pillow's resize, drawn as specified."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from salience.modalities.image.transforms import (
    Boxes,
    affine,
    border_median,
    box_matrix,
    compose_affine,
    random_affine,
    random_boxes,
    resized_crop,
)
from salience.views.random import Keys

RATIO = (3 / 4, 4 / 3)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def boxes_of(*rows):
    return Boxes(*torch.tensor(rows, dtype=torch.float32).T)


def pil_resized_crop(image, top, left, height, width):
    """One channel [h w], through Pillow in float."""
    h, w = image.shape
    crop = Image.fromarray(image.numpy(), mode=None).crop((left, top, left + width, top + height))
    return torch.from_numpy(np.array(crop.resize((w, h), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("size", [8, 28, 32, 64])
def test_resized_crop_equals_pillow_in_float(size):
    rows = [(0, 0, size, size), (1, 2, size // 2, size - 3), (size - 1, size - 2, 1, 2), (2, 0, size - 5, 3)]
    x = noise(len(rows), 2, size, size)
    ours = resized_crop(x, boxes_of(*rows))
    for image, row, out in zip(x, rows, ours, strict=True):
        for channel in range(2):
            torch.testing.assert_close(out[channel], pil_resized_crop(image[channel], *row), atol=1e-6, rtol=0)


def test_resized_crop_equals_torchvision_to_uint8_rounding():
    rows = [(3, 5, 20, 24), (0, 0, 32, 32), (10, 1, 9, 12)]
    x = (noise(3, 3, 32, 32) * 255).to(torch.uint8)
    ours = resized_crop(x / 255, boxes_of(*rows)) * 255
    for image, (top, left, height, width), out in zip(x, rows, ours, strict=True):
        theirs = reference.resized_crop(image, top, left, height, width, [32, 32], antialias=True)
        assert (out - theirs.float()).abs().max() <= 1  # they round after each of the two passes


def test_shrinking_averages_what_it_shrinks():
    """The weights of a resize that shrinks, Pillow's again: here only the filter, since views keep their size."""
    from salience.modalities.image.transforms import triangle_weights

    x = noise(40, 40)
    weights = triangle_weights(torch.zeros(1), torch.tensor([40.0]), 40, 13)[0]
    theirs = Image.fromarray(x.numpy()).resize((13, 13), Image.Resampling.BILINEAR)
    torch.testing.assert_close(weights @ x @ weights.T, torch.from_numpy(np.array(theirs)), atol=1e-6, rtol=0)


def test_a_flip_is_the_mirrored_crop_and_only_where_asked():
    x, box = noise(4, 3, 16, 16), boxes_of(*[(2, 3, 10, 9)] * 4)
    flip = torch.tensor([True, False, True, False])
    plain, flipped = resized_crop(x, box), resized_crop(x, box, flip)
    torch.testing.assert_close(flipped[flip], plain[flip].flip(-1), atol=1e-6, rtol=0)
    assert torch.equal(flipped[~flip], plain[~flip])


def test_area_is_uniform_and_ratio_log_uniform():
    size = 10_000  # so large that rounding to pixels does not show
    boxes = random_boxes(Keys.of(0, 0, torch.arange(20_000)), size, area=(0.2, 0.5), ratio=RATIO)  # always fits
    area = (boxes.height * boxes.width / size**2).double()
    log_ratio = (boxes.width / boxes.height).log().double()
    assert stats.kstest(area.numpy(), stats.uniform(0.2, 0.3).cdf).pvalue > 1e-4
    assert stats.kstest(log_ratio.numpy(), stats.uniform(math.log(3 / 4), math.log(16 / 9)).cdf).pvalue > 1e-4
    assert abs(stats.pearsonr(area.numpy(), log_ratio.numpy()).statistic) < 0.03


def test_position_is_uniform_over_all_that_fit():
    boxes = random_boxes(Keys.of(1, 0, torch.arange(40_000)), 32, area=(0.25, 0.25), ratio=(1, 1))
    assert set(boxes.height.tolist()) == set(boxes.width.tolist()) == {16.0}
    cell = (boxes.top * 17 + boxes.left).long()
    assert stats.chisquare(torch.bincount(cell, minlength=17 * 17).numpy()).pvalue > 1e-4  # each corner, jointly


def test_boxes_are_distributed_as_torchvision_draws_them():
    torch.manual_seed(0)
    transform = RandomResizedCrop(32, scale=(0.2, 1.0), ratio=RATIO)
    image = torch.zeros(1, 32, 32)
    drawn = [transform.make_params([image]) for _ in range(4000)]
    boxes = random_boxes(Keys.of(0, 0, torch.arange(40_000)), 32, area=(0.2, 1.0), ratio=RATIO)
    for field in ("top", "left", "height", "width"):
        theirs = np.array([params[field] for params in drawn], dtype=float)
        assert stats.ks_2samp(theirs, getattr(boxes, field).double().numpy()).pvalue > 1e-4, field


def test_boxes_lie_inside_and_a_box_that_cannot_fit_is_the_whole_image():
    boxes = random_boxes(Keys.of(0, 0, torch.arange(5000)), 8, area=(0.01, 1.0), ratio=(0.3, 3))
    assert boxes.height.min() >= 1
    assert boxes.width.min() >= 1
    assert boxes.top.min() >= 0
    assert (boxes.top + boxes.height).max() <= 8
    assert (boxes.left + boxes.width).max() <= 8
    whole = random_boxes(Keys.of(0, 0, torch.arange(50)), 8, area=(1, 1), ratio=(2, 2))
    corners = torch.stack([whole.top, whole.left, whole.height, whole.width], 1)
    assert corners.unique(dim=0).tolist() == [[0, 0, 8, 8]]


def matrices(*linear_and_shift):
    return torch.tensor(linear_and_shift, dtype=torch.float32)


IDENTITY = [[1.0, 0, 0], [0, 1, 0]]


def test_the_identity_map_changes_nothing():
    x = noise(3, 2, 9, 9)
    torch.testing.assert_close(affine(x, matrices(*[IDENTITY] * 3)), x, atol=1e-5, rtol=0)


def test_a_quarter_turn_and_a_shift_by_one_pixel():
    x = noise(2, 1, 8, 8)
    x[:, :, [0, -1]] = 0
    x[:, :, :, [0, -1]] = 0
    turn, shift = [[0.0, -1, 0], [1, 0, 0]], [[1, 0, 2 / 8], [0, 1, 0]]  # input x = output x + one pixel
    out = affine(x, matrices(turn, shift))
    torch.testing.assert_close(out[0], x[0].rot90(1, (1, 2)), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[1], x[1].roll(-1, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [8, 16, 28, 64])
def test_shrinking_maps_are_antialiased_at_every_size(size):
    """A filter that resolves nothing of the finest pattern leaves plain grey; bare bilinear sampling does not."""
    scale = 1.6
    x = (torch.arange(size)[:, None] + torch.arange(size)).remainder(2).float()[None, None]
    x[:, :, [0, -1]] = 0.5
    x[:, :, :, [0, -1]] = 0.5
    cos, sin = scale * math.cos(0.25), scale * math.sin(0.25)
    shrink = matrices([[cos, -sin, 0], [sin, cos, 0]])
    grid = torch.nn.functional.affine_grid(shrink, [1, 1, size, size], align_corners=False)
    bare = torch.nn.functional.grid_sample(x - 0.5, grid, align_corners=False)
    ours = affine(x, shrink) - 0.5
    assert ours.square().mean().sqrt() < bare.square().mean().sqrt() / 3


def test_a_smooth_image_shrinks_as_pillow_shrinks_it():
    size = 32
    at = torch.linspace(-1, 1, size)
    x = torch.exp(-4 * (at[:, None] ** 2 + at**2))[None, None]
    ours = affine(x, matrices([[2.0, 0, 0], [0, 2, 0]]))[0, 0, 8:24, 8:24]
    theirs = np.array(Image.fromarray(x[0, 0].numpy()).resize((16, 16), Image.Resampling.BILINEAR))
    torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=0.01, rtol=0)


def test_outside_is_the_background():
    x = torch.full((2, 1, 8, 8), 0.9)
    x[:, :, 2:6, 2:6] = 0.1
    x[1] = 1 - x[1]
    assert border_median(x).flatten().tolist() == pytest.approx([0.9, 0.1])
    out = affine(x, matrices(*[[[2.0, 0, 0.5], [0, 2, 0]]] * 2))
    torch.testing.assert_close(out[:, :, :, 0].squeeze(), torch.tensor([[0.9], [0.1]]).expand(2, 8), atol=1e-5, rtol=0)


def test_random_maps_stay_within_their_ranges():
    keys = Keys.of(0, 0, torch.arange(20_000))
    matrix = random_affine(keys, degrees=20, shear=0, scale=(0.8, 1.25), shift=0.1)
    turn = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])).double()
    assert stats.kstest(turn.numpy(), stats.uniform(-20, 40).cdf).pvalue > 1e-4
    enlarged = 1 / matrix[:, :, :2].norm(dim=1)  # [n 2]: x and y
    for axis in range(2):
        log_size = enlarged[:, axis].log().double().numpy()
        assert stats.kstest(log_size, stats.uniform(-math.log(1.25), 2 * math.log(1.25)).cdf).pvalue > 1e-4
        moved = matrix[:, axis, 2].double().numpy() / 2  # share of the side
        assert stats.kstest(moved, stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-4
    slanted = random_affine(keys, degrees=0, shear=0.3, scale=(1, 1), shift=0)
    assert stats.kstest(slanted[:, 0, 1].double().numpy(), stats.uniform(-0.3, 0.6).cdf).pvalue > 1e-4
    assert torch.equal(slanted[:, :, 0], torch.tensor([[1.0, 0]]).expand(20_000, 2))


def test_a_crop_as_a_map_is_the_crop():
    x, boxes = noise(3, 1, 16, 16), boxes_of((2, 3, 10, 9), (0, 0, 16, 16), (5, 0, 8, 16))
    by_map = affine(x, box_matrix(boxes, 16))
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # at its edge a map sees beyond the crop
    torch.testing.assert_close(by_map[inner], resized_crop(x, boxes)[inner], atol=1e-5, rtol=0)


def test_maps_compose():
    a, b = (torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    point = torch.tensor([0.3, -0.7])

    def through(matrix, at):
        return (matrix[:, :, :2] @ at[..., None])[..., 0] + matrix[:, :, 2]

    torch.testing.assert_close(
        through(compose_affine(a, b), point.expand(5, 2)), through(b, through(a, point.expand(5, 2)))
    )
