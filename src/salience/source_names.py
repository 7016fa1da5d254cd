"""What the text of a source names: built-in data, hf://OWNER/NAME or a path, each perhaps with :SPLIT."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from salience.errors import UserError

TRAIN = "train"  # what a source alone means, and all that one without splits has
BUILT_IN = ("digits", "fashion-mnist", "cifar10")


def without_split(text: str) -> tuple[str, str | None]:
    """(name, split) of "digits:test"; a path that exists is never cut."""
    if not Path(text).exists() and (match := re.fullmatch(r"(.+):([A-Za-z]\w*)", text)):
        return match[1], match[2]
    return text, None


def with_split(name: str, split: str | None) -> str:
    """A source as it is typed: its name alone for the split that it is opened with alone, NAME:SPLIT for another."""
    return name if split in (None, "", TRAIN) or name.endswith(f":{split}") else f"{name}:{split}"


def require_source(text: str) -> None:
    """Raises UserError where `text` is neither built-in data, nor hf://, nor a path that exists."""
    name, _ = without_split(text)
    path = Path(name).expanduser()
    if name in BUILT_IN or name.startswith("hf://") or path.exists():
        return
    near = difflib.get_close_matches(name, BUILT_IN, n=1)
    known = f"give a path, hf://owner/name, or one of: {', '.join(BUILT_IN)}"
    raise UserError(f"source: {path} does not exist; {f'did you mean {near[0]}?' if near else known}")
