"""Measure the anonymous memory of this process, now and at its peak."""

from __future__ import annotations

import threading
from pathlib import Path


def rss_anon() -> int:
    """Bytes of anonymous resident memory of this process. Mapped files are not in it: the kernel takes them back."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon line: this benchmark needs Linux")


class Peak:
    """The largest RssAnon while the block runs, sampled by a thread."""

    def __enter__(self) -> Peak:
        self.bytes, self.stop = rss_anon(), threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.stop.wait(0.02):
            self.bytes = max(self.bytes, rss_anon())

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
