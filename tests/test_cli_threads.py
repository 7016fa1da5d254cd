"""--threads is taken by every verb that computes, and obeyed."""

import inspect

import pytest
import torch

import salience.verbs.describe
from salience.cli import main, threads
from salience.processors import Free
from salience.verbs import table

COMPUTES_NOTHING = {"methods", "doctor", "compare"}


@pytest.fixture
def seen(monkeypatch):
    """The threads that `data` finds itself with."""
    counts = []

    def describe(*_, **__):
        counts.append(torch.get_num_threads())
        raise salience.UserError("source: enough is known")

    monkeypatch.setattr(salience.verbs.describe, "describe", describe)
    return counts


@pytest.mark.parametrize("verb", table.names())
def test_every_verb_that_computes_takes_it(verb, capsys):
    assert main([verb, *(["simclr"] if verb == "fit" else []), "--help"]) == 0
    assert ("--threads" in capsys.readouterr().out) is (verb not in COMPUTES_NOTHING)


@pytest.mark.parametrize(("free", "argv", "used"), [(8, ["--threads", "3"], 3), (5, [], 5), (5, ["--threads=2"], 2)])
def test_as_many_are_used_as_were_given_or_are_free(monkeypatch, capsys, seen, free, argv, used):
    monkeypatch.setattr(threads.processors, "free_cores", lambda: Free(free, 8, 3.2))
    monkeypatch.setattr(threads.processors, "machine_cores", lambda: 8)
    before = torch.get_num_threads()
    assert main(["data", "digits", *argv]) == 2
    assert seen == [used]
    assert torch.get_num_threads() == before
    told = "note: 8 cores, but the machine is busy (load 3.2): using 5 threads; use --threads N to change this"
    err = capsys.readouterr().err
    assert (told in err) is (not argv)
    assert "were asked for" not in err


@pytest.mark.filterwarnings("default:threads:salience.errors.Note")
@pytest.mark.parametrize(("asked", "used"), [("8", 8), ("9", 8), ("1000", 8)])
def test_more_threads_than_the_machine_has_cores_are_cut_to_them_and_told(monkeypatch, capsys, seen, asked, used):
    monkeypatch.setattr(threads.processors, "machine_cores", lambda: 8)
    assert main(["data", "digits", "--threads", asked]) == 2
    assert seen == [used]
    told = f"note: threads: {int(asked):,} requested, but the machine has 8 cores; using 8\n"
    assert (told in capsys.readouterr().err) is (asked != "8")


def test_a_machine_that_is_free_is_used_as_it_is(monkeypatch, capsys, seen):
    monkeypatch.setattr(threads.processors, "free_cores", lambda: Free(8, 8, 0.2))
    assert main(["data", "digits"]) == 2
    assert seen == [torch.get_num_threads()]
    assert "note" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "said"),
    [("0", "--threads: 0 is out of range"), ("-1", "--threads: -1 is out"), ("2.5", "'2.5' is not a whole")],
)
def test_what_is_no_number_of_threads_is_refused(capsys, seen, count, said):
    assert main(["data", "digits", "--threads", count]) == 2
    assert said in capsys.readouterr().err
    assert seen == []


def test_the_verb_keeps_its_own_signature():
    def verb(source: str, /, *, k: int = 1) -> int:
        return k

    wrapped = threads.with_threads(verb)
    assert list(inspect.signature(wrapped).parameters) == ["source", "k", "threads"]
