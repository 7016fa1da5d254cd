"""Two processes train as one would with all of the batch, and leave no trace behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from salience.errors import UserError
from salience.run import Run
from salience.training import fit
from salience.training.metrics import read_metrics
from tests.contract import structured_images


def test_two_processes_end_where_one_with_the_whole_batch_ends(tmp_path: Path) -> None:
    """Without batch norm, whose statistics are each process's own on a CPU."""
    np.save(tmp_path / "x.npy", structured_images().x[:, 0])
    settings = {"encoder": "linear", "dim": 3, "epochs": 2, "learning_rate": 0.01, "progress": False}
    before = dict(os.environ)
    two = fit("autoencoder", tmp_path / "x.npy", out=tmp_path / "two", batch_size=16, devices=2, **settings)
    one = fit("autoencoder", tmp_path / "x.npy", out=tmp_path / "one", batch_size=32, **settings)
    for name, weight in one.method.state_dict().items():
        torch.testing.assert_close(two.method.state_dict()[name], weight, rtol=1e-4, atol=1e-6, msg=name)
    rows = [read_metrics(Run(tmp_path / name).metrics) for name in ("two", "one")]
    assert [float(row["loss"]) for row in rows[0]] == pytest.approx([float(row["loss"]) for row in rows[1]], rel=1e-4)
    assert dict(os.environ) == before
    assert not dist.is_initialized()


def test_data_in_memory_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data in memory"):
        fit("simclr", structured_images(), out=tmp_path / "run", devices=2, progress=False)
