"""Weights of published networks: read without running anything, and matched with a network by name and shape."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from salience.errors import UserError

CONTAINERS = ("state_dict", "model", "model_state_dict")  # of files that hold more than weights
SHOWN = 3  # names in a message


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights, .safetensors or a checkpoint of torch, which is loaded with `weights_only=True`.

    Raises:
        UserError: The file does not exist, is damaged, or holds anything else than tensors.
    """
    if not path.is_file():
        raise UserError(f"weights: {path} does not exist; give a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the reason is in our message
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as problem:
        raise UserError(f"weights: {path} cannot be read ({_line(problem)}); download it again") from None
    except Exception as problem:  # torch raises whatever the damage provokes
        raise UserError(
            f"weights: {path} holds more than tensors, or is damaged ({_line(problem)}); only tensors are loaded, "
            "because anything else could run code; give a file of weights"
        ) from None
    for name in CONTAINERS:
        held = held[name] if isinstance(held, Mapping) and isinstance(held.get(name), Mapping) else held
    items = held.items() if isinstance(held, Mapping) else ()
    tensors = {name: value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"weights: {path} holds no tensors by name; give a file of weights")
    return {name.removeprefix("module."): value for name, value in tensors.items()}


@dataclass(frozen=True)
class Match:
    """How the tensors of a file fit a network.

    Attributes:
        tensors: Name in the network -> tensor.
        missing: Names in the network that the file lacks.
        unexpected: Names in the file that the network lacks.
        shapes: "NAME: [file] for [network]" of tensors with another shape.
        left_out: Names in the file that are not needed, of its classifier.
    """

    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.shapes)

    def text(self) -> str:
        """Describe the match in one line."""
        parts = [f"{len(self.tensors)} tensors match"]
        for what, names in (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.shapes),
            ("of the classifier left out", self.left_out),
        ):
            if names:
                more = ", ..." if len(names) > SHOWN else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:SHOWN])}{more})")
        return "; ".join(parts)


def match(
    weights: Mapping[str, Tensor], network: nn.Module, renamed: Callable[[str], str], left_out: Iterable[str] = ()
) -> Match:
    """Match the tensors of a file with a network.

    Args:
        weights: The tensors of the file by name.
        network: The network.
        renamed: Name in the file -> name in the network.
        left_out: Beginnings of names in the network that belong to its classifier.
    """
    own = network.state_dict()
    named = {renamed(name): (name, value) for name, value in weights.items()}
    classifier = tuple(f"{one}." for one in left_out)
    beside = {new: old for new, (old, _) in named.items() if new not in own}
    spare = tuple(old for new, old in beside.items() if classifier and new.startswith(classifier))
    fitting = {new: value for new, (_, value) in named.items() if new in own}
    shapes = tuple(
        f"{name}: {list(value.shape)} for {list(own[name].shape)}"
        for name, value in fitting.items()
        if value.shape != own[name].shape
    )
    return Match(
        {name: value for name, value in fitting.items() if value.shape == own[name].shape},
        tuple(name for name in own if name not in named and not name.endswith("num_batches_tracked")),
        tuple(old for old in beside.values() if old not in spare),
        shapes,
        spare,
    )


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160] or type(problem).__name__
