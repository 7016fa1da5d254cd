"""Teachers: copies of a network that follow it slowly, as an exponential moving average of its weights."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def teacher_of(student: M) -> M:
    """A copy that gets no gradient."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum teacher + (1 - momentum) student, in place: 1 freezes the teacher, 0 copies the student.

    Weights only: a teacher's batch norms keep statistics of their own, of what it has seen itself.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


@torch.no_grad()
def distance(teacher: nn.Module, student: nn.Module) -> Tensor:
    """How far apart the two's weights are, as a share of the length of the student's.  [], 0 where they are the same"""
    pairs = zip(teacher.parameters(), student.parameters(), strict=True)
    gaps = [theirs - own for theirs, own in pairs]
    return torch.nn.utils.get_total_norm(gaps) / torch.nn.utils.get_total_norm(student.parameters())
