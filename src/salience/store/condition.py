"""What `where` may say: comparisons of columns with values, joined by AND, OR, NOT and parentheses. Nothing else.

    condition   = column = value     and != <> < <= > >=, a column in the value's place too
                | column [NOT] IN (value, ...) | column [NOT] BETWEEN value AND value | column [NOT] LIKE text
                | column IS [NOT] NULL

It is read here and written anew, because an engine understands more: functions that make text of any length until
there is no memory left, other tables, expressions so deep that reading them ends the process.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NoReturn

from salience.errors import UserError
from salience.units import printable

LONGEST = 20_000  # characters
DEEPEST = 20  # parentheses and NOTs within each other
LARGEST = 2**63  # of a column of integers, and one beyond it
EXAMPLE = "write one like: label = 'shirt' AND x > 0"
SIGNS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
TOKEN = re.compile(
    r"""\s*(?: (?P<text>'(?:[^']|'')*') | (?P<quoted>"[^"]*"|`[^`]*`)
    | (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?!\w)) | (?P<word>[^\W\d]\w*)
    | (?P<sign><=|>=|<>|!=|==|[=<>(),]) )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Condition:
    """sql: for the engine;  columns: those it looks at"""

    sql: str
    columns: frozenset[str]


def parse(expression: str, columns: Mapping[str, str], whole: Collection[str] = ()) -> Condition:
    """columns: name -> "text" or "number". A number beside a column of text is compared as it is written, as text.

    whole: columns of numbers that the engine keeps as integers; to compare one with 1.5 it has to be converted

    Errors: UserError that begins with "where: " and quotes what cannot be read.
    """
    if not expression.strip():
        raise UserError(f"where: '{expression}' is not a condition; {EXAMPLE}")
    if len(expression) > LONGEST:
        raise UserError(f"where: a condition of {len(expression):,} characters; write at most {LONGEST:,}")
    if any("\ud800" <= character <= "\udfff" for character in expression):  # of a byte that is no text
        raise UserError("where: it contains bytes that are not UTF-8; write the condition in UTF-8")
    reader = _Reader(expression, columns, whole)
    sql = reader.any_of(0)
    if reader.kind is not None:
        reader.refuse("AND, OR, or the end")
    return Condition(sql, frozenset(reader.used))


