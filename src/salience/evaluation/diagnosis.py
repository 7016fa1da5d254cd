"""Is a run healthy? Judged from its health.json against its own start and trend, never by one sign alone.

A healthy SimSiam has an effective rank of 3, VICReg without its variance term keeps 32, and identity views give the
best rank of all: so a verdict needs two signs of different kinds, each over two probes in a row. A loss that is no
number stands alone. How often this is right is measured: benchmarks/doctor.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEALTHY = "healthy"
VERDICTS = ("collapsed", "failing", "misconfigured", "under-trained", HEALTHY)
LATELY = 2  # probes in a row


@dataclass(frozen=True)
class Limits:
    """Where a sign begins to speak. Chosen on runs of SimCLR, SimSiam, BYOL and VICReg, and frozen.

    Of the value at the start: rank, uniformity, pairs, gradients vanished or exploding, entropy of one_output
    indifferent: how far the mean entropy is below that of the mean, as a share;  prototypes: the share in use
    Collapse: spread and uniformity of the value at the start; rank, absolute; loss, of its way to the collapsed one
    neighbours: how far below the baselines kNN may dip at first, as a share; nothing at the end
    rise: of kNN between two looks, that counts as rising
    """

    rank: float = 0.25
    uniformity: float = 0.95
    pairs: float = 0.95
    vanished: float = 1e-4
    exploding: float = 100.0
    one_output: float = 0.1
    indifferent: float = 0.02
    prototypes: float = 0.1
    collapsed_spread: float = 0.3
    collapsed_uniformity: float = 0.15
    collapsed_rank: float = 2.5
    collapsed_loss: float = 0.02
    neighbours: float = 0.1
    rise: float = 0.02
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
    sign: str


@dataclass(frozen=True)
class Diagnosis:
    """verdict: one of VERDICTS;  findings: the most telling first"""

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
    """How the signs of a run went.

    record: what health.json holds;  steps: of the whole training
    """

    def __init__(self, record: Mapping[str, Any], steps: int):
        self.about = record.get("about", {})
        self.probes = record.get("probes", [])
        self.share = min(1.0, self.probes[-1]["step"] / max(1, steps)) if self.probes else 0.0

    @property
    def compares(self) -> bool:
        """Whether the method compares items with each other: for one that rebuilds them, geometry is no sign."""
        return self.about.get("collapsed_loss") is not None

    def values(self, sign: str) -> list[float]:
        """At every probe that has it; "pairs" is computed: how near two views are, as a share of how near two items."""
        probes = self.probes
        if sign == "pairs":
            return [probe["alignment"] / max(2 * probe["std"] ** 2, 1e-9) for probe in probes if "alignment" in probe]
        if sign == "loss":  # among a queue's first, random rows it is too low to compare with
            probes = [probe for probe in probes if probe.get("queue_filled", 1) == 1]
        return [probe[sign] for probe in probes if sign in probe]

    def start(self, sign: str) -> float:
        return next(iter(self.values(sign)), math.nan)

    def now(self, sign: str) -> float:
        return self.values(sign)[-1]

    def lately(self, sign: str, test: Callable[[float], bool]) -> bool:
        """Whether the last two values after the start pass; False where there are not so many yet."""
        later = self.values(sign)[1:]
        return len(later) >= LATELY and all(test(value) for value in later[-LATELY:])

    def thrives(self, limits: Limits) -> bool:
        """Whether labels say that something is learnt, whatever the geometry looks like."""
        return self.lately("knn", lambda now: now > self.baseline + limits.rise)

    def rises(self, limits: Limits) -> bool:
        """Whether neighbours have become better again since they were worst."""
        found = self.values("knn")
        return len(found) > 1 and found[-1] - min(found[1:-1] or found) > limits.rise

    @property
    def baseline(self) -> float:
        """kNN accuracy of raw input or of the untrained encoder, whichever is better."""
        return max(self.about.get("raw_knn", 0.0), self.start("knn"))


def diagnose(record: Mapping[str, Any], config: Mapping[str, Any], limits: Limits = LIMITS) -> Diagnosis:
    """record: what health.json holds;  config: of the run"""
    if "diverged" in record:
        found = record["diverged"]
        why = f"{found['what']} at step {found['step']}, with a learning rate of {found['learning_rate']:.2g}"
        return Diagnosis("failing", (Finding("training has diverged", why, "lower --learning-rate", "loss"),))
    course = Course(record, config.get("steps") or 1)
    signs = (*GEOMETRY, *ANY_METHOD) if course.compares else ANY_METHOD
    collapse = [found for sign in COLLAPSE if course.compares and (found := sign(course, limits))]
    failure = [found for sign in signs if not course.thrives(limits) and (found := sign(course, limits))]
    mistakes = [found for sign in MISTAKES if (found := sign(course, config, limits))]
    if kinds(collapse) >= 2:
        return Diagnosis("collapsed", (*collapse, *mistakes))
    if mistakes and failure:
        return Diagnosis("misconfigured", (*mistakes, *failure))
    young = under_trained(course, limits)
    ill = kinds(failure) >= 2
    if young and (course.rises(limits) or not ill):
        return Diagnosis("under-trained", (young, *(failure if ill else ())))
    return Diagnosis("failing", tuple(failure)) if ill else Diagnosis(HEALTHY, ())


def kinds(findings: Sequence[Finding]) -> int:
    """How many different signs speak."""
    return len({finding.sign for finding in findings})


# --- signs of collapse, for methods that compare items -------------------------------------------------------------


def alike(course: Course, limits: Limits) -> Finding | None:
    std, uniformity = course.start("std"), course.start("uniformity")
    lost = course.lately("std", lambda now: now < limits.collapsed_spread * std)
    if not (lost or course.lately("uniformity", lambda now: now > limits.collapsed_uniformity * uniformity)):
        return None
    why = f"the spread of the representation is {course.now('std'):.3g}, {std:.3g} at the start"
    return Finding("all items become alike", why, COLLAPSE_REMEDY, "spread")


def point_or_line(course: Course, limits: Limits) -> Finding | None:
    start = course.start("effective_rank")
    if start < 2 * limits.collapsed_rank:
        return None
    if not course.lately("effective_rank", lambda now: now < limits.collapsed_rank):
        return None
    why = f"its effective rank is {course.now('effective_rank'):.2f}, {start:.1f} at the start"
    return Finding("the representation is a point or a line", why, COLLAPSE_REMEDY, "rank")


def collapsed_loss(course: Course, limits: Limits) -> Finding | None:
    collapsed, start = course.about["collapsed_loss"], course.start("loss")
    scale = max(abs(collapsed), abs(start - collapsed))
    if not course.lately("loss", lambda now: abs(now - collapsed) < limits.collapsed_loss * scale):
        return None
    why = f"the loss is {course.now('loss'):.4g}, and {collapsed:.4g} when all items are alike"
    return Finding("the loss is that of a collapsed network", why, COLLAPSE_REMEDY, "loss")


COLLAPSE_REMEDY = "lower --learning-rate, or look for what keeps items apart: predictor, teacher, variance, temperature"
COLLAPSE = (alike, point_or_line, collapsed_loss)

# --- signs of failure ----------------------------------------------------------------------------------------------


def narrowed(course: Course, limits: Limits) -> Finding | None:
    start = course.start("effective_rank")
    if not course.lately("effective_rank", lambda now: now < limits.rank * start):
        return None
    why = f"the effective rank is {course.now('effective_rank'):.1f}, {start:.1f} at the start"
    return Finding("few dimensions are left", why, COLLAPSE_REMEDY, "rank")


def crowded(course: Course, limits: Limits) -> Finding | None:
    start = course.start("uniformity")
    if not course.lately("uniformity", lambda now: now > limits.uniformity * start):
        return None
    why = f"uniformity is {course.now('uniformity'):.2f}, {start:.2f} at the start (0: one point)"
    return Finding("items stand closer together than before", why, COLLAPSE_REMEDY, "spread")


def strangers(course: Course, limits: Limits) -> Finding | None:
    start = course.start("pairs")
    if not course.lately("pairs", lambda now: now > limits.pairs * start):
        return None
    why = f"their distance is {course.now('pairs'):.2f} of that of two items, {start:.2f} at the start"
    return Finding("two views of an item come no closer", why, "other --views, or a higher --learning-rate", "pairs")


def indifferent(course: Course, limits: Limits) -> Finding | None:
    """A teacher's outputs: one for all items, or all alike for each (entropies of DINO)."""
    together, each = course.values("entropy_of_mean"), course.values("mean_entropy")
    if len(together) <= LATELY or len(together) != len(each):
        return None
    lately = list(zip(together[-LATELY:], each[-LATELY:], strict=True))
    if all(mean < limits.one_output * together[0] for mean, _ in lately):
        what, remedy = "the teacher gives one answer to everything", "a smaller --centre-momentum"
    elif all(mean - single < limits.indifferent * mean for mean, single in lately):
        what, remedy = "the teacher finds all answers alike", "a smaller --teacher-temperature, or more --epochs"
    else:
        return None
    why = f"the entropy of its mean output is {together[-1]:.3g}, the mean entropy {each[-1]:.3g}"
    return Finding(what, why, remedy, "outputs")


