"""Labels given by hand are saved when `mark` returns, undone one action at a time, and survive whatever happens."""

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from salience.errors import UserError
from salience.store.marks import Action, Marks


@pytest.fixture
def marks(tmp_path):
    return Marks(tmp_path / "marks.sqlite")


def test_nothing_is_written_before_the_first_label(marks):
    assert (marks.version, marks.all(), marks.last(), marks.undo()) == (0, {}, None, None)
    other = Marks(marks.path.with_name("other.sqlite"))
    assert (other.version, other.all(), other.snapshot()) == (0, {}, (0, {}))
    assert not other.path.exists()


def test_labels_are_given_changed_and_taken_away(marks):
    assert marks.mark(["a", "b", "c"], "boot") == Action(1, "boot", 3)
    assert marks.mark(["b", "d"], "shoe") == Action(2, "shoe", 2)
    assert marks.mark(["a"], None) == Action(3, None, 1)
    assert marks.all() == {"b": "shoe", "c": "boot", "d": "shoe"}
    assert Marks(marks.path).all() == marks.all()


def test_items_that_have_the_label_already_are_no_action(marks):
    marks.mark(["a", "b"], "boot")
    version = marks.version
    assert marks.mark(["a", "a", "c", "c"], "boot").count == 1
    assert marks.mark(["a", "b", "c"], "boot").count == 0
    assert marks.mark(["x"], None).count == 0
    assert marks.mark([], "boot").count == 0
    assert marks.last() == Action(2, "boot", 1)
    assert marks.version > version


def test_undo_takes_back_one_action_after_another(marks):
    states = [{}]
    for ids, label in ((["a", "b"], "boot"), (["b", "c"], "shoe"), (["a", "b"], None), (["a"], "hat")):
        marks.mark(ids, label)
        states.append(marks.all())
    versions = [marks.version]
    for state in reversed(states[:-1]):
        last = marks.last()
        assert marks.undo() == last
        assert marks.all() == state
        versions.append(marks.version)
    assert sorted(set(versions)) == versions
    assert marks.undo() is None


def test_after_an_undo_new_labels_are_undone_first(marks):
    marks.mark(["a"], "boot")
    marks.mark(["a"], "shoe")
    marks.undo()
    marks.mark(["b"], "hat")
    assert marks.undo() == Action(3, "hat", 1)
    assert marks.undo() == Action(1, "boot", 1)
    assert marks.all() == {}


def test_text_is_kept_as_it_is(marks):
    odd = ["", "'; DROP TABLE marks; --", "ü/ß\n\t", "a" * 10_000]
    for label in odd:
        marks.mark(odd, label)
        assert marks.all() == dict.fromkeys(odd, label)


def test_many_items_at_once(marks):
    ids = [f"item-{number}" for number in range(100_000)]
    assert marks.mark(ids, "all").count == 100_000
    assert marks.undo() == Action(1, "all", 100_000)
    assert marks.all() == {}


def test_a_snapshot_belongs_to_its_version(marks):
    """While another thread marks one item after another, version and labels are always of one moment."""

    def work():
        for number in range(60):
            marks.mark([str(number)], "boot")

    writer, seen = threading.Thread(target=work), []
    writer.start()
    while writer.is_alive() or not seen:
        seen.append(Marks(marks.path).snapshot())
    writer.join()
    seen.append(marks.snapshot())
    assert all(labels == {str(number): "boot" for number in range(version)} for version, labels in seen)
    assert seen[-1][0] == 60


class StoppedError(BaseException):
    """As Ctrl-C: no Exception."""


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("undoing", [False, True])
def test_a_stop_after_any_change_of_the_file_takes_all_of_it_back(marks, monkeypatch, after, undoing):
    """The action, its changes, the labels and the version are written one after another; each time it stops there."""
    marks.mark(["a", "c"], "boot")
    marks.mark(["c"], "hat")
    before = (marks.version, marks.all(), marks.last())
    plain, written = sqlite3.connect, []

    class Connection(sqlite3.Connection):
        def execute(self, statement, *values):
            done = super().execute(statement, *values)
            self.count(statement)
            return done

        def executemany(self, statement, values):
            done = super().executemany(statement, values)
            self.count(statement)
            return done

        def count(self, statement):
            if statement.startswith(("INSERT INTO actions", "INSERT INTO changes", "INSERT OR", "DELETE", "UPDATE")):
                written.append(statement)
                if len(written) == after + 1:
                    raise StoppedError

    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: plain(*given, **named, factory=Connection))
    with pytest.raises(StoppedError):
        marks.undo() if undoing else marks.mark(["b", "c"], "shoe")
    monkeypatch.undo()
    assert len(written) == after + 1
    for reader in (marks, Marks(marks.path)):
        assert (reader.version, reader.all(), reader.last()) == before
    assert marks.mark(["b"], "shoe").count == 1  # nobody holds the file
    assert marks.all() == {"a": "boot", "c": "hat", "b": "shoe"}


