"""Runs the steps: Lightning's Trainer, set up so that a killed run continues to exactly the same weights.

Everything that shapes the arithmetic (batch, steps, precision, threads, compilation) is read from the run's config and
replayed on resume; each step reseeds itself from (seed, step, rank).
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import lightning as L
import torch
from lightning.pytorch import loggers
from lightning.pytorch.profilers import PassThroughProfiler

from salience.config import TrainingPlan
from salience.data import Dataset
from salience.errors import MissingPackage, UserError
from salience.files import remove_leftovers
from salience.health.probe import Probe
from salience.health.record import Health
from salience.methods import Method
from salience.methods.lightning import LightningMethod, Plan
from salience.run import Run
from salience.training import machine
from salience.training.checkpoints import AtomicCheckpoints, Checkpointer, Owner
from salience.training.cost import CostMeter
from salience.training.metrics import MetricsCSV
from salience.training.processes import is_helper, several_processes
from salience.training.progress_bar import ProgressBar
from salience.training.sittings import Interrupted
from salience.training.steps import Steps
from salience.units import parse_duration
from salience.views import Views

LOGGED = 100  # rows of metrics.csv a run ends with, about
LOGGERS = {  # by short name: Lightning's class, and the packages of which it needs one
    "tensorboard": ("TensorBoardLogger", ("tensorboard", "tensorboardX")),
    "wandb": ("WandbLogger", ("wandb",)),
    "mlflow": ("MLFlowLogger", ("mlflow", "mlflow_skinny")),
}


def train(run: Run, method: Method, dataset: Dataset, *, progress: bool) -> None:
    """Trains to the end of the plan in `run.config`, from its last checkpoint where there is one.

    Errors: Interrupted after Ctrl-C, SIGTERM or SIGHUP, when the checkpoint is written.
    """
    plan = run.config.plan
    prepare(method, plan)
    _clear(run)
    every = log_every(plan)
    meter = CostMeter(every)
    saver = Checkpointer(run.checkpoint, every=parse_duration(plan.checkpoint_every), ask_every=every)
    metrics = MetricsCSV(run.metrics, every=every)
    probe = Probe(dataset, total=plan.steps, seed=plan.seed, half=plan.precision == "bf16-mixed")
    config, items = run.config.to_dict(), plan.items_per_step
    health = Health(run.path / "health.json", probe, config, batch_size=items, every=every, warn=progress)
    together = several_processes(run.path, plan.devices)
    with quiet(), threads(plan.threads), together:
        shown = [ProgressBar(every)] if progress else []
        trainer = _trainer(run, method, [Owner(run), metrics, meter, health, saver, *shown])
        loader = dataset.loader(plan.batch_size, plan.seed, rank=trainer.global_rank, world=trainer.world_size)
        steps = Steps(loader, plan.steps, trainer, labels=run.config.model.use_labels)
        if not is_helper():
            metrics.rewind(run.step)
        last = str(run.checkpoint) if run.checkpoint.exists() else None
        try:
            with ctrl_c_kept():
                trainer.fit(LightningMethod(method, schedule_of(plan)), steps, ckpt_path=last, weights_only=True)
        except SystemExit as ended:  # Lightning's answer to a Ctrl-C that our handler does not see
            number = getattr(ended.__context__, "number", signal.SIGINT)
            raise Interrupted(f"resume with: salience fit --resume {run.path}", number=number) from None
    _end(run, trainer, saver, meter)


def _clear(run: Run) -> None:
    """Make the folder of checkpoints, and remove what a killed process left."""
    if not is_helper():
        run.checkpoint.parent.mkdir(exist_ok=True)
        remove_leftovers(run.path)
        remove_leftovers(run.checkpoint.parent)


def _end(run: Run, trainer: L.Trainer, saver: Checkpointer, meter: CostMeter) -> None:
    """Write the cost of a training.  Raises Interrupted where it was stopped before its last step."""
    plan = run.config.plan
    if saver.stopped and trainer.global_step < plan.steps:
        said = f"stopped at step {trainer.global_step}; resume with: salience fit --resume {run.path}"
        raise Interrupted(said, number=saver.number)
    if trainer.is_global_zero:
        run.write_json("cost.json", _cost(plan, meter))


@contextmanager
def ctrl_c_kept() -> Iterator[None]:
    """Lightning ignores Ctrl-C from the first one on, and a program that goes on would never hear of it again."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def schedule_of(plan: TrainingPlan) -> Plan:
    return Plan(plan.steps, plan.steps_per_epoch, plan.learning_rate, plan.weight_decay, plan.seed)


