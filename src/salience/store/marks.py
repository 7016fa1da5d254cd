"""Labels given by hand: saved when `mark` returns, undone one action at a time, kept whatever happens to the process.

A file of SQLite, which is what many programs trust with that, beside the items it speaks of; by id, so that appending
and rewriting items leaves them in place.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salience.errors import UserError
from salience.units import printable
from salience.untrusted import shown

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS actions (number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, label TEXT, "
    "undone INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS changes (action INTEGER NOT NULL REFERENCES actions, id TEXT NOT NULL, before TEXT)",
    "CREATE INDEX IF NOT EXISTS changes_of ON changes (action)",
    "CREATE TABLE IF NOT EXISTS marks (id TEXT PRIMARY KEY, label TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS state (version INTEGER NOT NULL)",
    "INSERT INTO state SELECT 0 WHERE NOT EXISTS (SELECT * FROM state)",
)
WORDS = {int: "a whole number", str: "a text", str | None: "a text"}
PATIENCE = 30.0  # seconds that a writer waits for another one


@dataclass(frozen=True)
class Action:
    """One labelling.  number: counts up;  label: None where labels were taken away;  count: items changed"""

    number: int
    label: str | None
    count: int


class Marks:
    """The labels in one file. Safe to use from several threads and processes.

    Errors: UserError where the file is no file of ours.
    """

    def __init__(self, path: Path):
        self.path = path
        self._turn = threading.Lock()  # threads of one process need not wait by polling, as processes do
        if path.exists():
            self.version  # noqa: B018 - a damaged file is refused when it is opened

    @property
    def version(self) -> int:
        """Counts every change, undoing too."""
        with self._reading() as connection:
            return 0 if connection is None else _version(connection)

    def all(self) -> dict[str, str]:
        """id -> label."""
        return self.snapshot()[1]

    def snapshot(self) -> tuple[int, dict[str, str]]:
        """The version and the labels that belong to it."""
        with self._reading() as connection:
            if connection is None:
                return 0, {}
            labels = connection.execute("SELECT id, label FROM marks")
            return _version(connection), dict(_checked(row, str, str) for row in labels)

    def mark(self, ids: Sequence[str], label: str | None) -> Action:
        """Gives these items a label, or takes theirs away. Items that have it already are not counted."""
        with self._writing() as connection:
            known = _labels_of(connection, ids)
            changed = [id for id in dict.fromkeys(ids) if known.get(id) != label]
            if not changed:
                return Action(0, label, 0)
            number = connection.execute(
                "INSERT INTO actions (time, label) VALUES (?, ?)", (time.time(), label)
            ).lastrowid
            assert number is not None
            connection.executemany(
                "INSERT INTO changes VALUES (?, ?, ?)", [(number, id, known.get(id)) for id in changed]
            )
            _set(connection, [(id, label) for id in changed])
            return Action(number, label, len(changed))

    def undo(self) -> Action | None:
        """Takes back the last action that has not been; None where there is none."""
        with self._writing() as connection:
            last = _last(connection)
            if last is not None:
                before = connection.execute(
                    "SELECT id, before FROM changes WHERE action = ?", (last.number,)
                ).fetchall()
                _set(connection, [_checked(row, str, str | None) for row in before])
                connection.execute("UPDATE actions SET undone = 1 WHERE number = ?", (last.number,))
            return last

    def last(self) -> Action | None:
        """What `undo` would take back."""
        with self._reading() as connection:
            return None if connection is None else _last(connection)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """One consistent view; None where nothing was ever marked."""
        if not self.path.exists():
            yield None
            return
        with self._connected() as connection:
            connection.execute("BEGIN")
            begun = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            yield connection if begun else None  # a process was killed before its first label

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, on the disk when it ends."""
        with self._turn, self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in SCHEMA:
                    connection.execute(statement)
                yield connection
                connection.execute("UPDATE state SET version = version + 1")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # of some errors SQLite has taken all back itself
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as problem:
            if isinstance(problem, sqlite3.OperationalError) and not _of_content(problem):
                raise OSError(None, f"labels cannot be saved ({problem})", str(self.path)) from None
            raise self._damaged(str(problem)) from None
        except UnicodeDecodeError:  # of the message about what is damaged
            raise self._damaged("names in it are not text in UTF-8") from None

    def _damaged(self, reason: str) -> UserError:
        said = " ".join(printable(reason).split())[:160]
        return UserError(f"store: {self.path} is damaged ({said}); restore it, or delete it to lose the labels")


def _of_content(problem: sqlite3.Error) -> bool:
    """Whether what the file holds is wrong, not the disk, a lock or a permission: tables, columns or texts."""
    return getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR


def _version(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT version FROM state").fetchone()
    return int(_checked(found or (None,), int)[0])


def _checked(values: tuple[Any, ...], *kinds: Any) -> tuple[Any, ...]:
    """What a row holds, of the kinds it must have: SQLite keeps anything in any column."""
    for value, kind in zip(values, kinds, strict=True):
        if not isinstance(value, kind):
            raise sqlite3.DatabaseError(f"it holds {shown(value)} in the place of {WORDS[kind]}")
    return values


def _labels_of(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, str]:
    connection.execute("CREATE TEMP TABLE asked (id TEXT)")
    connection.executemany("INSERT INTO asked VALUES (?)", [(id,) for id in ids])
    found = connection.execute("SELECT id, label FROM marks WHERE id IN (SELECT id FROM asked)")
    return dict(_checked(row, str, str) for row in found)


def _set(connection: sqlite3.Connection, labels: Sequence[tuple[str, str | None]]) -> None:
    connection.executemany("DELETE FROM marks WHERE id = ?", [(id,) for id, label in labels if label is None])
    given = [(id, label) for id, label in labels if label is not None]
    connection.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", given)


def _last(connection: sqlite3.Connection) -> Action | None:
    found = connection.execute(
        "SELECT number, label FROM actions WHERE NOT undone ORDER BY number DESC LIMIT 1"
    ).fetchone()
    if found is None:
        return None
    number, label = _checked(found, int, str | None)
    count = connection.execute("SELECT count(*) FROM changes WHERE action = ?", (number,)).fetchone()[0]
    return Action(number, label, count)
