"""What the files of a run must hold, by name: a file that was edited or damaged is refused where it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from salience.untrusted import Damaged, shown

LONGEST_TEXT = 4096  # characters of a path
LONGEST_NAME = 200  # characters of a method's name, which messages repeat
MOST = 2**63 - 1  # what files and arrays count with


@dataclass(frozen=True)
class Kind:
    """What a value may be.  expected: in words;  fits: whether it is"""

    expected: str
    fits: Callable[[Any], bool]


def whole(least: int) -> Kind:
    return Kind(f"an integer >= {least}", lambda value: _is_whole(value) and least <= value <= MOST)


def number(least: float) -> Kind:
    return Kind(f"a finite number >= {least:g}", lambda value: _is_finite(value) and value >= least)


def optional(kind: Kind) -> Kind:
    return Kind(f"{kind.expected}, or null", lambda value: value is None or kind.fits(value))


def one_of(*kinds: Kind) -> Kind:
    return Kind(" or ".join(kind.expected for kind in kinds), lambda value: any(kind.fits(value) for kind in kinds))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return (_is_whole(value) and abs(value) <= MOST) or (isinstance(value, float) and math.isfinite(value))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


TEXT = Kind("a text", lambda value: isinstance(value, str))
TEXTS = Kind("a list of texts", _are_texts)
NAME = Kind(f"a name of 1 to {LONGEST_NAME} characters", lambda v: isinstance(v, str) and 0 < len(v) <= LONGEST_NAME)
SWITCH = Kind("true or false", lambda value: isinstance(value, bool))
MAPPING = Kind("a mapping of names", lambda v: isinstance(v, dict) and all(isinstance(key, str) for key in v))
COUNT = whole(1)


def check_cost(record: Any) -> None:
    """Raises Damaged where cost.json does not hold numbers by name."""
    _require(isinstance(record, dict), "expected names and numbers")
    for name, value in record.items():
        fine = value is None or (_is_finite(value) and value >= 0)
        _require(fine, f"{shown(name)}: expected a number >= 0, got {shown(value)}")


def check_health(record: Any) -> None:
    """Raises Damaged where health.json does not hold what the watch over a training writes."""
    _require(isinstance(record, dict), "expected a mapping")
    about, probes = record.get("about", {}), record.get("probes", [])
    _require(isinstance(about, dict), f"about: expected a mapping, got {shown(about)}")
    for name, value in about.items():
        fine = isinstance(value, int | float) or (value is None and name == "collapsed_loss")
        _require(fine, f"about, {shown(name)}: expected a number, got {shown(value)}")
    _require(isinstance(probes, list), f"probes: expected a list, got {shown(probes)}")
    for probe in probes:
        _check_probe(probe)
    if "diverged" in record:
        _check_divergence(record["diverged"])


def _check_probe(probe: Any) -> None:
    _require(isinstance(probe, dict), f"probes: expected mappings, got {shown(probe)}")
    _require(whole(0).fits(probe.get("step")), f"probes: expected a step, got {shown(probe.get('step'))}")
    for name, value in probe.items():  # a sign may be no finite number
        fine = isinstance(value, int | float) and not isinstance(value, bool)
        _require(fine, f"probes, {shown(name)}: expected a number, got {shown(value)}")
    _require("alignment" not in probe or "std" in probe, "probes: an alignment without std")


def _check_divergence(found: Any) -> None:
    _require(isinstance(found, dict), f"diverged: expected a mapping, got {shown(found)}")
    for name, kind in (("step", whole(0)), ("what", NAME), ("learning_rate", number(0))):
        value = found.get(name)
        _require(kind.fits(value), f"diverged, {name}: expected {kind.expected}, got {shown(value)}")


def _require(fine: bool, otherwise: str) -> None:
    if not fine:
        raise Damaged(otherwise)


RECORDS: Mapping[str, Callable[[Any], None]] = {"cost.json": check_cost, "health.json": check_health}
