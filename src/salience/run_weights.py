"""The weights of a run: written as safetensors, read from there or from the last checkpoint of an unfinished run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from salience.errors import Note, UserError
from salience.files import atomic
from salience.run import Run


def save_weights(method: nn.Module, path: Path) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()}
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors))


class DamagedWeights(UserError):  # noqa: N818 - says what is wrong
    """A run's weights cannot be used.  reason: why, in the message without its remedy"""

    def __init__(self, run: Run, problem: Exception):
        why = " ".join(str(problem).split())[:160]
        self.reason = f"the weights in {run.path} are damaged or do not fit its config ({why})"
        super().__init__(f"run: {self.reason}; make them again with: salience fit --resume {run.path}")


def load_weights(method: nn.Module, run: Run) -> None:
    try:
        method.load_state_dict(_read_weights(run))
    except (RuntimeError, SafetensorError) as error:
        raise DamagedWeights(run, error) from None


def load_checkpoint(method: nn.Module, run: Run) -> None:
    """What a training goes on from. Raises UserError where the checkpoint is damaged or of another network."""
    try:
        method.load_state_dict(run.read_checkpoint()["state_dict"])
    except (RuntimeError, AttributeError, TypeError) as error:
        why = " ".join(str(error).split())[:160]
        raise UserError(
            f"run: {run.checkpoint} is damaged or does not fit its config ({why}); delete it to start from step 0"
        ) from None


def weights_match(run: Run) -> bool:
    """Whether a finished run's weights are those of its last checkpoint, True where that is missing or damaged too."""
    try:
        last = run.read_checkpoint() if run.checkpoint.exists() else None
    except UserError:
        return True
    if last is None or not run.config.is_planned or last["global_step"] != run.config.plan.steps:
        return True
    found, kept = load_file(run.weights), last["state_dict"]
    return found.keys() == kept.keys() and all(_bits(found[name]) == _bits(kept[name]) for name in found)


def _bits(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _read_weights(run: Run) -> dict[str, Tensor]:
    if run.finished:
        return load_file(run.weights)
    if not run.checkpoint.exists():
        if (run.health or {}).get("diverged"):
            raise UserError(f"run: {run.path} holds no weights: its training diverged; fit again, see: salience doctor")
        raise UserError(f"run: {run.path} holds no weights yet; continue it with: salience fit --resume {run.path}")
    weights = run.read_checkpoint()["state_dict"]
    warnings.warn(f"{run.path} is unfinished; using its last checkpoint", Note, stacklevel=4)
    return weights
