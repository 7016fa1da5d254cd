"""Files that anybody can have written: read within limits, and never shown whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from salience import untrusted
from salience.untrusted import Damaged, read_json, read_text, read_yaml, shown

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "m0: &m0 {k: v}\n" + "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
BAD_YAML = {
    "aliases": (BOMB, "aliases written out"),
    "merge keys": (MERGES, "aliases written out"),
    "an alias of itself": ("a: &a [*a]", "alias"),
    "an alias of nothing": ("a: *b", "alias"),
    "brackets": ("a: " + "[" * 3000 + "]" * 3000, "nest"),
    "braces": ("a: " + "{b: " * 3000 + "1" + "}" * 3000, "nest"),
    "dashes": ("- " * 3000 + "a", "nest"),
    "a long integer": ("a: " + "9" * 5000, "5,000 characters"),
    "a long hexadecimal": ("a: 0x" + "f" * 5000, "5,002 characters"),
    "a long sexagesimal": ("a: 1" + ":59" * 5000, "characters"),
    "a tagged integer": ("a: !!int '" + "9" * 5000 + "'", "5,000 characters"),
    "a date that is none": ("when: 2024-13-45", "not valid"),
    "an integer that is none": ("a: !!int ''", "not valid"),
    "a timestamp that is none": ("a: !!timestamp x", "not valid"),
    "a call": ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
    "an open bracket": ("a: [", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not valid YAML"),
    "a key that is a list": ("? [1, 2]\n: 3", "not valid YAML"),
    "no text": (b"a: \xff\xfe", "not text in UTF-8"),
}


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("what", BAD_YAML)
def test_yaml_that_is_too_much_or_none_is_refused_in_a_short_line(what: str, tmp_path: Path) -> None:
    content, reason = BAD_YAML[what]
    with pytest.raises(Damaged, match=reason) as problem:
        read_yaml(written(tmp_path, content))
    assert len(str(problem.value)) < 200
    assert "\n" not in str(problem.value)


def test_yaml_within_the_limits_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    shared = [1, 2.5, None, True, "x"]
    known = {"a": shared, "b": shared, "deep": [[[[["é", "1e5", "0123", -7, 0x10]]]]], "when": "2024-01-02"}
    text = yaml.safe_dump(known)
    assert "&id001" in text
    assert read_yaml(written(tmp_path, text)) == known == yaml.safe_load(text)
    assert read_yaml(written(tmp_path, f"a: {'9' * 300}\nb: {'x' * 5000}")) == {"a": int("9" * 300), "b": "x" * 5000}
    depth = untrusted.MOST_DEPTH
    assert read_yaml(written(tmp_path, "[" * depth + "]" * depth)) is not None
    with pytest.raises(Damaged, match="nested"):
        read_yaml(written(tmp_path, "[" * (depth + 1) + "]" * (depth + 1)))


def test_aliases_count_as_often_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, f"a: &a {'x' * 100}\nb: [{', '.join(['*a'] * 5)}]")
    monkeypatch.setattr(untrusted, "MOST_BYTES", 6 * 108 + 4 * untrusted.NODE + 2)
    assert len(read_yaml(path)["b"]) == 5
    monkeypatch.setattr(untrusted, "MOST_BYTES", 6 * 108 + 4 * untrusted.NODE + 1)
    with pytest.raises(Damaged, match="aliases"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested"),
        ("9" * 5000, "5,000 characters"),
        (b"\xff", "UTF-8"),
        ("", "not valid JSON"),
    ],
)
def test_json_that_is_none_is_refused_in_a_short_line(content: str | bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=reason) as problem:
        read_json(written(tmp_path, content))
    assert len(str(problem.value)) < 200


def test_only_plain_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(Damaged):
            read_text(path)
    with pytest.raises(Damaged, match="No such file"):
        read_text(tmp_path / "none")
    path = written(tmp_path, "x" * 11)
    assert read_text(path, 11) == "x" * 11
    with pytest.raises(Damaged, match="larger than"):
        read_text(path, 10)


def test_a_value_is_shown_in_one_short_line() -> None:
    assert shown("many") == "'many'"
    assert shown(-5) == "-5"
    assert shown(None) == "None"
    for value in ("x" * 10**6, "a\nb\x1b[31m", 10**5000, ["x"] * 10**6, {"a": "b" * 10**6}, b"x" * 10**6):
        assert len(shown(value)) <= untrusted.LONGEST_SHOWN
        assert shown(value).isprintable()
