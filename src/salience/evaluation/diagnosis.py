"""Is a run healthy? Judged from its health.json against its own start and trend, never by one sign alone.

A healthy SimSiam has an effective rank of 3, VICReg without its variance term keeps 32, and identity views give the
best rank of all: so a verdict needs two signs, each over two probes in a row. A loss that is no number stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEALTHY = "healthy"
VERDICTS = ("collapsed", "failing", "misconfigured", "under-trained", HEALTHY)  # the gravest first
LATELY = 2  # probes in a row


@dataclass(frozen=True)
class Limits:
    """Where a sign begins to speak. Chosen on SimCLR, SimSiam, BYOL and VICReg; tried on the other methods.

    spread, uniformity: what is left of the start's;  rank: absolute, 1 is a point
    loss: distance to the collapsed loss, as a share of the start's
    pairs: alignment of two views, as a share of the distance of two items, against the start's
    rise: kNN accuracy between two looks that counts as rising;  margin: below a baseline by this much is below it
    """

    spread: float = 0.3
    uniformity: float = 0.15
    rank: float = 1.5
    loss: float = 0.02
    pairs: float = 0.95
    rise: float = 0.01
    margin: float = 0.01
    gradient: float = 1e-4
    explosion: float = 100.0
    views: float = 0.05
    temperature: tuple[float, float] = (0.01, 5.0)
    learning_rate: float = 0.03
    batch: int = 32


LIMITS = Limits()


@dataclass(frozen=True)
class Finding:
    """what: is the matter;  why: we think so, in figures;  change: the remedy

    sign: what was looked at; two findings from one sign are one piece of evidence
    """

    what: str
    why: str
    change: str
    sign: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """verdict: one of VERDICTS;  findings: the gravest first"""

    verdict: str
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        return self.verdict == HEALTHY

    def to_dict(self) -> dict[str, Any]:
        told = ("what", "why", "change")
        findings = [{name: getattr(finding, name) for name in told} for finding in self.findings]
        return {"verdict": self.verdict, "findings": findings}

    def text(self) -> str:
        lines = [self.verdict]
        for finding in self.findings:
            lines += [f"  {finding.what}: {finding.why}", f"    {finding.change}"]
        return "\n".join(lines)


class Course:
    """How the signs of a run went.  record: what health.json holds"""

    def __init__(self, record: Mapping[str, Any]):
        self.about = record.get("about", {})
        self.probes = record.get("probes", [])

    def values(self, sign: str) -> list[float]:
        """At every probe that has it; "pairs" is computed: how near two views are, as a share of how near two items."""
        if sign == "pairs":
            return [p["alignment"] / max(2 * p["std"] ** 2, 1e-9) for p in self.probes if "alignment" in p]
        probes = self.probes
        if sign == "loss":  # among a queue's first, random rows it is too low to compare with
            probes = [probe for probe in probes if probe.get("queue_filled", 1) == 1]
        return [probe[sign] for probe in probes if sign in probe]

    def start(self, sign: str) -> float:
        return next(iter(self.values(sign)), math.nan)

    def lately(self, sign: str) -> list[float]:
        """The last two after the start; [] where there are not so many yet."""
        later = self.values(sign)[1:]
        return later[-LATELY:] if len(later) >= LATELY else []

    def throughout(self, sign: str, test: Callable[[float], bool]) -> bool:
        lately = self.lately(sign)
        return bool(lately) and all(test(value) for value in lately)


def diagnose(record: Mapping[str, Any], config: Mapping[str, Any], limits: Limits = LIMITS) -> Diagnosis:
    """record: what health.json holds;  config: of the run"""
    if "diverged" in record:
        found = record["diverged"]
        why = f"{found['what']} at step {found['step']}, with a learning rate of {found['learning_rate']:.2g}"
        return Diagnosis("failing", (Finding("training has diverged", why, "fit again with a lower --learning-rate"),))
    course = Course(record)
    pairwise = "alignment" in (course.probes or [{}])[-1]
    collapse = [found for sign in COLLAPSE if (found := sign(course, limits))] if pairwise else []
    failure = [found for sign in FAILURE if (found := sign(course, limits))]
    mistakes = [found for sign in MISTAKES if (found := sign(course, config, limits))]
    if independent(collapse) >= 2:
        return Diagnosis("collapsed", (*collapse, *mistakes))
    if mistakes and (collapse or failure):
        return Diagnosis("misconfigured", (*mistakes, *collapse, *failure))
    if independent(collapse + failure) >= 2:
        return Diagnosis("failing", (*collapse, *failure))
    young = under_trained(course, limits)
    return Diagnosis("under-trained", (young,)) if young else Diagnosis(HEALTHY, ())


def independent(findings: Sequence[Finding]) -> int:
    """How many different signs speak."""
    return len({finding.sign for finding in findings})


# --- signs of collapse ---------------------------------------------------------------------------------------------


def lost_spread(course: Course, limits: Limits) -> Finding | None:
    start = course.start("std")
    if not course.throughout("std", lambda now: now < limits.spread * start):
        return None
    why = f"the spread of the representation is {course.lately('std')[-1]:.3g}, {start:.3g} at the start"
    return Finding("all items become alike", why, COLLAPSE_REMEDY, "spread")


def lost_rank(course: Course, limits: Limits) -> Finding | None:
    start = course.start("effective_rank")
    if start < 2 * limits.rank or not course.throughout("effective_rank", lambda now: now < limits.rank):
        return None
    why = f"its effective rank is {course.lately('effective_rank')[-1]:.2f}, {start:.1f} at the start"
    return Finding("the representation is a line or a point", why, COLLAPSE_REMEDY, "rank")


def lost_uniformity(course: Course, limits: Limits) -> Finding | None:
    start = course.start("uniformity")
    if not course.throughout("uniformity", lambda now: now > limits.uniformity * start):
        return None
    why = f"uniformity is {course.lately('uniformity')[-1]:.3g}, {start:.3g} at the start (0: one point)"
    return Finding("items no longer fill their space", why, COLLAPSE_REMEDY, "spread")


def collapsed_loss(course: Course, limits: Limits) -> Finding | None:
    collapsed = course.about.get("collapsed_loss")
    if collapsed is None:
        return None
    scale = max(abs(collapsed), abs(course.start("loss") - collapsed))
    if not course.throughout("loss", lambda now: abs(now - collapsed) < limits.loss * scale):
        return None
    why = f"the loss is {course.lately('loss')[-1]:.4g}, and {collapsed:.4g} when all items are alike"
    return Finding("the loss is that of a collapsed network", why, COLLAPSE_REMEDY, "loss")


COLLAPSE_REMEDY = "lower --learning-rate, or look for what keeps items apart: predictor, teacher, variance, temperature"
COLLAPSE = (lost_spread, lost_rank, lost_uniformity, collapsed_loss)

# --- signs of failure ----------------------------------------------------------------------------------------------


def strangers(course: Course, limits: Limits) -> Finding | None:
    """Two views of one item are not drawn together, compared with two items."""
    if not course.values("pairs"):
        return None
    start = course.start("pairs")
    if not course.throughout("pairs", lambda now: now > limits.pairs * start):
        return None
    why = f"their distance is {course.lately('pairs')[-1]:.2f} of that of two items, {start:.2f} at the start"
    return Finding("two views of an item come no closer", why, "other --views, or a higher --learning-rate", "pairs")


def stuck_loss(course: Course, limits: Limits) -> Finding | None:
    start = course.start("loss")
    if not course.throughout("loss", lambda now: now >= start - 0.01 * abs(start)):
        return None
    why = f"it is {course.lately('loss')[-1]:.4g} on the probe, {start:.4g} at the start"
    return Finding("the loss does not fall", why, "change --learning-rate; tenfold less is the first to try", "loss")


def poor_neighbours(course: Course, limits: Limits) -> Finding | None:
    """Labels, where there are any, say that nothing useful is learnt: below both baselines and not rising."""
    found = course.values("knn")
    if len(found) < 2:
        return None
    baseline = max(course.about.get("raw_knn", 0.0), found[0])
    if found[-1] > baseline - limits.margin or found[-1] - found[-2] > limits.rise:
        return None
    why = f"kNN accuracy is {found[-1]:.3f}; untrained {found[0]:.3f}, raw input {course.about.get('raw_knn', 0.0):.3f}"
    return Finding(
        "neighbours are no better than before training", why, "see --views; they may destroy what matters", "neighbours"
    )


def falling_neighbours(course: Course, limits: Limits) -> Finding | None:
    found = course.values("knn")
    if len(found) < 2 or found[-1] > found[0] - 5 * limits.margin:
        return None
    why = f"kNN accuracy fell from {found[0]:.3f} to {found[-1]:.3f}"
    return Finding("training makes neighbours worse", why, "lower --learning-rate; see --views", "trend of neighbours")


def gradients(course: Course, limits: Limits) -> Finding | None:
    found = course.values("gradient")
    if len(found) <= LATELY:
        return None
    start, now = found[0], found[-LATELY:]
    if all(value < limits.gradient * start for value in now):
        return Finding(
            "gradients have vanished",
            f"their norm is {now[-1]:.2g}, {start:.2g} at the start",
            REMEDY_RATE,
            "gradients",
        )
    if all(value > limits.explosion * start for value in now):
        return Finding(
            "gradients explode", f"their norm is {now[-1]:.2g}, {start:.2g} at the start", REMEDY_RATE, "gradients"
        )
    return None


REMEDY_RATE = "lower --learning-rate"
FAILURE = (strangers, stuck_loss, poor_neighbours, falling_neighbours, gradients)

# --- mistakes in the settings --------------------------------------------------------------------------------------


def weak_views(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    distance = course.about.get("view_distance")
    if distance is None or distance > limits.views:
        return None
    why = f"two views of an item differ by {distance:.3f} of what two items do"
    return Finding("the views change next to nothing", why, "choose other --views; see them with: salience views")


def odd_temperature(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    low, high = limits.temperature
    for name, value in config.get("options", {}).items():
        if name.endswith("temperature") and not low <= value <= high:
            return Finding(
                f"{name} is out of the ordinary", f"it is {value:g}", f"take one between {low:g} and {high:g}"
            )
    return None


def frozen_teacher(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    if config.get("options", {}).get("momentum") != 1:
        return None
    return Finding("the teacher never moves", "momentum is 1", "give a --momentum below 1, such as 0.996")


def high_rate(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    rate = config.get("learning_rate") or 0.0
    if rate < limits.learning_rate:
        return None
    return Finding("the learning rate is high", f"it is {rate:g}; for AdamW 0.002 is usual", REMEDY_RATE)


def small_batch(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    size = course.about.get("batch_size", math.inf)
    if size >= limits.batch:
        return None
    return Finding("the batch is small", f"{size} items a step are compared", "raise --batch-size")


def idle_weight(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    """A term of the loss that was switched off."""
    off = [name for name in ("variance", "invariance", "redundancy") if config.get("options", {}).get(name) == 0]
    if not off:
        return None
    return Finding("a term of the loss is switched off", f"{off[0]} is 0", f"leave --{off[0]} at its default")


MISTAKES = (weak_views, odd_temperature, frozen_teacher, high_rate, small_batch, idle_weight)

# --- time ----------------------------------------------------------------------------------------------------------


def under_trained(course: Course, limits: Limits) -> Finding | None:
    """Rising, and not yet above what costs nothing."""
    found = course.values("knn")
    if len(found) < 2:
        return None
    baseline = max(course.about.get("raw_knn", 0.0), found[0])
    if found[-1] > baseline or found[-1] - found[-2] <= limits.rise:
        return None
    why = f"kNN accuracy is {found[-1]:.3f} and rising, raw input has {course.about.get('raw_knn', 0.0):.3f}"
    return Finding("training was too short", why, "more --epochs")
