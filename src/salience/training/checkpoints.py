"""Checkpoints that are whole or absent, come every few minutes, and read without executing anything.

A save goes to a file beside the target, is flushed to disk, and takes its place by rename. Ctrl-C raises a flag that is
obeyed at the next batch boundary: saving from inside a batch would count a step that was never taken.
"""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import CheckpointIO

from salience.distributed import agree
from salience.files import atomic
from salience.run import Run
from salience.training.processes import is_helper

Handlers = dict[int, Any]


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Owner(L.Callback):
    """Stops the training where the run's folder was removed or replaced. The first of the callbacks: nothing is written
    into a folder that has passed to another run."""

    def __init__(self, run: Run):
        self.run = run

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.run.require_held()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self.run.require_held()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.run.require_held()


class AtomicCheckpoints(CheckpointIO):
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # Into memory first: torch turns a full disk into an error that does not say so.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic(path) as temporary:
            write(temporary, content.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return torch.load(path, map_location="cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def write(path: Path, content: memoryview) -> None:
    path.write_bytes(content)


class Checkpointer(L.Callback):
    """Saves to `path` every `every` seconds and when training ends; stops at a batch boundary after one of SIGNALS.

    ask_every: steps after which several processes agree whether to save or stop; one alone decides at every step
    stopped: whether all processes have agreed to stop;  number: of the signal that asked for it
    """

    def __init__(self, path: Path, *, every: float, ask_every: int):
        self.path = path
        self.every = every
        self.ask_every = ask_every
        self.stopped = False
        self.number: int = signal.SIGINT
        self._interrupted = False
        self._warned = False  # that another Ctrl-C stops at once
        self._last = time.monotonic()
        self._handlers: Handlers = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last = time.monotonic()
        if threading.current_thread() is threading.main_thread():  # only there may Python set handlers
            # Set here, over Lightning's: at SIGTERM its own would end the process as if all were done.
            self._handlers = {number: signal.signal(number, self._heed) for number in SIGNALS if not _hung_up(number)}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.world_size > 1 and trainer.global_step % self.ask_every:
            return
        stop, due = agree([self._interrupted, time.monotonic() - self._last >= self.every])
        if stop or due:
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()
        if stop:
            self.stopped = trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.stopped:
            trainer.save_checkpoint(self.path)
        self._release()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._release()

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if self._warned and number == signal.SIGINT:  # the second Ctrl-C interrupts at once
            raise KeyboardInterrupt
        if not self._interrupted:
            self.number = number
        self._interrupted = True
        if number == signal.SIGINT:
            self._warned = True
            if not is_helper():  # not by print: the signal may have come in the midst of one
                os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    def _release(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _hung_up(number: int) -> bool:
    """Whether it is a SIGHUP that is ignored, as nohup asks."""
    return number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN
