"""Convolutions that halve and that enlarge an image, with a way back that is faster in bf16 on CPUs.

There a convolution's gradients take two to three times as long as the products of matrices they come down to.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEAST_CHANNELS = 64  # for the products to be faster
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


def enlarged(x: Tensor, size: int, weight: Tensor) -> Tensor:
    """A 3x3 convolution, padded by 1, of `x` enlarged by nearest neighbour.

    x: [n c h h], weight: [o c 3 3], size: 2h, or 2h - 1 for an image of odd side -> [n o size size]
    """
    if _on_cpu_in_bf16(x) and len(weight) >= LEAST_CHANNELS:
        return _Enlarged.apply(x, weight, size)
    return _enlarged(x, weight, size)


def _enlarged(x: Tensor, weight: Tensor, size: int) -> Tensor:
    """Twofold, the two together are one transposed convolution, which does 4/9 of the work: a pixel that becomes a
    block of 2x2 meets the sum of the kernel's copies over that block, which is 4x4.
    """
    if size != 2 * x.shape[-1]:
        return F.conv2d(F.interpolate(x, size=(size, size), mode="nearest"), weight, padding=1)
    kernel = weight.flip(2, 3)  # as the transposed convolution has it
    padded = F.pad(kernel, (1, 1, 1, 1))
    spread = padded[..., 1:, 1:] + padded[..., 1:, :-1] + padded[..., :-1, 1:] + padded[..., :-1, :-1]  # [o c 4 4]
    return F.conv_transpose2d(x, spread.transpose(0, 1), stride=2, padding=1)


class _Enlarged(torch.autograd.Function):
    """Back, an enlarged image does not appear at all: a pixel's block meets each element of the kernel as one sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _enlarged(x, weight, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        met = _blocks(of_output, x.shape[-1]).flatten(3)  # [n h h 9o]
        kernel = weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2).to(met.dtype)  # [9o c]
        pixels = x.permute(0, 2, 3, 1).flatten(0, 2)  # [nhh c]
        of_weight = (met.flatten(0, 2).T @ pixels).unflatten(0, (3, 3, -1)).permute(2, 3, 0, 1)
        return (met @ kernel).permute(0, 3, 1, 2), of_weight.flip(2, 3).to(weight.dtype), None


def _blocks(y: Tensor, side: int) -> Tensor:
    """Sums over the block that each pixel became, moved by up to one pixel either way: what its kernel reached.

    y: [n c size size], of the output;  side: h, of the image that was enlarged -> [n h h 3 3 c]
    """
    size = y.shape[-1]
    rest = 2 * side + 1 - size
    y = F.pad(y.permute(0, 2, 3, 1), (0, 0, 1, rest, 1, rest))
    return _pairs(_pairs(y, 1, size // 2), 2, size // 2)


def _pairs(y: Tensor, dim: int, whole: int) -> Tensor:
    """Sums of two neighbours along one side; from the pixel `whole` on, which became one in an image of odd side, none.

    y: [n ... 2h + 2 ... c] -> [n ... h ... 3 c]
    """
    first = y.unfold(dim, 3, 2).movedim(-1, -2)
    second = y.narrow(dim, 1, y.shape[dim] - 1).unfold(dim, 3, 2).movedim(-1, -2)
    sums = y.new_empty(first.shape)
    torch.add(first.narrow(dim, 0, whole), second.narrow(dim, 0, whole), out=sums.narrow(dim, 0, whole))
    alone = first.shape[dim] - whole
    sums.narrow(dim, whole, alone).copy_(first.narrow(dim, whole, alone))
    return sums


def _on_cpu_in_bf16(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.bfloat16
