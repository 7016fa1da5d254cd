"""Parsing, formatting and validation of durations, sizes, counts, seeds and names."""

from __future__ import annotations

import math
import re
from numbers import Integral, Real
from typing import NoReturn

from salience.errors import UserError

SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
AUTO = "auto"  # stands for the default `Auto` of an option: found from the data, printed and stored
SEEDS = 2**32  # what NumPy and scikit-learn take
MAX_RESOLUTION = 4096  # pixels a side

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)


def parse_duration(value: str | float, argument: str = "duration") -> float:
    """Parse a duration: "90s", "10min", "2h", "1h30min", or a number of seconds.

    Args:
        value: The duration.
        argument: Name of the argument, for the error.

    Returns:
        The duration in seconds, positive.

    Raises:
        UserError: The value is not a positive duration.
    """
    seconds = _seconds(value, argument)
    if not math.isfinite(seconds) or seconds <= 0:
        _refuse_duration(value, argument)
    return seconds


def _seconds(value: str | float, argument: str) -> float:
    if not isinstance(value, str | Real) or isinstance(value, bool):
        _refuse_duration(value, argument)
    try:
        return float(value)
    except ValueError:
        pass
    text = str(value).strip().lower()
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text) or any(unit not in SECONDS for _, unit in parts):
        _refuse_duration(value, argument)
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def _refuse_duration(value: object, argument: str) -> NoReturn:
    raise UserError(f"{argument}: '{value}' is not a duration; write it like 90s, 10min, 2h or 1h30min")


def format_duration(seconds: float) -> str:
    """Format a duration in at most two units: "0.4 s", "53 s", "12 min 5 s", "3 h 20 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    minutes = round(seconds / 60)
    return _two(minutes // 60, "h", minutes % 60, "min")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit}" + (f" {small} {small_unit}" if small else "")


def format_size(size: float) -> str:
    """Format a size in decimal units: "512 B", "1.5 kB", "184 MB", "2.0 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.1f} {unit}" if size < 9.95 and unit != "B" else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def check_seed(seed: object) -> int:
    """Return the seed as a Python integer. Raises UserError if NumPy, scikit-learn or PyTorch do not support it."""
    return check_whole("seed", seed, 0, SEEDS - 1)


def is_flag(value: object) -> bool:
    """Return whether a value is a bool of Python or NumPy (which is not imported here)."""
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def check_whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return the value as a Python integer, which can be stored as YAML or JSON. NumPy integers are accepted.

    Raises:
        UserError: The value is not an integer (a bool is not one), or out of range.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if is_whole and least <= value and (most is None or value <= most):  # type: ignore[operator]
        return int(value)  # type: ignore[call-overload]
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise UserError(f"{name}: {value!s} is not a whole number {limits}")


def check_real(name: str, value: object) -> float:
    """Return the value as a Python float. NumPy numbers are accepted.

    Raises:
        UserError: The value is not a number (a bool is not one), infinite or NaN.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise UserError(f"{name}: {value!s} is not a finite number")


def counted(count: int, one: str, many: str | None = None) -> str:
    """Format a count with its noun: "1 row", "2,000 rows". `many`: the plural, if it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun: "an image"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def are(count: int) -> str:
    """Return the form of "to be" for a count: "is" or "are"."""
    return "is" if count == 1 else "are"


def printable(name: str) -> str:
    """Escape the invisible characters of a name from outside, so that it can be printed on one line.

    So a line break in a file name cannot forge a line of output, and an escape sequence cannot control the terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
