"""Names of sources: built-in data, hf://OWNER/NAME or a path, each with an optional :SPLIT."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from salience.errors import UserError
from salience.origins import installed

TRAIN = "train"  # the default split, and the only one of a source without splits
BUILT_IN = ("digits", "fashion-mnist", "cifar10")


def without_split(text: str) -> tuple[str, str | None]:
    """Split "digits:test" into (name, split). A path that exists is not split."""
    if not Path(text).exists() and (match := re.fullmatch(r"(.+):([A-Za-z]\w*)", text)):
        return match[1], match[2]
    return text, None


def with_split(name: str, split: str | None) -> str:
    """Return the name of a source as a user types it: NAME for the default split, NAME:SPLIT for another one."""
    return name if split in (None, "", TRAIN) or name.endswith(f":{split}") else f"{name}:{split}"


def require_source(text: str) -> None:
    """Raise UserError if `text` is neither built-in data, nor hf://, nor of an installed package, nor a path."""
    name, _ = without_split(text)
    path = Path(name).expanduser()
    if name in BUILT_IN or name.startswith("hf://") or path.exists():
        return
    if name.partition("://")[0] in installed("source"):
        return
    near = difflib.get_close_matches(name, BUILT_IN, n=1)
    known = f"give a path, hf://owner/name, or one of: {', '.join(BUILT_IN)}"
    raise UserError(f"source: {path} does not exist; {f'did you mean {near[0]}?' if near else known}")
