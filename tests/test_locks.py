import errno
import os
import threading

import pytest

from salience.errors import UserError
from salience.locks import hold


def test_one_at_a_time(tmp_path):
    with hold(tmp_path / "lock") as held:
        assert held.intact
        with pytest.raises(UserError, match=r"^taken$"), hold(tmp_path / "lock", "taken"):
            raise AssertionError("held twice")
        with hold(tmp_path / "other", "taken"):
            pass
    assert not list(tmp_path.iterdir())
    assert not held.intact
    with hold(tmp_path / "lock", "taken"):
        pass


def test_without_a_refusal_it_waits_its_turn(tmp_path):
    """Each adds one to a number it has read before; two at once would lose one."""
    number, problems = tmp_path / "number", []
    number.write_text("0")

    def add():
        try:
            for _ in range(20):
                with hold(tmp_path / "lock"):
                    known = int(number.read_text())
                    os.sched_yield()
                    number.write_text(str(known + 1))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert number.read_text() == "80"


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"), hold(tmp_path / "gone" / "lock"):
        raise AssertionError("held")
    assert not list(tmp_path.iterdir())


def test_the_file_of_another_holder_is_left_alone(tmp_path):
    with hold(tmp_path / "lock") as held:
        (tmp_path / "lock").rename(tmp_path / "moved")
        (tmp_path / "lock").touch()
        assert not held.intact
    assert (tmp_path / "lock").exists()


def test_an_error_lets_go(tmp_path):
    with pytest.raises(KeyError), hold(tmp_path / "lock"):
        raise KeyError
    with hold(tmp_path / "lock", "taken"):
        pass


def test_a_disk_that_knows_no_locks_is_gone_on_with_only_where_that_is_allowed(tmp_path, monkeypatch):
    def unsupported(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("filelock.FileLock.acquire", unsupported)
    with pytest.raises(OSError, match="lock"), hold(tmp_path / "lock"):
        raise AssertionError("held")
    with hold(tmp_path / "lock", optional=True) as held:
        assert not held.intact
