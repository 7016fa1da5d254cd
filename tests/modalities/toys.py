"""Two small kinds of data, each in less than 150 lines: ragged walks with masks, and the nodes of one graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from salience.errors import UserError
from salience.fields.build_options import Built, Options
from salience.fields.content import Found
from salience.fields.source import Source, mark_of_files
from salience.fields.stored_items import Named, Ragged, fingerprint, padded_lengths
from salience.modalities import Modality, Spec
from salience.modalities.patches import Patches
from salience.nets.encoder import Encoder

# --- walks: items of different lengths -------------------------------------------------------------------------


@dataclass(frozen=True)
class WalkSpec(Spec):
    """Walks [t 2]: a step east and a step north each."""

    @property
    def modality(self) -> Walk:
        return WALK


class Walk(Modality[WalkSpec]):
    name = "walk"
    item = "walk"
    plural = "walks"
    spec = WalkSpec
    extensions = (".walks",)
    default_encoder = "steps"
    supports: ClassVar[frozenset[str]] = frozenset({"encoder"})
    policies: ClassVar[Mapping[str, str]] = {"jitter": "every step a little longer or shorter, some left out"}

    def source(self, given: Any, query: Any) -> Source | None:
        path = Path(str(given))
        if path.suffix not in self.extensions:
            return None

        def read() -> Found:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                walks = Ragged(saved["values"], saved["offsets"])
                return Found(walks, labels=saved["labels"], classes=("left", "right"))  # type: ignore[arg-type]

        return Source(path.stem, "train", read, mark_of_files([path]), str(path.resolve()))

    def recognizes(self, content: Any) -> bool:
        return isinstance(content, Ragged)

    def build(self, found: Found, options: Options) -> Built:
        walks: Any = found.content
        return Built(walks, options.spec or WalkSpec((2,), "float32"), len(walks), len(walks), fingerprint(walks))

    def unit(self, x: Tensor, spec: WalkSpec) -> Tensor:
        return x.float()

    def width(self, spec: WalkSpec) -> int:
        return 2

    def flat(self, x: Tensor, spec: WalkSpec, dtype: torch.dtype, mask: Tensor | None = None) -> Tensor:
        assert mask is not None
        return mean_of(x.to(dtype), mask)

    def policy(self, name: str) -> Any:
        return jitter

    def default_policy(self, spec: WalkSpec) -> tuple[str, str]:
        return "jitter", "the only one"

    def make_encoder(self, name: str, spec: WalkSpec, *, dim: int | None, fetch: bool) -> Encoder:
        if name != self.default_encoder:
            raise UserError(f"encoder: {name!r} does not take walks; take {self.default_encoder}")
        return Encoder(self.make_input(spec), Steps(dim or 16), dim or 16)

    def patches(self, spec: WalkSpec, side: int | None = None) -> Patches:
        return Single(2)

    def text(self, data: Any, row: int) -> str:
        return f"a walk of {len(data.item(row))} steps"


class Single(Patches):
    """Every step is a token."""

    def cut(self, x: Tensor) -> Tensor:
        return x

    def join(self, tokens: Tensor) -> Tensor:
        return tokens

    def positions(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[1])[:, None].float()


class Steps(nn.Module):
    """A small network for every step, and the mean over the real ones.  [n t 2], [n t] -> [n dim]"""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return mean_of(self.layers(x), mask)


def mean_of(x: Tensor, mask: Tensor) -> Tensor:
    """[n t d], [n t] -> [n d]"""
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def jitter(x: Tensor, keys: Any, shape: Any, mask: Tensor) -> tuple[Tensor, Tensor]:
    length = 1 + 0.2 * keys.fold("length").normal(x.shape[1])
    kept = mask & ~keys.fold("leave out").chance(0.2, x.shape[1])
    kept[:, 0] = True
    return x * length[..., None], kept


WALK = Walk()


def write_walks(path: Path, n: int = 64, seed: int = 0) -> Path:
    """Walks to the left and to the right, of 1 to 40 steps."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    walks = Ragged.of(
        (rng.normal((2 * label - 1, 0), 1.5, (rng.integers(1, 41), 2))).astype(np.float32) for label in labels
    )
    with path.open("wb") as file:
        np.savez(file, values=walks.values, offsets=walks.offsets, labels=labels)
    assert len(np.unique(padded_lengths(np.diff(walks.offsets)))) > 3
    return path


