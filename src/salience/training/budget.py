"""A time budget: how many steps fit into it. Measuring is a small part of it, and any step that fits is taken.

Steps are counted once, before the first: the learning rate's schedule ends with the training, and a resumed run must
end where it would have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from salience.batch import Progress
from salience.config import TrainingPlan
from salience.data import Dataset, Loader
from salience.errors import UserError
from salience.health.probe import SIZE, Probe
from salience.methods import Method
from salience.methods.adamw import AdamW
from salience.training import timing
from salience.units import format_duration

TRAINING_SHARE = 0.85  # of the time left when all is measured: the rest is for saving, and for what a step leaves out
MEASURING_SHARE = 0.1  # of the time left when measuring begins, for steps; and as much for looks at its health
WATCHING_SHARE = 0.25  # of the time left, for looks at the health of the run while it trains
MEASURED_STEPS = 5  # at most, after as many to warm up
TRAINER = 0.0015  # seconds a step that Lightning and logging take around the network
LOOK = 2  # training steps on as many items that a look takes, about: five passes forward, none backward


@dataclass(frozen=True)
class Time:
    """seconds: the budget;  started: when, by `clock`"""

    seconds: float
    started: float

    @property
    def passed(self) -> float:
        return timing.clock() - self.started

    @property
    def left(self) -> float:
        return self.seconds - self.passed


@dataclass(frozen=True)
class Look:
    """Seconds that a look at the health of a run takes, and one that also asks for neighbours."""

    plain: float
    knn: float

    def seconds(self, probes: int) -> float:
        """Of all looks of a training: one before it, and `probes` during it."""
        from salience.health.record import asks_neighbours  # here: closed forms, too, load this module

        asked = sum(asks_neighbours(number, probes) for number in range(probes + 1))
        return (probes + 1) * self.plain + asked * max(0.0, self.knn - self.plain)


def steps_within(time: Time, method: Method, dataset: Dataset, plan: TrainingPlan) -> tuple[int, int, float]:
    """-> the steps there is time for, the looks at its health during them, and the seconds a step takes

    Errors: UserError where the budget is over before a step could end.
    """
    from salience.training import engine

    started_up = time.passed
    if time.left <= 0:
        raise UserError(
            f"budget: {format_duration(time.seconds)} ended before the first step; the start-up took "
            f"{format_duration(started_up)}; give more"
        )
    with engine.threads(plan.threads):
        engine.prepare(method, plan)
        left = time.left
        each = seconds_per_step(method, dataset.loader(plan.batch_size, plan.seed), plan, left)
        if each > left:
            raise UserError(
                f"budget: {format_duration(time.seconds)} ended before the first step; a step takes "
                f"{format_duration(each)} and the start-up took {format_duration(started_up)}; "
                "give more, or a smaller --batch-size"
            )
        look = seconds_of_look(method, dataset, plan, each, MEASURING_SHARE * left)
    left = max(0.0, time.left)
    probes = most_probes(look, WATCHING_SHARE * left)
    steps = int((TRAINING_SHARE * left - look.seconds(probes)) / each)
    return max(1, steps), probes, each


def most_probes(look: Look, most: float) -> int:
    """As many as take `most` seconds; one, at the end, in any case."""
    from salience.health.record import PROBES

    return max([1, *(probes for probes in range(2, PROBES + 1) if look.seconds(probes) <= most)])


def seconds_per_step(method: Method, loader: Loader, plan: TrainingPlan, left: float) -> float:
    """Times a few steps within MEASURING_SHARE of `left` seconds, though one at least, and leaves the method as it was.

    Compiles what the training will use.
    """
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    dtype = torch.bfloat16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    method.to(device).train()
    optimiser = AdamW(list(method.param_groups()), lr=0.0, fused=True)

    def step(at: Progress, number: int) -> None:
        batch = loader.batch_at(number).to(device)
        with torch.autocast(device, dtype, enabled=plan.precision.startswith("bf16")):
            for loss in method.losses(batch, at):
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                loss.item()  # waits for the device

    phases = list(method.phases())
    seconds = 0.0
    for share, at in phases:
        most = MEASURING_SHARE * left / len(phases)
        seconds += share * _timed(partial(step, at), most, compiles=plan.compile)
    method.load_state_dict(before)
    return seconds + TRAINER


def _timed(step: Callable[[int], None], most: float, *, compiles: bool) -> float:
    """Seconds a step. The first alone tells where `most` seconds do not allow more; it tells little if it compiles."""
    _, first = _steps_in(0.0, step)
    if first > most / 2 and not compiles:
        return first
    for _ in ("to warm up", "to be timed"):
        count, taken = _steps_in(max(0.0, most - first) / 2, step)
    return taken / count


def _steps_in(most: float, step: Callable[[int], None]) -> tuple[int, float]:
    """At least one, at most MEASURED_STEPS; none is begun after `most` seconds.  -> how many, and how long they took"""
    started, taken, count = timing.clock(), 0.0, 0
    while count < MEASURED_STEPS and (count == 0 or taken < most):
        step(count)
        count, taken = count + 1, timing.clock() - started
    return count, taken


def seconds_of_look(method: Method, dataset: Dataset, plan: TrainingPlan, each: float, most: float) -> Look:
    """Timed where that takes no more than `most` seconds, else reckoned from a step. Leaves the method as it was.

    each: seconds a step
    """
    an_item = each / plan.batch_size
    if LOOK * SIZE * an_item > most:
        return Look(LOOK * SIZE * an_item, 2 * LOOK * SIZE * an_item)
    probe = Probe(dataset, total=1, seed=plan.seed, half=plan.precision == "bf16-mixed")
    plain = _look_taken(probe, method, knn=False)
    if probe.labelled is None:
        return Look(plain, plain)
    if plain > most / 2:
        return Look(plain, plain * (1 + len(probe.labelled) / SIZE))
    return Look(plain, _look_taken(probe, method, knn=True))


def _look_taken(probe: Probe, method: Method, *, knn: bool) -> float:
    started = timing.clock()
    probe.look(method, 0, knn=knn)
    return timing.clock() - started
