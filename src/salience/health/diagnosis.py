"""Is a run healthy? Judged from its health.json against its own start and trend, never by one sign alone.

A healthy SimSiam has an effective rank of 3, VICReg without its variance term keeps 32, and identity views give the
best rank of all: so a verdict needs two signs of different kinds, each over two probes in a row, or one and a mistake
in the settings. Neighbours that end below what costs nothing are one sign; a loss that still falls is the second of a
training that was too short. A loss that is no number stands alone, as do items that are all the same and a training
of fewer steps than any sign needs. A sign that has no second leaves the run healthy and is told with it. How often
this is right is measured, but for generators: benchmarks/cells/doctor.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from salience import catalogue
from salience.errors import UserError
from salience.health.signs import (
    ANY_METHOD,
    COLLAPSE,
    GEOMETRY,
    REBUILDING,
    declared_signs,
    hardly_begun,
    mistakes_in,
    same_items,
    too_few_steps,
    under_trained,
)
from salience.health.trend import THRESHOLDS, Finding, Thresholds, Trend
from salience.own_code import described
from salience.run import Run
from salience.warning_signs import Declared

HEALTHY = "healthy"
MEND = "mend the settings above first"  # what else would help may be the opposite
VERDICTS = ("collapsed", "failing", "misconfigured", "under-trained", HEALTHY)


@dataclass(frozen=True)
class Diagnosis:
    """verdict: one of VERDICTS

    findings: the most telling first; of a healthy run, what speaks against it and is not enough
    """

    verdict: str
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        return self.verdict == HEALTHY

    @property
    def headline(self) -> str:
        """The verdict in words."""
        return "healthy, with doubts" if self.healthy and self.findings else self.verdict

    def to_dict(self) -> dict[str, Any]:
        names = ("what", "why", "change")
        findings = [{name: getattr(finding, name) for name in names} for finding in self.findings]
        return {"verdict": self.verdict, "findings": findings}

    def text(self) -> str:
        lines = [self.headline]
        for finding in self.findings:
            lines += [f"  {finding.what}: {finding.why}", f"    {finding.change}"]
        return "\n".join(lines)


def diagnose(record: Mapping[str, Any], config: Mapping[str, Any], thresholds: Thresholds = THRESHOLDS) -> Diagnosis:
    """record: what health.json holds;  config: of the run"""
    if "diverged" in record:
        found = record["diverged"]
        why = f"{found['what']} at step {found['step']}, with a learning rate of {found['learning_rate']:.2g}"
        return Diagnosis("failing", (Finding("training has diverged", why, "lower --learning-rate", "loss"),))
    trend = Trend(record, config.get("steps") or 1, declared_by(config))
    if same := same_items(trend):
        return Diagnosis("misconfigured", (same,))
    if begun := hardly_begun(trend):
        return Diagnosis("under-trained", (begun,))
    collapse = [found for sign in COLLAPSE if trend.compares and (found := sign(trend, thresholds))]
    collapse += declared_signs(trend, thresholds, "collapse")
    failure = [] if trend.thrives(thresholds) else failures(trend, thresholds)
    failure += declared_signs(trend, thresholds, "generator")  # good neighbours excuse no generator
    mistakes = mistakes_in(trend, config, thresholds)
    if kinds(collapse) >= 2:
        return Diagnosis("collapsed", (*collapse, *mistakes))
    low = trend.ends_below(trend.baseline, thresholds)
    sure = [found for found in failure if found.sign != "knn" or low or trend.share < 1]
    if mistakes and sure and kinds((*mistakes, *sure)) >= 2:
        return Diagnosis("misconfigured", (*mistakes, *(replace(found, change=MEND) for found in sure)))
    ill = kinds(failure) >= 2
    if young := under_trained(trend, thresholds, ill=ill):
        return Diagnosis("under-trained", (young,))  # what else is wrong would ask for the opposite
    if (ill or low) and (short := too_few_steps(trend, thresholds)):
        return Diagnosis("under-trained", (short,))
    if ill:
        return Diagnosis("failing", tuple(failure))
    speaking = (*(() if trend.thrives(thresholds) else collapse), *failure, *mistakes)
    doubts: dict[str, Finding] = {}
    for found in speaking:
        if found.sign != "knn" or low:  # neighbours alone are a doubt at the end, beyond what they can err
            doubts.setdefault(found.sign, found)
    return Diagnosis(HEALTHY, tuple(doubts.values()))


def failures(trend: Trend, thresholds: Thresholds) -> list[Finding]:
    """What speaks against the representation."""
    geometry = [found for sign in GEOMETRY if trend.compares and (found := sign(trend, thresholds))]
    own = declared_signs(trend, thresholds, "representation")
    return [*geometry, *own, *(found for sign in (*REBUILDING, *ANY_METHOD) if (found := sign(trend, thresholds)))]


def declared_by(config: Mapping[str, Any]) -> Declared:
    """What a run's method declares of its health; nothing where it is none that is known."""
    method = config.get("method")
    if (record := (config.get("code") or {}).get("method")) is not None:
        entry = described(record)
        return Declared() if entry is None else entry.health
    return catalogue.find(method).health if method in catalogue.names() else Declared()


def diagnose_run(run: Run) -> Diagnosis | None:
    """The diagnosis of a run on the disk; None where nothing was watched.

    Errors: UserError where health.json, or an option in the config, holds what no training of ours writes.
    """
    record = run.health
    if record is None:
        return None
    try:
        return diagnose(record, run.config.to_dict())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as problem:
        path, reason = run.path / "health.json", type(problem).__name__
        raise UserError(f"run: {path} is damaged ({reason}); delete it, no other command needs it") from None


def kinds(findings: Sequence[Finding]) -> int:
    """How many different signs speak."""
    return len({finding.sign for finding in findings})
