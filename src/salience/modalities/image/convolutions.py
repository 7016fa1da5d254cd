"""Convolutions that halve an image, enlarge it, or map to its channels, computed on CPUs by matrix products if faster.

On CPUs, gradients of convolutions in bf16 take two to three times as long as the equivalent matrix products. With at
most three channels, most of a vector register is idle. The convolution of an enlarged image repeats most of its work.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_CHANNELS = 64  # from this many channels, matrix products are faster
FEW_CHANNELS = 3  # up to this many output channels, products of all pixels with each kernel element are faster
CACHED = 1 << 22  # number of values of a batch of images whose patches fit into the CPU cache


class Halving(nn.Conv2d):
    """A 3x3 convolution of stride 2, padded by 1, without bias.  [n c h w] -> [n o h/2 w/2], rounded up"""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if _on_cpu_in_bf16(x) and self.in_channels >= LEAST_CHANNELS and x.numel() <= CACHED:
            return _Halving.apply(x, self.weight)
        return super().forward(x)


class _Halving(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, stride=2, padding=1)

    @staticmethod
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = torch.ops.aten.convolution_backward(
            of_output, x, weight.to(x.dtype), None, (2, 2), (1, 1), (1, 1), False, (0, 0), 1, (True, False, False)
        )[0]
        if not ctx.needs_input_grad[1]:  # a frozen network
            return of_x, None
        c = x.shape[1]
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        patches = padded.unfold(1, 3, 2).unfold(2, 3, 2).permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * c)  # [nhw 9c]
        of_weight = of_output.permute(0, 2, 3, 1).flatten(0, 2).T @ patches
        return of_x, of_weight.view(-1, 3, 3, c).permute(0, 3, 1, 2).to(weight.dtype)


class Positions(nn.Flatten):
    """Flatten images, [n c h w] -> [n chw]. On CPUs, gradients are converted to channels-last for the convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.requires_grad and x.is_contiguous(memory_format=torch.channels_last):
            x.register_hook(lambda of_x: of_x.contiguous(memory_format=torch.channels_last))
        return super().forward(x)


