"""What a method declares about its health: signs that a training is not well, and ordinary values of its options.

They stand in the method's file as plain values, so that a run is diagnosed without loading the method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Sign:
    """A sign that a training is not well: values from `vitals` that stay beyond a limit.

    values: names of the values, all of which must be beyond it; "a / b" is a quotient of two
    below, above: the limit, one of the two;  of_start: it is a share of the first value
    what: is the matter;  why: a format of the values, such as "{kl:.2g} nats";  change: the remedy
    kind: what was looked at; two findings of one kind are one piece of evidence
    of: "collapse"; "representation", where neighbours that find classes outweigh the sign; or "generator", where they
        do not, and which may lag behind in the first half of a training
    """

    values: tuple[str, ...]
    what: str
    why: str
    change: str
    kind: str
    below: float | None = None
    above: float | None = None
    of_start: bool = False
    of: Literal["collapse", "representation", "generator"] = "representation"


@dataclass(frozen=True)
class Ordinary:
    """Ordinary values of an option: from `low` to `high`, but not `off`, which turns a part of the method off.

    option: its name
    what: is the matter with another value;  change: the remedy;  both are found for a range
    kind: as of a sign; the option's name if not given
    """

    option: str
    low: float = -math.inf
    high: float = math.inf
    off: float | None = None
    what: str = ""
    change: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Declared:
    """All that a method declares.

    keeps_items_apart: what a user who sees a collapse should look at
    constrains_codes: options of which less leaves more for reconstruction
    """

    signs: tuple[Sign, ...] = ()
    ordinary: tuple[Ordinary, ...] = ()
    keeps_items_apart: str = ""
    constrains_codes: str = ""
