"""Floating point operations of a training step."""

from __future__ import annotations

import copy

from torch.nn.attention import SDPBackend, sdpa_kernel

from salience.batch import Batch
from salience.methods import Method


def step_flops(method: Method, batch: Batch) -> int:
    """Operations of one training step, forward and backward, counted on the meta device: nothing is computed.

    Where an operation has no form for that device, the step is computed once.

    Call it before compilation. A multiply-add counts as two. Of stages of different cost, their mean.
    """
    try:
        return _counted(copy.deepcopy(method).to("meta"), batch.to("meta"))
    except NotImplementedError:
        return _counted(copy.deepcopy(method), batch)


def _counted(twin: Method, batch: Batch) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # imported by trainings alone

    whole = 0.0
    for share, at in twin.phases():
        # On the CPU the counter misses fused attention (pytorch#195460); the plain form is counted everywhere.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            for loss in twin.losses(batch, at):
                loss.backward()
        whole += share * counter.get_total_flops()
    return round(whole)