def log_every(plan: TrainingPlan) -> int:
    """Steps between two rows of metrics.csv."""
    return max(1, plan.steps // LOGGED)


def prepare(method: Method, plan: TrainingPlan) -> None:
    """Memory layout, attention and compilation, as the plan says."""
    method.encoder.spec.modality.prepare_network(method)
    if plan.precision.startswith("bf16") and machine.accelerator() == "cpu":
        for part in method.modules():
            if hasattr(part, "fused_attn"):  # timm's switch: torch's attention takes 3 to 6 times as long as products
                setattr(part, "fused_attn", False)  # noqa: B010  a Module's attributes are typed as tensors
    if plan.compile:
        torch._dynamo.config.recompile_limit = 64  # networks share code; each kind, size and mode takes one entry
        for part in method.children():
            for inner in part.children() if isinstance(part, Views) else [part]:
                if inner._compiled_call_impl is None:  # measuring for a time budget has compiled it already
                    inner.compile(dynamic=False)


def _trainer(run: Run, method: Method, callbacks: list[L.Callback]) -> L.Trainer:
    plan = run.config.plan
    return L.Trainer(
        accelerator="auto",
        devices=plan.devices,
        strategy=_strategy(method, plan.devices),
        precision=plan.precision,  # type: ignore[arg-type]  # a name that Lightning knows
        max_epochs=1,
        max_steps=plan.steps,
        use_distributed_sampler=False,
        sync_batchnorm=method.sync_batchnorm and plan.devices > 1 and torch.cuda.is_available(),  # a CPU's cannot
        logger=_extra_logger(plan.logger, run),
        log_every_n_steps=log_every(plan),
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        profiler=Unprofiled(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.path,
    )


class Unprofiled(PassThroughProfiler):
    """Lightning opens some eighty profiles a step, a tenth of the time it takes itself; these cost next to nothing."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self.nothing


def _strategy(method: Method, devices: int) -> str:
    if devices == 1:
        return "auto"
    return "ddp_find_unused_parameters_true" if method.partial else "ddp"


def logger_class(name: str) -> Any:
    """A Lightning logger by its short name. Raises UserError where there is none, MissingPackage where it needs one."""
    if name not in LOGGERS:
        raise UserError(f"logger: '{name}' is unknown; in addition to metrics.csv there are {', '.join(LOGGERS)}")
    class_name, packages = LOGGERS[name]
    if not any(find_spec(package) for package in packages):
        raise MissingPackage(f"logger: {name} needs a package; install it with pip install {packages[0]}")
    return getattr(loggers, class_name)


def _extra_logger(name: str | None, run: Run) -> list[Any]:
    if name is None:
        return []
    where = {"tracking_uri": f"sqlite:///{run.path / 'mlflow.db'}"} if name == "mlflow" else {"save_dir": run.path}
    return [logger_class(name)(**where)]


def _cost(plan: TrainingPlan, meter: CostMeter) -> dict[str, Any]:
    seen = plan.steps * plan.items_per_step
    return {
        "flops": plan.flops_per_step * plan.steps * plan.devices,
        "seconds": round(meter.seconds, 3),
        "items_seen": seen,
        "items_per_second": round(seen / meter.seconds, 1) if meter.seconds else None,
        "peak_memory_bytes": meter.peak,
    }


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Runs torch on so many threads; the caller's number comes back, as a fit may be a small part of their program.

    count: None leaves it as it is
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what Lightning says about itself; its warnings about a user's own Trainer do not apply here."""
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "torch.utils.cpp_extension")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
