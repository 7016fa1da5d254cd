"""Convolutions that halve an image, enlarge it and end in its channels: on CPUs as products of matrices, where faster.

There a convolution's gradients in bf16 take two to three times as long as the products they come down to; with three
channels or fewer, most of each vector register stays idle; and an enlarged image repeats most of its work.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_CHANNELS = 64  # for the products to be faster
FEW_CHANNELS = 3  # up to these, products are faster too: of all pixels with each element of the kernel
CACHED = 1 << 22  # values of an image batch whose patches stay in a cache


class Halving(nn.Conv2d):
    """3x3 of stride 2, padded by 1, without bias.  [n c h w] -> [n o h/2 w/2], halves rounded up"""

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
        if not ctx.needs_input_grad[1]:  # of a network that never changes
            return of_x, None
        c = x.shape[1]
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        patches = padded.unfold(1, 3, 2).unfold(2, 3, 2).permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * c)  # [nhw 9c]
        of_weight = of_output.permute(0, 2, 3, 1).flatten(0, 2).T @ patches
        return of_x, of_weight.view(-1, 3, 3, c).permute(0, 3, 1, 2).to(weight.dtype)


class Positions(nn.Flatten):
    """All values of an image in a row.  [n c h w] -> [n chw]

    On CPUs their gradients come back laid out as convolutions like them; else each step down to the next one is slow.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.requires_grad and x.is_contiguous(memory_format=torch.channels_last):
            x.register_hook(lambda of_x: of_x.contiguous(memory_format=torch.channels_last))
        return super().forward(x)


class ToChannels(nn.Conv2d):
    """3x3, padded by 1, to the channels of an image.  [n c h w] -> [n o h w]

    Where it is a product, the output is fp32 also in bf16.
    """

    def __init__(self, before: int, channels: int) -> None:
        super().__init__(before, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        if x.device.type == "cpu" and self.out_channels <= FEW_CHANNELS:
            return _ToChannels.apply(x, self.weight) + self.bias.view(-1, 1, 1)
        return super().forward(x)


class _ToChannels(torch.autograd.Function):
    """What all pixels give through one element of the kernel is an image, and the output the sum of these, each moved.

    In bf16 they are rounded, and summed in fp32: together as exact as one rounding of the sum.
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
        moved = padded.unfold(2, 3, 1).unfold(3, 3, 1)  # [o n h w 3 3], to where the kernel's last element meets them
        met = moved.permute(4, 5, 0, 1, 2, 3).reshape(9 * len(weight), -1)  # [9o nhw]
        of_x = met.T @ _elements(weight.flip(2, 3), x.dtype)
        of_weight = (met @ _pixels(x)).unflatten(0, (3, 3, -1)).permute(2, 3, 0, 1).flip(2, 3)
        return of_x.unflatten(0, (len(x), *x.shape[2:])).permute(0, 3, 1, 2), of_weight.to(weight.dtype)


def enlarged(x: Tensor, size: int, weight: Tensor) -> Tensor:
    """A 3x3 convolution, padded by 1, of `x` enlarged by nearest neighbour.

    x: [n c h h], weight: [o c 3 3], size: 2h, or 2h - 1 for an image of odd side -> [n o size size]
    """
    if x.device.type == "cpu" and len(weight) >= LEAST_CHANNELS:
        return _Enlarged.apply(x, weight, size)
    if size != 2 * x.shape[-1]:
        return F.conv2d(F.interpolate(x, size=(size, size), mode="nearest"), weight, padding=1)
    # Twofold, the two together are one transposed convolution, which does 4/9 of the work: a pixel that becomes a
    # block of 2x2 meets the sum of the kernel's copies over that block, which is 4x4.
    kernel = weight.flip(2, 3)  # as the transposed convolution has it
    padded = F.pad(kernel, (1, 1, 1, 1))
    spread = padded[..., 1:, 1:] + padded[..., 1:, :-1] + padded[..., :-1, 1:] + padded[..., :-1, :-1]  # [o c 4 4]
    return F.conv_transpose2d(x, spread.transpose(0, 1), stride=2, padding=1)


class _Enlarged(torch.autograd.Function):
    """An enlarged image does not appear at all: a pixel meets each element of the kernel once, for all of its block."""

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
    """Sums, along one side, of what falls on the same pixel of the output.

    given: [n ... h ... 3 (3) o], by each pixel, which became two there, through each element of the kernel;  size: 2h,
    or 2h - 1 where the last pixel became one only -> [n ... size ... (3) o]
    """
    after, same, before = (part.movedim(dim, 0) for part in given.unbind(3))  # the pixel of the output each falls on
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
    """Sums over the block that each pixel became, moved by up to one pixel either way: what its kernel reached.

    y: [n c size size], of the output;  side: h, of the image that was enlarged -> [n h h 3 3 c]
    """
    size = y.shape[-1]
    rest = 2 * side + 1 - size
    y = F.pad(y.permute(0, 2, 3, 1), (0, 0, 1, rest, 1, rest))
    alone = size % 2 == 1  # the last pixel, which became one only
    first = 2 * torch.arange(side)
    if alone:
        first[-1] = 2 * side + 1
    reached = first[:, None] + torch.arange(3)  # [h 3] of the lines that _pairs gives
    y = _pairs(_pairs(y, 1, alone=alone), 2, alone=alone)
    return y[:, reached[:, None, :, None], reached[None, :, None, :]]


def _pairs(y: Tensor, dim: int, *, alone: bool) -> Tensor:
    """Sums of neighbouring lines; then, where the last pixel is `alone`, the last three lines but one as they are.

    y: [n ... 2h + 2 ... c] -> [n ... 2h + 1 (+ 3) ... c]
    """
    count = y.shape[dim] - 1
    sums = y.narrow(dim, 0, count) + y.narrow(dim, 1, count)
    return torch.cat((sums, y.narrow(dim, count - 3, 3)), dim) if alone else sums


def _pixels(x: Tensor) -> Tensor:
    """[n c h w] -> [nhw c]"""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _elements(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """[o c 3 3] -> [9o c]"""
    return weight.permute(2, 3, 0, 1).flatten(0, 2).to(dtype)


def _on_cpu_in_bf16(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.bfloat16
