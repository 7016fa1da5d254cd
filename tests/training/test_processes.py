"""Two processes train as one would with all of the batch, and leave no trace behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from salience.errors import UserError
from salience.run import Run
from salience.training import fit
from salience.training.metrics import read_metrics
from salience.training.processes import losing_others
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


def test_a_torn_connection_is_one_line_and_any_other_mistake_keeps_its_traceback(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=f"another process of this training has ended; .*--resume {tmp_path}"),
        losing_others(tmp_path),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234")
    with pytest.raises(RuntimeError, match="shapes"), losing_others(tmp_path):
        raise RuntimeError("shapes do not fit")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the other process in /proc")
def test_when_one_process_is_killed_the_other_says_so_and_the_run_goes_on(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32))
    run, words = tmp_path / "run", ["--batch-size", "16", "--epochs", "2000", "--devices", "2", "--encoder", "mlp"]
    command = [sys.executable, "-m", "salience", "fit", "simclr", str(tmp_path / "x.npy"), *words, "--out", str(run)]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        helper = _await_child(first.pid, run / "metrics.csv")
        os.kill(helper, signal.SIGKILL)
        _, said = first.communicate(timeout=120)
    finally:
        first.kill()
    assert first.returncode == 2
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: --devices: another process of this training has ended; resume")


def _await_child(parent: int, rows: Path) -> int:
    """The process id of the other process, once both train."""
    for _ in range(600):
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if children and rows.exists() and len(rows.read_text().splitlines()) > 1:
            return int(children[0])
        time.sleep(0.2)
    raise AssertionError("no second process trains")


def test_data_in_memory_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data in memory"):
        fit("simclr", structured_images(), out=tmp_path / "run", devices=2, progress=False)
