"""Keeps freed memory in the process, where tensors of the same sizes come and go.

By default glibc gives every large block back to the kernel when it is freed, and the next tensor pays for its pages
again, one fault each: on a virtual machine that made a chain of elementwise operations ten times slower.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names for mallopt, from malloc.h
LARGE = 1 << 30  # bytes; blocks up to this size are kept


@cache
def keep_freed_memory() -> bool:
    """For when heavy work begins, never at import. Does nothing outside glibc, or where the user set MALLOC_*."""
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(TRIM_THRESHOLD, LARGE)) and bool(mallopt(MMAP_THRESHOLD, LARGE))
