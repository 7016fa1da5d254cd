"""How many threads to compute with, told from the machine's own files and load; nothing is timed."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from salience import processors
from salience.processors import Free, cores, free_cores, limited


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 8 cores without limits and without load; gives a function that changes that."""

    def is_now(given=8, whole=8, load=0.0, variable=None):
        monkeypatch.setattr(processors, "affinity", lambda: set(range(given)))
        monkeypatch.setattr(os, "cpu_count", lambda: whole)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 99.0, 99.0))
        monkeypatch.setattr(processors, "CGROUPS", tmp_path)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if variable is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", variable)

    is_now()
    return is_now


@pytest.mark.parametrize(
    ("load", "free"), [(0.0, 8), (0.99, 8), (1.0, 7), (3.6, 5), (6.9, 2), (7.0, 1), (8.0, 1), (50.0, 1)]
)
def test_what_other_programs_keep_busy_is_left_to_them(machine, load, free):
    machine(load=load)
    assert free_cores() == Free(free, 8, load)


def test_of_a_part_of_a_machine_its_part_of_the_load_counts(machine):
    machine(given=4, whole=64, load=32.0)
    assert free_cores().cores == 2
    machine(given=4, whole=64, load=8.0)
    assert free_cores().cores == 4


@pytest.mark.parametrize(("variable", "there"), [("3", 3), ("16", 8), ("0", 8), ("many", 8), ("", 8)])
def test_the_usual_variable_limits_what_is_there(machine, variable, there):
    machine(variable=variable)
    assert cores() == there


@pytest.mark.parametrize(("content", "there"), [("200000 100000", 2), ("150000 100000", 2), ("max 100000", 8), ("", 8)])
def test_a_container_has_what_its_quota_allows(machine, tmp_path, content, there):
    (tmp_path / "cpu.max").write_text(content)
    assert cores() == there


@pytest.mark.parametrize(("quota", "there"), [("300000\n", 3), ("-1\n", 8)])
def test_an_older_container_too(machine, tmp_path, quota, there):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores() == there


def test_it_is_told_why():
    assert str(Free(2, 2, 0.3)) == "2 cores"
    assert str(Free(1, 1, 0.3)) == "1 core"
    assert str(Free(1, 2, 1.94)) == "2 cores, but the machine is busy (load 1.9)"


def test_a_limit_holds_for_libraries_that_are_loaded_and_ends(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    np.linalg.inv(np.eye(2))  # its library is loaded
    before = torch.get_num_threads()
    with limited(before + 2):
        assert torch.get_num_threads() == before + 2
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == str(before + 2)
    with limited(1):
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    assert torch.get_num_threads() == before
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_a_limit_reaches_a_library_that_is_loaded_later():
    script = (
        "import sys\nfrom salience.processors import limited\nassert 'torch' not in sys.modules\n"
        "with limited(1):\n    import torch\n    print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name not in processors.VARIABLES}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
