"""Tools of the proofs: values with gradients, a method without batch norm, fifty steps in our loop, adapters."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from salience.batch import Progress
from salience.data import Dataset
from salience.methods import Method
from salience.methods.lightning import LightningMethod, Plan
from tests import contract

STEPS = 50


def random_views(n: int, d: int, seed: int = 0, count: int = 2) -> tuple[Tensor, ...]:
    """`count` tensors [n d], float64, that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, n, d, generator=generator, dtype=torch.float64)
    return tuple(view.requires_grad_() for view in drawn)


def assert_same_value_and_gradient(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
    """Two losses of the same inputs, to 1e-10."""
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    pairs = zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def assert_gradient_stops(loss: Tensor, stopped: Tensor, through: Tensor, method: Method) -> None:
    """The loss has the gradient of the formula whose targets are constants, not of the one where targets learn too."""
    torch.testing.assert_close(loss, stopped, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(through, stopped, rtol=1e-9, atol=1e-9)
    learning = [p for p in method.parameters() if p.requires_grad]
    ours, kept, other = (
        torch.autograd.grad(value, learning, retain_graph=True, allow_unused=True) for value in (loss, stopped, through)
    )
    for one, expected in zip(ours, kept, strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-7, atol=1e-10)
    pairs = [(a, b) for a, b in zip(kept, other, strict=True) if a is not None and b is not None]
    assert max((a - b).norm() / (1e-9 + b.norm()) for a, b in pairs) > 0.1


def lightly_loss() -> ModuleType:
    """lightly.loss, without its question to a server; skips where it is not installed."""
    os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("lightly.loss")


def without_batch_norm(method: nn.Module) -> nn.Module:
    """The same with every batch norm taken out: what is left treats each item on its own."""
    for name, child in method.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(method, name, nn.Identity())
        else:
            without_batch_norm(child)
    return method


def train_by_hand(method: Method, dataset: Dataset, *, steps: int = STEPS, rate: float = 0.01) -> list[float]:
    """Our loop without Lightning: the losses of `steps` steps of SGD, in float64, hooks in their places."""
    method.double().train()
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=rate)
    losses = []
    for step in range(steps):
        at = Progress(step, steps, epoch=step, seed=5)
        rows = np.random.default_rng(step).permutation(len(dataset))[:16]
        method.before_step(at)
        loss = method.loss(dataset.batch(rows), at)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step(at)
        losses.append(loss.item())
    return losses


def assert_fifty_steps_coincide(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    module: ModuleType,
    function: str,
    theirs: Callable[..., Any],
    **options: Any,
) -> None:
    """Trained with our loss, then with theirs in its place: same seed, same views, same weights in the end."""
    ours, our_losses = _trained(name, options)
    monkeypatch.setattr(module, function, theirs)
    others, their_losses = _trained(name, options)
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-8)
    assert our_losses[-1] != our_losses[0]
    for (key, one), (_, other) in zip(ours.items(), others.items(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8, msg=key)


def _trained(name: str, options: dict[str, Any]) -> tuple[dict[str, Tensor], list[float]]:
    dataset = contract.dataset_for(name)
    method = contract.build(name, dataset, encoder="mlp", **options)
    assert isinstance(method, Method)
    losses = train_by_hand(method, dataset)
    return method.state_dict(), losses


@contextmanager
def adapters() -> Iterator[dict[Method, LightningMethod]]:
    """The adapters that are made within, by their methods: where a test finds the trainer and its optimiser."""
    whole, found = LightningMethod.__init__, {}

    def remembered(self: LightningMethod, method: Method, plan: Plan | None = None) -> None:
        whole(self, method, plan)
        found[method] = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LightningMethod, "__init__", remembered)
        yield found
