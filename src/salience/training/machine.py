"""What the machine can do, read from its flags, never from a timing: decisions made here are stored and replayed."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path

import torch

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 AVX-512, x86 tiles, Arm


@lru_cache
def cpu_flags() -> frozenset[str]:
    """The processor's feature flags as Linux lists them; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    listed = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(listed, "").split())


def native_bf16(accelerator: str) -> bool:
    """Whether bf16 arithmetic is done by the processor itself; emulated it is slower than fp32."""
    if accelerator == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return accelerator == "cpu" and bool(cpu_flags() & BF16_FLAGS)


def accelerator() -> str:
    """ "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def devices() -> int:
    """The most processes a training may have here: one a graphics card, else one a core."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return 1 if torch.backends.mps.is_available() else len(_affinity())


def has_compiler() -> bool:
    """Whether torch.compile finds the C++ compiler it needs on a CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "c++", "clang++"))


def cores() -> int:
    """Processor cores this process may use: those the system gives it, or fewer where OMP_NUM_THREADS says so."""
    given = len(_affinity())
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(given, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else given


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def anonymous_memory() -> int | None:
    """Bytes of RssAnon. Mapped pages of prepared data are left out: the system takes them back when it likes."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    kilobytes = next((line.split()[1] for line in lines if line.startswith("RssAnon")), None)
    return None if kilobytes is None else int(kilobytes) * 1024
