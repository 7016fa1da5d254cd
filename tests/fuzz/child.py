"""The process that reads mutants, so that what ends or stops it is counted. Started by `runner`.

argv: a format and its folder. stdin gets a line for every mutant that lies ready, stdout answers each with one of JSON:
{"outcome": "read", "refused" or "traceback", "detail": text}
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from pathlib import Path

LONGEST = 2000  # characters of a refusal


def main(name: str, folder: Path, memory: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is read may print
    from tests.fuzz.formats import FORMATS

    chosen = FORMATS[name]
    file = folder / chosen.file
    _warm_up()
    _limit(memory)
    for _ in sys.stdin:
        outcome, detail = _try(lambda: chosen.read(folder, file))
        answers.write(json.dumps({"outcome": outcome, "detail": detail}) + "\n")
        answers.flush()


def _try(read) -> tuple[str, str]:
    from salience.errors import UserError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read()
    except UserError as refusal:
        if len(str(refusal)) > LONGEST:
            return "traceback", f"a refusal of {len(str(refusal)):,} characters: {str(refusal)[:200]}"
        return "refused", str(refusal)
    except OSError as problem:
        if problem.errno is not None:  # the command line shows it in one line
            return "refused", str(problem)
        return "traceback", traceback.format_exc()
    except BaseException:
        return "traceback", traceback.format_exc()
    return "read", ""


def _warm_up() -> None:
    import pandas  # noqa: F401
    import torch

    import salience.data  # noqa: F401

    torch.set_num_threads(1)


def _limit(memory: int) -> None:
    """Of what is taken from now on, in this process and in those it starts."""
    import resource

    status = Path("/proc/self/status")
    used = int(status.read_text().split("VmData:")[1].split()[0]) << 10 if status.exists() else 2 << 30
    resource.setrlimit(resource.RLIMIT_DATA, (used + memory, used + memory))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
