"""Views: several random versions of every item of a batch, drawn on its device, in named roles."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.views.policy import Policy, Shape, identity
from salience.views.random import Keys

if TYPE_CHECKING:
    from salience.modalities.spec import Spec

IDENTITY = "identity"
ANY = {IDENTITY: "the item as it is"}  # policies of every kind of data
_CLEAN = "clean"  # the role of the unaltered item
_LOCAL = "local"  # the role of small parts of the item
_PART = 1 << 21  # values drawn at once: 8 MB, 682 colour images of 32x32; measured, larger parts are slower at 96x96


class Draw(nn.Module):
    """One view of each item: the part of Views that consists of tensor operations and can be compiled.

    It is a module, so that `views.draw.compile(dynamic=False)` compiles it in place. The random state is a tensor, so
    that a new epoch or step does not recompile it.
    """

    def __init__(self, policy: Policy, shape: Shape) -> None:
        super().__init__()
        self.policy = policy
        self.shape = shape

    def forward(self, x: Tensor, state: Tensor, mask: Tensor | None = None) -> Any:
        """Draw one view of each item, in float32: with 8 bits, coordinates of a large image would be a pixel wrong.

        Args:
            x: Items on the unit scale, [n c h w] or [n width].
            state: [n] int64 keys.
            mask: [n t] real tokens of ragged items; the policy then returns views and their mask.

        Returns:
            [n c side side] or [n width].
        """
        device = state.device.type
        with torch.autocast(device if device != "meta" else "cpu", enabled=False):
            if mask is None:
                return self.policy(x, Keys(state), self.shape)
            return self.policy(x, Keys(state), self.shape, mask)


class Views(nn.Module):
    """The views of a method. A view depends only on (seed, epoch, row, role, draw).

    Args:
        policy: Name of a policy of the data, or "identity"; or a function (x, keys, shape) -> x, which may take fewer.
        spec: The spec of the data.
        roles: Role -> number of views of each item. Every role draws from the policy, "local" a small part of the item;
            "clean" is the unaltered item.
        local_side: Side of a local view of an image, in pixels. Default: as the other views.
    """

    def __init__(
        self, policy: str | Policy, spec: Spec, roles: Mapping[str, int] | None = None, local_side: int | None = None
    ) -> None:
        super().__init__()
        function = _policy_of(policy, spec) if isinstance(policy, str) else _taking(policy)
        self.policy = policy if isinstance(policy, str) else getattr(policy, "__name__", type(policy).__name__)
        self.spec = spec
        self.roles = dict(roles or {"global": 2})
        side = spec.modality.resolution(spec) or 0
        self.draw = Draw(function, Shape(spec, side))
        self.draw_local = Draw(function, Shape(spec, local_side or side, part=True)) if _LOCAL in self.roles else None

    def forward(self, batch: Batch, at: Progress) -> dict[str, list[Batch]]:
        """Draw all views of a stored batch, as role -> batches with x replaced, float32 on the unit scale.

        Images [n c h w] become [n c h w], in local views [n c side side]; tables [n columns] become [n width].
        """
        clean = batch.with_x(self.unit(batch.x))
        keys = Keys.of(at.seed, at.epoch, batch.index)
        return {role: [self._view(clean, keys, role, number) for number in range(n)] for role, n in self.roles.items()}

    def one(self, batch: Batch, at: Progress, role: str = "global", number: int = 0) -> Batch:
        """Draw a single view: number `number` of this role, as a call would return it."""
        keys = Keys.of(at.seed, at.epoch, batch.index)
        return self._view(batch.with_x(self.unit(batch.x)), keys, role, number)

    def unit(self, x: Any) -> Any:
        """Convert stored values to the unit scale, without a random change."""
        return self.spec.modality.unit(x, self.spec)

    def _view(self, clean: Batch, keys: Keys, role: str, number: int) -> Batch:
        """Draw one view of every item; large batches in parts, so that intermediate results fit into the CPU cache."""
        if role == _CLEAN:
            return clean
        x, state = clean.x, keys.fold(role, number).settled()
        draw = self.draw_local if role == _LOCAL and self.draw_local is not None else self.draw
        if clean.mask is not None:
            x, mask = draw(x, state, clean.mask)
            return replace(clean, x=x, mask=mask)
        size = _part_size(x) if isinstance(x, Tensor) else len(state)
        if size >= len(state):
            return clean.with_x(draw(x, state))
        return clean.with_x(torch.cat([draw(*part) for part in zip(x.split(size), state.split(size), strict=True)]))

    def extra_repr(self) -> str:
        return f"{self.policy!r}, roles={self.roles}"


def _part_size(x: Tensor) -> int:
    """Return the number of items to draw at once: a power of two, so that parts have equal sizes and compile once."""
    items = _PART // max(1, x[0].numel())
    return 1 << max(0, items.bit_length() - 1)


def make_views(
    policy: str | Policy | None, spec: Spec, roles: Mapping[str, int] | None = None, local_side: int | None = None
) -> Views:
    """Make views by policy name, or by a function; None uses the policy that suits the data."""
    return Views(policy or default_policy(spec)[0], spec, roles, local_side)


def default_policy(spec: Spec) -> tuple[str, str]:
    """Return the policy that suits the data, and the reason in a few words."""
    return spec.modality.default_policy(spec)


def _taking(function: Policy) -> Policy:
    """Return a policy from a function that may take fewer arguments than (x, keys, shape, mask)."""
    kinds = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_POSITIONAL for one in kinds):
        return function
    count = sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in kinds)
    return lambda *given: function(*given[:count])


def _policy_of(name: str, spec: Spec) -> Policy:
    """Return the function of a policy. Raises UserError if there is none, or it does not fit the data."""
    modality = spec.modality
    if name == IDENTITY:
        return identity
    if name not in modality.policies:
        near = difflib.get_close_matches(name, modality.policies, n=1)
        hint = f"did you mean {near[0]!r}? " if near else f"use {default_policy(spec)[0]!r} or another policy; "
        raise UserError(
            f"views: {name!r} is not a policy of {modality.name} data; "
            f"{hint}the policies are {', '.join([*modality.policies, *ANY])}"
        )
    modality.refuse_policy(name, spec)
    return modality.policy(name)
