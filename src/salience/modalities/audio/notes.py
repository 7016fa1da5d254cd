"""Notes on what was found out while recordings were read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from salience.units import counted

MEANINGS = {
    "early": ("ends before its header says", "end before their headers say", "what is there was read"),
    "length": (
        "has a wrong length in its header",
        "have a wrong length in their headers",
        "samples were read up to the end of the file",
    ),
    "cancelled": (
        "has channels of opposite phase",
        "have channels of opposite phase",
        "their mean is nearly silent; use --channel left",
    ),
    "clipped": ("exceeds full scale", "exceed full scale", "louder samples were clipped"),
    "silent": ("is silent", "are silent", "all samples are 0"),
}


def describe_flags(flags: Mapping[str, Sequence[int]], name: Callable[[int], str]) -> tuple[str, ...]:
    """Return a note for each flag, with the first recording that has it."""
    notes = []
    for flag, (one, several, more) in MEANINGS.items():
        if files := sorted(flags.get(flag, ())):
            is_or_are = one if len(files) == 1 else several
            notes.append(f"{counted(len(files), 'recording')} {is_or_are}, such as {name(files[0])}: {more}")
    return tuple(notes)


def describe_rates(rates: Mapping[int, int], rate: int, asked: bool) -> tuple[str, ...]:
    """Return a note on recordings of other rates, which are resampled."""
    others = {one: count for one, count in rates.items() if one != rate}
    if not others:
        return ()
    listed = ", ".join(f"{count:,} of {one:,} Hz" for one, count in sorted(others.items())[:5])
    remedy = "" if asked else ", the most frequent rate; use --rate to choose another"
    return (f"{counted(sum(others.values()), 'recording')} resampled to {rate:,} Hz{remedy}: {listed}",)
