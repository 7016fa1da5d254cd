"""The clock of time budgets, which begin before anything else is loaded."""

from __future__ import annotations

import time

clock = time.monotonic  # looked up at every call: a test puts another one here
