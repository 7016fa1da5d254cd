"""The process that reads mutants, so that what ends or stops it is counted. Started by `runner`.

argv: the module with the formats, and how many bytes of memory may be taken beyond what its `warm_up` imports.
stdout begins with a line "ready". stdin gets a line of JSON for every mutant that lies ready, {"format", "folder"}, and
stdout answers each with one, {"outcome": "read", "refused" or "traceback", "detail": text}.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

LONGEST = 2000  # characters of a refusal


def main(module: str, memory: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is read may print
    of_formats = importlib.import_module(module)
    formats = of_formats.FORMATS
    of_formats.warm_up()
    _limit(memory)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        chosen, folder = formats[asked["format"]], Path(asked["folder"])
        os.environ["SALIENCE_CACHE"] = str(folder / "cache")
        outcome, detail = _try(functools.partial(chosen.read, folder, folder / chosen.file))
        answers.write(json.dumps({"outcome": outcome, "detail": detail}) + "\n")
        answers.flush()


def _try(read: Callable[[], object]) -> tuple[str, str]:
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


def _limit(memory: int) -> None:
    """Of what is taken from now on, in this process and in those it starts."""
    import resource

    status = Path("/proc/self/status")
    used = int(status.read_text().split("VmData:")[1].split()[0]) << 10 if status.exists() else 2 << 30
    resource.setrlimit(resource.RLIMIT_DATA, (used + memory, used + memory))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