# --- nodes: items of one graph, computed with their neighbours -------------------------------------------------


@dataclass(frozen=True)
class NodeSpec(Spec):
    """Nodes [features], each with its neighbours in the graph."""

    @property
    def modality(self) -> Node:
        return NODE


class Node(Modality[NodeSpec]):
    name = "node"
    item = "node"
    plural = "nodes"
    spec = NodeSpec
    extensions = (".nodes",)
    default_encoder = "neighbours"
    supports: ClassVar[frozenset[str]] = frozenset({"encoder"})
    policies: ClassVar[Mapping[str, str]] = {"noise": "noise on a node's own features"}

    def source(self, given: Any, query: Any) -> Source | None:
        path = Path(str(given))
        if path.suffix not in self.extensions:
            return None

        def read() -> Found:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                graph = Named({"x": saved["x"], "neighbours": Ragged(saved["neighbours"], saved["offsets"])})
                return Found(graph, labels=saved["labels"], classes=("a", "b"))  # type: ignore[arg-type]

        return Source(path.stem, "train", read, mark_of_files([path]), str(path.resolve()))

    def recognizes(self, content: Any) -> bool:
        return isinstance(content, Named)

    def build(self, found: Found, options: Options) -> Built:
        graph: Any = found.content
        spec = options.spec or NodeSpec(graph.main.shape[1:], "float32")
        return Built(graph, spec, len(graph), len(graph), fingerprint(graph))

    def collate(self, stored: Any, rows: np.ndarray, spec: NodeSpec) -> tuple[Any, None]:
        """The nodes asked for, then their neighbours, and the edges between them."""
        neighbours = stored.fields["neighbours"]
        found = [np.asarray(neighbours[int(row)]) for row in rows]
        target = np.repeat(np.arange(len(rows)), [len(one) for one in found])
        everyone = np.concatenate([rows, *found]).astype(np.int64)
        source = len(rows) + np.arange(len(target))
        return {"x": stored.main[everyone], "source": source, "target": target, "asked": np.arange(len(rows))}, None

    def unit(self, x: dict[str, Tensor], spec: NodeSpec) -> dict[str, Tensor]:
        return {**x, "x": x["x"].float()}

    def width(self, spec: NodeSpec) -> int:
        return spec.shape[0]

    def flat(self, x: dict[str, Tensor], spec: NodeSpec, dtype: torch.dtype, mask: Tensor | None = None) -> Tensor:
        return x["x"][x["asked"]].to(dtype)

    def policy(self, name: str) -> Any:
        return noise

    def default_policy(self, spec: NodeSpec) -> tuple[str, str]:
        return "noise", "the only one"

    def make_encoder(self, name: str, spec: NodeSpec, *, dim: int | None, fetch: bool) -> Encoder:
        if name != self.default_encoder:
            raise UserError(f"encoder: {name!r} does not take nodes; take {self.default_encoder}")
        return Encoder(self.make_input(spec), Neighbours(spec.shape[0], dim or 8), dim or 8)


class Neighbours(nn.Module):
    """A node's features and the mean of its neighbours'."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(features, dim), nn.Linear(features, dim)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        n = len(x["asked"])
        total = x["x"].new_zeros(n, x["x"].shape[1]).index_add(0, x["target"], x["x"][x["source"]])
        count = torch.bincount(x["target"], minlength=n).clamp(min=1)[:, None]
        return self.own(x["x"][:n]) + self.others(total / count)


def noise(x: dict[str, Tensor], keys: Any, shape: Any) -> dict[str, Tensor]:
    own, rest = x["x"][x["asked"]], x["x"][len(x["asked"]) :]
    return {**x, "x": torch.cat([own + 0.5 * keys.normal(own.shape[1]), rest])}


NODE = Node()


def write_nodes(path: Path, n: int = 80, seed: int = 0) -> Path:
    """Two groups: most edges stay within a group, and features tell little."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    x = rng.normal(0, 1, (n, 4)).astype(np.float32)
    x[:, 0] += labels
    found = [rng.choice(np.flatnonzero(labels == label), 6) for label in labels]
    offsets = np.arange(n + 1) * 6
    with path.open("wb") as file:
        np.savez(file, x=x, neighbours=np.concatenate(found), offsets=offsets, labels=labels)
    return path