def few_prototypes(course: Course, limits: Limits) -> Finding | None:
    if not course.lately("prototype_usage", lambda now: now < limits.prototypes):
        return None
    why = f"{course.now('prototype_usage'):.1%} of them, by the perplexity of the mean assignment"
    return Finding("few prototypes are in use", why, "lower --learning-rate, or fewer --prototypes", "outputs")


GEOMETRY = (narrowed, crowded, strangers, collapsed_loss, indifferent, few_prototypes)


def stuck_loss(course: Course, limits: Limits) -> Finding | None:
    start = course.start("loss")
    if not course.lately("loss", lambda now: now >= start - 0.01 * abs(start)):
        return None
    why = f"it is {course.now('loss'):.4g} on the probe, {start:.4g} at the start"
    return Finding("the loss does not fall", why, "change --learning-rate; a tenth of it first", "loss")


def poor_neighbours(course: Course, limits: Limits) -> Finding | None:
    """Labels, where there are any, tell nothing better than before. A dip is forgiven while training is young."""
    found = course.values("knn")
    if len(found) < 2:
        return None
    least = course.baseline * (1 - limits.neighbours * (1 - course.share))
    if found[-1] >= least or (len(found) > 2 and found[-2] >= least):
        return None
    return Finding("neighbours are no better than before training", neighbours_told(course), RATE_AND_VIEWS, "knn")


