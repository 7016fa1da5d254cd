"""Checkpoints that are whole or absent, come every few minutes, and read without executing anything.

A save goes to a file beside the target, is flushed to disk, and takes its place by rename. Ctrl-C raises a flag that is
obeyed at the next batch boundary: saving from inside a batch would count a step that was never taken.
"""

from __future__ import annotations

import io
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import CheckpointIO

from salience.files import atomic


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user; what was done is in the run's checkpoint."""


class AtomicCheckpoints(CheckpointIO):
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # Into memory first: torch turns a full disk into an error that does not say so.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic(path) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return torch.load(path, map_location="cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class Checkpointer(L.Callback):
    """Saves to `path` every `every` seconds and when training ends; stops at a batch boundary after Ctrl-C."""

    def __init__(self, path: Path, *, every: float):
        self.path = path
        self.every = every
        self.interrupted = threading.Event()
        self._last = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        interrupted = trainer.strategy.reduce_boolean_decision(self.interrupted.is_set(), all=False)
        due = time.monotonic() - self._last >= self.every
        if interrupted or trainer.strategy.broadcast(due):
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()
        if interrupted:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.interrupted.is_set():
            trainer.save_checkpoint(self.path)


class obey_signals:  # noqa: N801 - reads as a verb: with obey_signals(flag)
    """While it lasts, the first Ctrl-C or SIGTERM sets the flag; the second Ctrl-C interrupts at once."""

    def __init__(self, flag: threading.Event):
        self.flag = flag
        self.before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():  # only there may Python set handlers
            self.before = {number: signal.signal(number, self._heed) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if self.flag.is_set():
            raise KeyboardInterrupt
        self.flag.set()
