"""Create the environment of the peers, .bench/venv: lightly and pythae with Salience's version of torch, by pip.

    .venv/bin/python -m benchmarks.harness.peers

It is separate, because one of the peers adds callbacks to every Lightning Trainer in its environment.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from benchmarks.harness.folders import SCRATCH

PYTHON = SCRATCH / "venv" / "bin" / "python"
PEERS = ("lightly==1.6.0", "pythae==0.1.2")
OURS = ("torch", "torchvision", "timm", "numpy", "pyarrow", "pillow")


def requirements() -> list[str]:
    """The peers as published, everything both sides use in our own versions."""
    return [*PEERS, *(f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in OURS)]


def ensure() -> Path:
    """Make the environment where it is missing or was left half-made.  -> its python"""
    done = SCRATCH / "venv" / "installed.txt"
    wanted = "\n".join(requirements())
    if done.exists() and done.read_text() == wanted:
        return PYTHON
    print("making the peers' environment in .bench/venv", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(SCRATCH / "venv")], check=True)
    subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet", *requirements()], check=True)
    done.write_text(wanted)
    return PYTHON


if __name__ == "__main__":
    print(ensure())