class ToChannels(nn.Conv2d):
    """A 3x3 convolution, padded by 1, to the channels of an image.  [n c h w] -> [n o h w]

    If it is computed by a matrix product, the output is fp32 also in bf16.
    """

    def __init__(self, before: int, channels: int) -> None:
        super().__init__(before, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        if x.device.type == "cpu" and self.out_channels <= FEW_CHANNELS:
            return _ToChannels.apply(x, self.weight) + self.bias.view(-1, 1, 1)
        return super().forward(x)


class _ToChannels(torch.autograd.Function):
    """The sum over the kernel elements of their products with all pixels, each shifted by the position of the element.

    In bf16, the products are rounded and summed in fp32, which is as exact as one rounding of the sum.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        n, _, h, w = x.shape
        given = (_elements(weight, x.dtype) @ _pixels(x).T).view(3, 3, -1, n, h, w)
        wider = given.new_zeros((*given.shape[2:4], h + 2, w + 2), dtype=torch.promote_types(x.dtype, torch.float32))
        for i, j in product(range(3), repeat=2):
            wider[..., 2 - i : 2 - i + h, 2 - j : 2 - j + w] += given[i, j]
        return wider[..., 1:-1, 1:-1].transpose(0, 1).contiguous()

    @staticmethod
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        padded = F.pad(of_output.to(x.dtype).transpose(0, 1), (1, 1, 1, 1))
        moved = padded.unfold(2, 3, 1).unfold(3, 3, 1)  # [o n h w 3 3], aligned with the last kernel element
        met = moved.permute(4, 5, 0, 1, 2, 3).reshape(9 * len(weight), -1)  # [9o nhw]
        of_x = met.T @ _elements(weight.flip(2, 3), x.dtype)
        of_weight = (met @ _pixels(x)).unflatten(0, (3, 3, -1)).permute(2, 3, 0, 1).flip(2, 3)
        return of_x.unflatten(0, (len(x), *x.shape[2:])).permute(0, 3, 1, 2), of_weight.to(weight.dtype)


def enlarged(x: Tensor, size: int, weight: Tensor) -> Tensor:
    """Convolve `x`, enlarged by nearest neighbour, with a 3x3 kernel, padded by 1.

    Args:
        x: [n c h h].
        weight: [o c 3 3].
        size: Side of the result, 2h, or 2h - 1 for an image with an odd side.

    Returns:
        [n o size size].
    """
    if x.device.type == "cpu" and len(weight) >= LEAST_CHANNELS:
        return _Enlarged.apply(x, weight, size)
    if size != 2 * x.shape[-1]:
        return F.conv2d(F.interpolate(x, size=(size, size), mode="nearest"), weight, padding=1)
    # For a factor of 2, both steps are one transposed convolution with 4/9 of the work. Its 4x4 kernel sums the
    # shifted copies of the kernel over the block of 2x2 that a pixel becomes.
    kernel = weight.flip(2, 3)  # the convention of transposed convolutions
    padded = F.pad(kernel, (1, 1, 1, 1))
    spread = padded[..., 1:, 1:] + padded[..., 1:, :-1] + padded[..., :-1, 1:] + padded[..., :-1, :-1]  # [o c 4 4]
    return F.conv_transpose2d(x, spread.transpose(0, 1), stride=2, padding=1)


class _Enlarged(torch.autograd.Function):
    """The convolution without the enlarged image: each pixel is multiplied by each kernel element once per block."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        given = _pixels(x) @ _elements(weight, x.dtype).T  # [nhh 9o]
        given = given.view(len(x), *x.shape[2:], 3, 3, -1)
        return _joined(_joined(given, 1, size), 2, size).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        met = _blocks(of_output, x.shape[-1]).flatten(3)  # [n h h 9o]
        of_weight = (met.flatten(0, 2).T @ _pixels(x)).unflatten(0, (3, 3, -1)).permute(2, 3, 0, 1)
        of_x = met @ _elements(weight.flip(2, 3), met.dtype)
        return of_x.permute(0, 3, 1, 2), of_weight.flip(2, 3).to(weight.dtype), None


def _joined(given: Tensor, dim: int, size: int) -> Tensor:
    """Sum, along one axis, the products that belong to the same output pixel.

    Args:
        given: [n ... h ... 3 (3) o] products of each pixel, which becomes two, with each kernel element.
        dim: The axis.
        size: 2h, or 2h - 1 if the last pixel becomes only one.

    Returns:
        [n ... size ... (3) o].
    """
    after, same, before = (part.movedim(dim, 0) for part in given.unbind(3))  # by the output pixel of each product
    joined = given.new_empty((*given.shape[:dim], size, *given.shape[dim + 1 : 3], *given.shape[4:]))
    lines = joined.movedim(dim, 0)
    whole = size // 2
    torch.add(same[:whole], before[:whole], out=lines[: 2 * whole : 2])
    torch.add(same[:whole], after[:whole], out=lines[1::2])
    lines[2 * whole :] = same[whole:]
    lines[2::2] += after[:-1]
    lines[1 : size - 1 : 2] += before[1:]
    return joined


def _blocks(y: Tensor, side: int) -> Tensor:
    """Sum the output gradient over the block of each pixel, shifted by -1, 0 and 1 along both axes.

    Args:
        y: [n c size size] gradient of the output.
        side: h, the side of the image before enlarging.

    Returns:
        [n h h 3 3 c].
    """
    size = y.shape[-1]
    rest = 2 * side + 1 - size
    y = F.pad(y.permute(0, 2, 3, 1), (0, 0, 1, rest, 1, rest))
    alone = size % 2 == 1  # whether the last pixel becomes only one
    first = 2 * torch.arange(side)
    if alone:
        first[-1] = 2 * side + 1
    reached = first[:, None] + torch.arange(3)  # [h 3] indices of the lines that _pairs returns
    y = _pairs(_pairs(y, 1, alone=alone), 2, alone=alone)
    return y[:, reached[:, None, :, None], reached[None, :, None, :]]


def _pairs(y: Tensor, dim: int, *, alone: bool) -> Tensor:
    """Sum neighbouring lines; if the last pixel is `alone`, append the three lines before the last one unchanged.

    y: [n ... 2h + 2 ... c] -> [n ... 2h + 1 (+ 3) ... c]
    """
    count = y.shape[dim] - 1
    sums = y.narrow(dim, 0, count) + y.narrow(dim, 1, count)
    return torch.cat((sums, y.narrow(dim, count - 3, 3)), dim) if alone else sums


def _pixels(x: Tensor) -> Tensor:
    """Reshape images to rows of pixels.  [n c h w] -> [nhw c]"""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _elements(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Reshape a kernel to rows of its elements.  [o c 3 3] -> [9o c]"""
    return weight.permute(2, 3, 0, 1).flatten(0, 2).to(dtype)


def _on_cpu_in_bf16(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.bfloat16