def gradients(course: Course, limits: Limits) -> Finding | None:
    start = course.start("gradient")
    if course.lately("gradient", lambda now: now < limits.vanished * start):
        what = "gradients have vanished"
    elif course.lately("gradient", lambda now: now > limits.exploding * start):
        what = "gradients explode"
    else:
        return None
    why = f"their norm is {course.now('gradient'):.2g}, {start:.2g} at first"
    return Finding(what, why, "lower --learning-rate", "gradients")


def neighbours_told(course: Course) -> str:
    raw = f", raw input {course.about['raw_knn']:.3f}" if "raw_knn" in course.about else ""
    return f"kNN accuracy is {course.now('knn'):.3f}; untrained {course.start('knn'):.3f}{raw}"


RATE_AND_VIEWS = "change --learning-rate; see the views with: salience views"
ANY_METHOD = (stuck_loss, poor_neighbours, gradients)

# --- mistakes in the settings: one piece of evidence ---------------------------------------------------------------


def weak_views(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    distance = course.about.get("view_distance")
    if distance is None or distance > limits.views:
        return None
    why = f"two views of an item differ by {distance:.3f} of what two items do"
    return Finding("the views change next to nothing", why, "other --views; see them with: salience views", "views")


def odd_temperature(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    low, high = limits.temperature
    for name, value in config.get("options", {}).items():
        if name.endswith("temperature") and not low <= value <= high:
            change = f"take one between {low:g} and {high:g}"
            return Finding(f"{name} is out of the ordinary", f"it is {value:g}", change, "temperature")
    return None


def frozen_teacher(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    if config.get("options", {}).get("momentum") != 1:
        return None
    return Finding("the teacher never moves", "momentum is 1", "give a --momentum below 1, such as 0.996", "teacher")


def high_rate(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    rate = config.get("learning_rate") or 0.0
    if rate < limits.learning_rate:
        return None
    return Finding("the learning rate is high", f"it is {rate:g}; 0.002 is usual", "lower --learning-rate", "rate")


def small_batch(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    size = course.about.get("batch_size", math.inf)
    if size >= limits.batch or not course.compares:
        return None
    return Finding("the batch is small", f"{size} items a step are compared", "raise --batch-size", "batch")


def idle_weight(course: Course, config: Mapping[str, Any], limits: Limits) -> Finding | None:
    off = [name for name in ("variance", "invariance", "redundancy") if config.get("options", {}).get(name) == 0]
    if not off:
        return None
    return Finding("a term of the loss is off", f"{off[0]} is 0", f"leave --{off[0]} at its default", "weights")


MISTAKES = (weak_views, odd_temperature, frozen_teacher, high_rate, small_batch, idle_weight)

# --- time ----------------------------------------------------------------------------------------------------------


def under_trained(course: Course, limits: Limits) -> Finding | None:
    """At the end, neighbours are below what costs nothing."""
    found = course.values("knn")
    if len(found) < 2 or course.share < 1 or found[-1] >= course.baseline:
        return None
    what, change = ("training was too short", "more --epochs")
    if not course.rises(limits):
        what, change = ("little was learnt", RATE_AND_VIEWS)
    return Finding(what, neighbours_told(course), change, "knn")
