"""A short run over every format, and that the harness counts what it is there for."""

from __future__ import annotations

import pytest

from tests.fuzz.broken import FORMATS as BROKEN
from tests.fuzz.formats import FORMATS
from tests.fuzz.runner import FAILURES, OUTCOMES, Child, fuzz, mutant, table

MUTANTS = 7  # of each format, the valid files among them; `make fuzz` tries thousands


@pytest.fixture(scope="module")
def child():
    with Child() as one:
        yield one


OF_RUNS = ("config.yaml", "metrics.csv", "health.json", "cost.json", "safetensors", "last.ckpt", "resume")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in OF_RUNS else n for n in FORMATS])
def test_every_mutant_is_read_or_refused_in_one_line(child, name):
    result = fuzz(name, child, mutants=MUTANTS, timeout=300.0)
    assert not result.failures, result.details[0]
    assert result.counts["read"], "the valid files themselves are to be read"


@pytest.fixture(scope="module")
def broken_child():
    with Child("tests.fuzz.broken", memory=1 << 29) as one:
        yield one


@pytest.mark.parametrize("name", BROKEN)
def test_what_becomes_of_a_mutant_is_counted(broken_child, name, tmp_path):
    outcome = name.split()[0]
    result = fuzz(name, broken_child, mutants=1, timeout=1.0 if outcome == "hang" else 60.0, keep=tmp_path)
    assert dict(result.counts) == {outcome: 1}
    assert result.failures == (outcome in FAILURES)
    assert len(list(tmp_path.glob("*/0-*/file.bin"))) == result.failures
    assert table({name: result}).splitlines()[1].split()[-5:] == [str(int(o == outcome)) for o in OUTCOMES]


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in OF_RUNS])
def test_mutants_differ_from_the_valid_files_and_from_each_other(name, tmp_path):
    FORMATS[name].prepare(tmp_path)
    seeds = FORMATS[name].seeds(tmp_path)
    mutants = [mutant(FORMATS[name], seeds, 0, number) for number in range(60)]
    assert mutants[: len(seeds)] == seeds
    assert len(set(mutants)) > 40
    assert mutants == [mutant(FORMATS[name], seeds, 0, number) for number in range(60)]
    assert mutants[len(seeds) :] != [mutant(FORMATS[name], seeds, 1, n) for n in range(len(seeds), 60)]
