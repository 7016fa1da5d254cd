"""The page about time series can be typed."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[3] / "docs/how-to/work-with-time-series.md"


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names = {}
    exec(block.replace("epochs=10", "epochs=1, progress=False"), names)
    assert names["codes"].shape == (128, 256)
    assert np.isfinite(names["codes"]).all()
    assert len({len(names["data"].item(row)) for row in range(128)}) > 10
