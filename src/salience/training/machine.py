"""What the machine can do, read from its flags, never from a timing: decisions made here are stored and replayed."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path

import torch

from salience.processors import affinity

FAST_BF16 = {"amx_bf16", "bf16"}  # x86 tiles and Arm: by their makers' word, not measured
VECTOR_BF16 = "avx512_bf16"  # on AMD faster than fp32; on an Intel Xeon products took 2 times as long, fits 1.3 to 1.6


@lru_cache
def cpu_words(*fields: str) -> frozenset[str]:
    """What Linux says of the first processor, in fields of these names; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    told = (line.partition(":")[2] for line in lines if line.lower().partition(":")[0].strip() in fields)
    return frozenset(next(told, "").split())


def fast_bf16(accelerator: str) -> bool:
    """Whether the processor itself computes in bf16, and sooner than in fp32, as far as its flags tell."""
    if accelerator == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = cpu_words("flags", "features")
    intel = "GenuineIntel" in cpu_words("vendor_id")
    return accelerator == "cpu" and bool(flags & FAST_BF16 or (VECTOR_BF16 in flags and not intel))


def accelerator() -> str:
    """ "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def devices() -> int:
    """The most processes a training may have here: one a graphics card, else one a core."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return 1 if torch.backends.mps.is_available() else len(affinity())


def has_compiler() -> bool:
    """Whether torch.compile finds the C++ compiler it needs on a CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "c++", "clang++"))


def anonymous_memory() -> int | None:
    """Bytes of RssAnon. Mapped pages of prepared data are left out: the system takes them back when it likes."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    kilobytes = next((line.split()[1] for line in lines if line.startswith("RssAnon")), None)
    return None if kilobytes is None else int(kilobytes) * 1024
