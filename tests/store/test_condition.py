import re
import sqlite3

import numpy as np
import pytest

from salience.errors import UserError
from salience.store.condition import DEEPEST, LONGEST, parse

COLUMNS = {"id": "text", "label": "text", "x": "number", "cluster": "number", "two words": "text", "whole": "number"}


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        ("label = 'shirt'", "(`label` = 'shirt')"),
        ('label = "shirt"', "(`label` = 'shirt')"),
        ('"label" == "it\'s"', "(`label` = 'it''s')"),
        ("label = 3", "(`label` = '3')"),
        ("LABEL<>-3.50", "(`label` != '-3.50')"),
        ("cluster=3", "(`cluster` = 3)"),
        ("x > +1", "(`x` > 1)"),
        ("x in (+1, -2)", "(`x` IN (1, -2))"),
        ("label = +1", "(`label` = '+1')"),
        ("whole >= +2 and whole < 2.5", "((`whole` >= 2) AND (CAST(`whole` AS DOUBLE) < 2.5))"),
        ("whole in (1, 2.0)", "(CAST(`whole` AS DOUBLE) IN (1, 2.0))"),
        ("whole = 9223372036854775808", "(CAST(`whole` AS DOUBLE) = 9223372036854775808)"),
        ("whole between 1 and 9223372036854775807", "(`whole` BETWEEN 1 AND 9223372036854775807)"),
        ("x > -1.5e-3", "(`x` > -1.5e-3)"),
        ("x >= .5 and x<1.", "((`x` >= .5) AND (`x` < 1.))"),
        ("x > cluster", "(`x` > `cluster`)"),
        ("label IN (3, '4')", "(`label` IN ('3', '4'))"),
        ("label not in ('a')", "(`label` NOT IN ('a'))"),
        ("x between 1 and 2 and label is not null", "((`x` BETWEEN 1 AND 2) AND (`label` IS NOT NULL))"),
        ("label like '%boot' or label is null", "((`label` LIKE '%boot') OR (`label` IS NULL))"),
        ("not (x > 1 or x < 0)", "(NOT ((`x` > 1) OR (`x` < 0)))"),
        ("x>1 or x<0 and cluster=2", "((`x` > 1) OR ((`x` < 0) AND (`cluster` = 2)))"),
        ("`two words` = ';--'", "(`two words` = ';--')"),
    ],
)
def test_what_can_be_said(expression, sql):
    assert parse(expression, COLUMNS, ["whole"]).sql == sql


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "is not a condition"),
        ("  ", "is not a condition"),
        ("x > 1; DROP TABLE items", "cannot be read at ';'"),
        ("x > 1 -- all", "cannot be read at '--'"),
        ("x > 1 /* all */", "cannot be read at '/*'"),
        ("x > 1 LIMIT 3", "cannot be read at 'LIMIT'"),
        ("x > 1 UNION SELECT * FROM items", "cannot be read at 'UNION'"),
        ("id IN (SELECT id FROM items)", "no column 'SELECT'"),
        ("EXISTS (SELECT 1)", "no column 'EXISTS'"),
        ("repeat(label, 1000000000) = 'a'", "no column 'repeat'"),
        ("label = repeat('a', 9)", "no column 'repeat'"),
        ("read_csv('/etc/passwd') = 1", "no column 'read_csv'"),
        ("x + 1 > 2", "cannot be read at '+'"),
        ("1 = 1", "cannot be read at '1'; a column's name was expected"),
        ("vector IS NOT NULL", "no column 'vector'"),
        ("_rowid = 3", "no column '_rowid'"),
        ("lable = 'a'", "no column 'lable'; did you mean label?"),
        ("label = shirt", "no column 'shirt'; put text in quotes: 'shirt'"),
        ("label = 'shirt", "cannot be read at ''shirt'"),
        ("x > 'abc'", "x holds numbers, and 'abc' is none"),
        ("x like 'a%'", "cannot be read at 'like'"),
        ("x >", "cannot be read at its end; a value"),
        ("x", "cannot be read at its end"),
        ("(x > 1", "cannot be read at its end; ) was expected"),
        ("x > 1 and", "at its end; a column's name was expected"),
        ("x > 1 x", "cannot be read at 'x'; AND, OR, or the end"),
        ("x > ?", "cannot be read at '?'"),
        ("x > 1a", "cannot be read at '1a'"),
        ("x > ١", "cannot be read at '١'"),
        ("x > 1١", "cannot be read at '1١'"),
        ("x > 1e١", "cannot be read at '1e١'"),
        ("x > ++1", "cannot be read at '++1'"),
        ("(" * (DEEPEST + 2) + "x > 1" + ")" * (DEEPEST + 2), f"more than {DEEPEST} parentheses"),
        ("NOT " * 4000 + "x > 1", f"more than {DEEPEST} parentheses and NOTs"),
        ("x > 1 AND " * LONGEST, "write at most 20,000"),
    ],
)
def test_what_cannot(expression, complaint):
    with pytest.raises(UserError, match=rf"^where: .*{re.escape(complaint)}"):
        parse(expression, COLUMNS)


def test_what_it_looks_at_is_known():
    assert parse("x > 1 AND NOT Label = id", COLUMNS).columns == {"x", "label", "id"}


def test_names_that_differ_in_capitals_alone_are_kept_apart():
    columns = {"Label": "text", "label": "text"}
    assert parse("Label = 'a'", columns).sql == "(`Label` = 'a')"
    with pytest.raises(UserError, match="no column 'LABEL'"):
        parse("LABEL = 'a'", columns)


def random_condition(random, depth=0):
    """An expression without parentheses but where they are needed, spaced at random."""
    if depth == 3 or random.random() < 0.3:
        sign = random.choice(["=", "!=", "<", "<=", ">", ">=", "<>"])
        return f"{random.choice(['x', 'cluster'])} {sign} {random.integers(-2, 3)}"
    first, second = (random_condition(random, depth + 1) for _ in range(2))
    kind = random.choice(["AND", "OR", "NOT", "()"])
    if kind == "NOT":
        return f"NOT ({first})"
    return f"({first})" if kind == "()" else f"{first}  {kind} {second}"


def test_the_order_of_and_or_and_not_is_that_of_sql():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x INTEGER, cluster INTEGER)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, j) for i in range(-2, 3) for j in range(-2, 3)])
    random = np.random.default_rng(0)
    for _ in range(200):
        said = random_condition(random)
        meant, read = (
            connection.execute(f"SELECT * FROM t WHERE {one}").fetchall() for one in (said, parse(said, COLUMNS).sql)
        )
        assert meant == read, said


def test_a_byte_that_is_no_text_is_refused_as_such():
    with pytest.raises(UserError, match="where: it contains bytes that are not UTF-8"):
        parse("id = '\udcff'", {"id": "text"})