class _Reader:
    """Goes from token to token.  kind, value: of the one it stands at; None, "" at the end"""

    def __init__(self, expression: str, columns: Mapping[str, str], whole: Collection[str]):
        self.expression = expression
        self.columns = columns
        self.whole = whole
        self.used: set[str] = set()
        self.end = 0
        self.next()

    def next(self) -> str:
        """Moves on.  -> the value it stood at"""
        before = getattr(self, "value", "")
        self.begin = self.end
        if not self.expression[self.begin :].strip():
            self.kind, self.value = None, ""
            return before
        match = TOKEN.match(self.expression, self.begin)
        if match is None:
            self.value = self.expression[self.begin :].split()[0]
            self.refuse("a column, a value, or a sign of comparison")
        self.kind, self.end = match.lastgroup, match.end()
        self.value = match[self.kind or 0]
        return before

    def any_of(self, depth: int) -> str:
        parts = [self.all_of(depth)]
        while self.took("OR"):
            parts.append(self.all_of(depth))
        return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"

    def all_of(self, depth: int) -> str:
        parts = [self.one(depth)]
        while self.took("AND"):
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else f"({' AND '.join(parts)})"

    def one(self, depth: int) -> str:
        if depth > DEEPEST:
            raise UserError(f"where: more than {DEEPEST} parentheses and NOTs inside each other; use fewer")
        if self.took("NOT"):
            return f"(NOT {self.one(depth + 1)})"
        if self.took("("):
            inner = self.any_of(depth + 1)
            self.expect(")")
            return inner
        return self.comparison()

    def comparison(self) -> str:
        column = self.column()
        self.fits = True  # whether the values after it are such as the column is kept in
        quoted = f"`{column}`"
        if self.took("IS"):
            negated = "NOT " * self.took("NOT")
            self.expect("NULL")
            return f"({quoted} IS {negated}NULL)"
        negated = "NOT " * self.took("NOT")
        if self.took("IN"):
            values = ", ".join(self.values(column))
            return f"({self.converted(quoted)} {negated}IN ({values}))"
        if self.took("BETWEEN"):
            low = self.term(column)
            self.expect("AND")
            high = self.term(column)
            return f"({self.converted(quoted)} {negated}BETWEEN {low} AND {high})"
        if self.columns[column] == "text" and self.took("LIKE"):
            return f"({quoted} {negated}LIKE {self.text()})"
        if negated or self.value not in SIGNS:
            like = "LIKE, " * (self.columns[column] == "text")
            self.refuse(f"{like}IN or BETWEEN" if negated else f"{like}IN, BETWEEN, IS NULL, =, !=, <, <=, > or >=")
        sign, value = SIGNS[self.next()], self.term(column)
        return f"({self.converted(quoted)} {sign} {value})"

    def converted(self, quoted: str) -> str:
        return quoted if self.fits else f"CAST({quoted} AS DOUBLE)"

    def values(self, column: str) -> list[str]:
        self.expect("(")
        found = [self.term(column)]
        while self.took(","):
            found.append(self.term(column))
        self.expect(")")
        return found

    def column(self) -> str:
        if self.kind not in ("word", "quoted"):
            self.refuse("a column's name")
        name = self.value if self.kind == "word" else self.value[1:-1]
        if (found := self.named(name)) is None:
            near = difflib.get_close_matches(name, self.columns, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"its columns are: {', '.join(self.columns)}"
            raise UserError(f"where: there is no column '{printable(name)}'; {remedy}")
        self.next()
        self.used.add(found)
        return found

    def named(self, name: str) -> str | None:
        """The column of this name, or of one that differs in capitals alone."""
        if name in self.columns:
            return name if "`" not in name else None
        alike = [one for one in self.columns if one.lower() == name.lower()]
        return alike[0] if len(alike) == 1 else None

    def term(self, column: str) -> str:
        """A value that fits the column, or another column. Text may stand in "double quotes" too."""
        text = self.columns[column] == "text"
        if self.kind == "word" and text and self.named(self.value) is None:
            raise UserError(f"where: there is no column '{printable(self.value)}'; put text in quotes: '{self.value}'")
        if self.kind == "word" or (self.kind == "quoted" and self.named(self.value[1:-1]) is not None):
            return f"`{self.column()}`"
        if self.kind == "number":
            return f"'{self.next()}'" if text else self.number(column)
        if self.kind not in ("text", "quoted"):
            self.refuse("a value, such as 3 or 'shirt'")
        if not text:
            came = printable(self.value)
            raise UserError(f"where: {column} holds numbers, and {came} is none; compare it with a number")
        return self.text()

    def number(self, column: str) -> str:
        """As the engine reads it, which knows no sign +."""
        written = self.next().removeprefix("+")
        whole = re.fullmatch("-?[0-9]+", written) is not None and -LARGEST <= int(written) < LARGEST
        self.fits = self.fits and (whole or column not in self.whole)
        return written

    def text(self) -> str:
        if self.kind not in ("text", "quoted"):
            self.refuse("text in quotes")
        inner = self.value[1:-1]
        inner = inner if self.kind == "text" else inner.replace("'", "''")
        self.next()
        return f"'{inner}'"

    def took(self, word: str) -> bool:
        """Whether it stood at this word or sign, and moved on."""
        if self.kind not in ("word", "sign") or self.value.upper() != word:
            return False
        self.next()
        return True

    def expect(self, word: str) -> None:
        if not self.took(word):
            self.refuse(word)

    def refuse(self, wanted: str) -> NoReturn:
        came = f"at '{printable(self.value)}'" if self.value else "at its end"
        shown = self.expression if len(self.expression) <= 80 else f"{self.expression[:80]}..."
        raise UserError(f"where: '{printable(shown)}' cannot be read {came}; {wanted} was expected; {EXAMPLE}")