def test_an_id_that_is_none_changes_nothing(marks):
    marks.mark(["a"], "boot")
    version = marks.version
    with pytest.raises(sqlite3.Error):
        marks.mark(["b", object()], "shoe")
    assert (marks.version, marks.all(), marks.last()) == (version, {"a": "boot"}, Action(1, "boot", 1))


@pytest.mark.parametrize("shared", [True, False])
def test_threads_lose_no_label(marks, shared):
    def work(number):
        mine = marks if shared else Marks(marks.path)  # as another process would
        for at in range(5):
            mine.mark([f"{number}-{at}", "shared"], str(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = marks.all()
    assert len(labels) == 31
    assert all(labels[f"{number}-{at}"] == str(number) for number in range(6) for at in range(5))
    while marks.undo():
        pass
    assert marks.all() == {}


WRITER = """
import sys
from pathlib import Path
from salience.store.marks import Marks
marks = Marks(Path(sys.argv[1]))
for number in range(100_000):
    marks.mark([f"{number}-{part}" for part in range(20)], str(number))
    print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_it_had_saved(marks):
    command = [sys.executable, "-c", WRITER, str(marks.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(10)][-1]
        process.send_signal(signal.SIGKILL)
        seen = max([seen, *map(int, process.stdout.read().split())])
    labels = marks.all()
    saved = len(labels) // 20
    assert saved in (seen + 1, seen + 2)
    assert labels == {f"{number}-{part}": str(number) for number in range(saved) for part in range(20)}
    assert marks.undo() == Action(saved, str(saved - 1), 20)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "marks.sqlite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^store: .*marks.sqlite is damaged") as refused:
        Marks(path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == content


DAMAGE = (
    ("UPDATE marks SET label = x'00ff'", "it holds a bytes of 2 in the place of a text"),
    ("UPDATE marks SET label = CAST(x'ff41' AS TEXT)", "Could not decode to UTF-8"),
    ("UPDATE marks SET id = CAST(id AS BLOB)", "it holds a bytes of 1 in the place of a text"),
    ("DELETE FROM state", "it holds None in the place of a whole number"),
    ("UPDATE state SET version = 'many'", "it holds 'many' in the place of a whole number"),
    ("UPDATE changes SET before = x'01'", "it holds a bytes of 1 in the place of a text"),
    ("UPDATE actions SET label = x'02'", "it holds a bytes of 1 in the place of a text"),
    ("ALTER TABLE actions RENAME COLUMN time TO t\xee", "no column named time"),
    ("DROP TABLE changes", "no such table"),
    ("ALTER TABLE marks RENAME TO m\xef", "no such table"),
)


@pytest.mark.parametrize(("statement", "said"), DAMAGE, ids=range(len(DAMAGE)))
def test_what_is_in_the_file_and_not_ours_is_damage_and_named(tmp_path, statement, said):
    path = tmp_path / "marks.sqlite"
    Marks(path).mark(["a", "b"], "cat")
    Marks(path).mark(["a"], "dog")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)

    def use():
        marks = Marks(path)
        marks.all(), marks.last(), marks.undo(), marks.mark(["a"], "cow")

    with pytest.raises(UserError, match=rf"^store: .*marks.sqlite is damaged \(.*{re.escape(said)}.*\)") as refused:
        use()
    assert "\n" not in str(refused.value)


def test_a_schema_that_is_no_text_is_damage(tmp_path):
    """SQLite's own message then holds a name that Python cannot decode."""
    path = tmp_path / "marks.sqlite"
    Marks(path).mark(["a"], "cat")
    content = path.read_bytes()
    assert content.count(b"NOT NULL DEFAULT 0") == 1
    path.write_bytes(content.replace(b"NOT NULL DEFAULT 0", b"NOT NULL DEFAU\xccT 0"))
    with pytest.raises(UserError, match=r"^store: .*marks.sqlite is damaged \(names in it are not text in UTF-8\)"):
        Marks(path)


def test_a_full_disk_is_no_damage(marks, monkeypatch):
    marks.mark(["a"], "cat")
    connect = sqlite3.connect

    def small(*given, **options):
        connection = connect(*given, **options)
        connection.execute("PRAGMA max_page_count = 1")  # not below what there is
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(OSError, match=r"labels cannot be saved .*full"):
        marks.mark([f"{row:0500}" for row in range(100)], "dog")
    monkeypatch.undo()
    assert marks.all() == {"a": "cat"}


def test_a_database_of_somebody_else_is_refused(tmp_path):
    path = tmp_path / "marks.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (a)")
    connection.close()
    with pytest.raises(UserError, match=r"^store: .*marks.sqlite"):
        Marks(path)


def test_a_process_killed_before_its_first_label_leaves_none(tmp_path):
    path = tmp_path / "marks.sqlite"
    path.touch()  # where SQLite's first change begins
    marks = Marks(path)
    assert marks.all() == {}
    marks.mark(["a"], "boot")
    assert marks.all() == {"a": "boot"}
