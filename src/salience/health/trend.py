"""How a run went: its signs of health from the start to now, and where each begins to speak."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from salience.warning_signs import Declared

LATELY = 2  # probes in a row


@dataclass(frozen=True)
class Thresholds:
    """Where a sign begins to speak. Chosen on runs of SimCLR, SimSiam, BYOL and VICReg, and frozen; the thresholds
    of signs that a method declares stand with them.

    Of the value at the start: rank, uniformity, pairs, gradients vanished or exploding
    Collapse: spread and uniformity of the value at the start; rank, absolute; loss, of its way to the collapsed one
    neighbours: how far below the baselines kNN may dip at first, as a share; nothing at the end
    rise: of kNN between two looks, that counts as rising;  noise: standard errors that do not count as worse
    ruined: share of kNN whose loss more training does not mend; set by hand
    settled: share of its way the loss still goes in the last third of a training that has come to its end
    short: steps of a training in which any run looks ill
    mean: error of rebuilt items, of the variance around the mean item, which is what a constant has
    late: share of the training before which a generator may lag behind, and a code's decoder not yet be trained
    """

    rank: float = 0.25
    uniformity: float = 0.95
    pairs: float = 0.95
    vanished: float = 1e-4
    exploding: float = 100.0
    collapsed_spread: float = 0.3
    collapsed_uniformity: float = 0.15
    collapsed_rank: float = 2.5
    collapsed_loss: float = 0.02
    neighbours: float = 0.1
    rise: float = 0.02
    ruined: float = 0.25
    noise: float = 2.0
    settled: float = 0.05
    short: int = 100
    mean: float = 0.98
    late: float = 0.5
    views: float = 0.05
    learning_rate: float = 0.03
    batch: int = 32


THRESHOLDS = Thresholds()
NOTHING = Declared()


@dataclass(frozen=True)
class Finding:
    """what: is the matter;  why: we think so, in figures;  change: the remedy

    sign: what was looked at; two findings from one sign are one piece of evidence
    """

    what: str
    why: str
    change: str
    sign: str


class Trend:
    """How the signs of a run went.

    record: what health.json holds;  steps: of the whole training;  declared: what its method says of its health
    """

    def __init__(self, record: Mapping[str, Any], steps: int, declared: Declared = NOTHING):
        self.declared = declared
        self.about = record.get("about", {})
        self.probes = record.get("probes", [])
        self.steps = steps
        self.share = min(1.0, self.probes[-1]["step"] / max(1, steps)) if self.probes else 0.0

    @property
    def compares(self) -> bool:
        """Whether the method compares items with each other: for one that rebuilds them, geometry is no sign."""
        return self.about.get("collapsed_loss") is not None

    def values(self, sign: str) -> list[float]:
        """At every probe that has it.

        "pairs" is computed: how near two views are, as a share of how near two items;  "a / b" is a quotient
        """
        probes = self.probes
        if " / " in sign:
            above, below = sign.split(" / ")
            return [probe[above] / max(probe[below], 1e-9) for probe in probes if {above, below} <= set(probe)]
        if sign == "pairs":
            return [probe["alignment"] / max(2 * probe["std"] ** 2, 1e-9) for probe in probes if "alignment" in probe]
        if sign == "loss":  # among a queue's first, random rows it is too low to compare with
            probes = [probe for probe in probes if probe.get("queue_filled", 1) == 1]
        return [probe[sign] for probe in probes if sign in probe]

    def start(self, sign: str) -> float:
        return next(iter(self.values(sign)), math.nan)

    def now(self, sign: str) -> float:
        return self.values(sign)[-1]

    @property
    def latest(self) -> dict[str, float]:
        """The last value of each sign."""
        return {name: value for probe in self.probes for name, value in probe.items()}

    def lately(self, sign: str, test: Callable[[float], bool]) -> bool:
        """Whether the last two values after the start pass; False where there are not so many yet."""
        later = self.values(sign)[1:]
        return len(later) >= LATELY and all(test(value) for value in later[-LATELY:])

    def late(self, sign: str, test: Callable[[float], bool], thresholds: Thresholds) -> bool:
        """The same of values after that share of the training from which on the sign means something."""
        first = thresholds.late * self.steps
        found = [probe[sign] for probe in self.probes if sign in probe and probe["step"] >= first]
        return len(found) >= LATELY and all(test(value) for value in found[-LATELY:])

    def thrives(self, thresholds: Thresholds) -> bool:
        """Whether labels say that something is learnt, whatever the geometry looks like."""
        return self.lately("knn", lambda now: now > self.baseline + thresholds.rise)

    def rises(self, thresholds: Thresholds) -> bool:
        """Whether neighbours have become better again since they were worst, first and last look aside."""
        found = self.values("knn")
        return len(found) > 1 and found[-1] - min(found[1:-1] or found) > thresholds.rise

    def still_falls(self, thresholds: Thresholds) -> bool:
        """Whether the loss, where one is told, still goes a good part of its way in the last third."""
        found = self.values("loss")
        if not found:
            return False
        least = found[len(found) * 2 // 3] - thresholds.settled * abs(found[0] - found[-1])
        return self.lately("loss", lambda now: now < least)

    def ends_below(self, accuracy: float, thresholds: Thresholds) -> bool:
        """Whether neighbours end below `accuracy`, by more than the labelled items, all of which are asked, can err."""
        asked = self.about.get("labelled", 0)
        error = math.sqrt(accuracy * (1 - accuracy) / asked) if asked else 0.0
        return self.share == 1 and self.lately("knn", lambda now: now < accuracy - thresholds.noise * error)

    @property
    def baseline(self) -> float:
        """kNN accuracy of raw input or of the untrained encoder, whichever is better."""
        return max(self.about.get("raw_knn", 0.0), self.start("knn"))
