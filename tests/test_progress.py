"""A bar on a terminal, lines elsewhere. No test waits: the thread that tells is woken by hand."""

import io
import re
import threading
from types import SimpleNamespace

import pytest

from salience import progress
from salience.progress import EVERY, LineProgress, Lines, progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Wakes the thread that tells each time a test says so."""

    def __init__(self):
        self.asked, self.go, self.told, self.over = [], threading.Semaphore(0), threading.Semaphore(0), False

    def wait(self, seconds):
        if self.asked:
            self.told.release()
        self.asked.append(seconds)
        self.go.acquire()
        return self.over

    def half_a_minute(self):
        self.go.release()
        self.told.acquire()

    def end(self):
        self.over = True
        self.go.release()


@pytest.fixture
def log(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=out))
    return out


@pytest.fixture
def clock(monkeypatch):
    ours = Clock()
    monkeypatch.setattr(progress, "LineProgress", lambda **known: LineProgress(wait=ours.wait, **known))
    return ours


def test_in_a_log_a_line_every_half_minute_with_the_time_left(log, clock):
    with progress_bar(4000, "embedding", True) as bar:
        bar.update(1000)
        assert log.getvalue() == ""
        clock.half_a_minute()
        bar.set_postfix(loss="0.5", refresh=False)
        bar.update(1000)
        clock.half_a_minute()
        clock.end()
    first, second = log.getvalue().splitlines()
    assert re.fullmatch(r"embedding: 1.00k of 4.00k items \(25 %\), \d\d:\d\d left", first)
    assert re.fullmatch(r"embedding: 2.00k of 4.00k items \(50 %\), \d\d:\d\d left, loss=0.5", second)
    assert clock.asked == [EVERY] * 3
    assert EVERY == 30


def test_work_of_unknown_length_and_work_that_cannot_be_counted_are_told_too(log, clock):
    with progress_bar(None, "download", True, "B") as bar:
        bar.update(1500)
        clock.half_a_minute()
        clock.end()
    assert re.fullmatch(r"download: 1.50k B in \d\d:\d\d\n", log.getvalue())


def test_work_that_cannot_be_counted_tells_how_long_it_has_taken(log, clock):
    with progress_bar(None, "building the index", True, ""):
        clock.half_a_minute()
        clock.end()
    assert re.fullmatch(r"building the index: \d\d:\d\d so far\n", log.getvalue())


def test_training_that_goes_on_counts_what_was_done_before(log, clock):
    with progress_bar(100, "training", True, "steps", initial=50, scale=False) as bar:
        bar.update()
        clock.half_a_minute()
        clock.end()
    assert log.getvalue().startswith("training: 51 of 100 steps (51 %), ")


def test_short_work_leaves_nothing_in_a_log_and_no_thread(log):
    before = threading.active_count()
    with progress_bar(10, "embedding", True) as bar:
        for _ in range(10):
            bar.update()
    assert log.getvalue() == ""
    assert threading.active_count() == before


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal))
    with progress_bar(10, "embedding", True) as bar:
        bar.update(10)
        bar.refresh()
    assert "embedding: 100%|" in terminal.getvalue()


def test_where_it_is_not_shown_nothing_is_written(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal))
    with progress_bar(10, "embedding", False) as bar:
        bar.set_postfix(loss="1", refresh=False)
        bar.update(10)
        bar.refresh()
    assert terminal.getvalue() == ""


def test_what_redraws_a_bar_becomes_a_line():
    out = io.StringIO()
    lines = Lines(out)
    for text in ("\rone of two   ", "\n", "\r", "\x1b[A", "two"):
        lines.write(text)
    assert out.getvalue() == "one of two\ntwo\n"
