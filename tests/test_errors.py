"""What a user is told, as the source has it."""

import ast
import re
from pathlib import Path

import pytest

import salience
from salience.errors import MissingPackage, UserError, naming

SOURCE = Path(salience.__file__).parent
NAMED = re.compile(r"[A-Za-z]\w*(, \w+)*: ")
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent.name != "cli")


def beginnings(path):
    """(line, text before the first inserted value) of each literal message."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("UserError", "MissingPackage"):
            said = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
            if isinstance(said, ast.Constant):
                yield node.lineno, said.value


def test_every_message_begins_with_the_argument_as_python_has_it():
    messages = [(path, *found) for path in FILES for found in beginnings(path)]
    assert len(messages) > 80
    wrong = [f"{path}:{line}: {said}" for path, line, said in messages if not NAMED.match(said)]
    shouted = [f"{path}:{line}: {said}" for path, line, said in messages if re.match(r"[A-Z]{2,}:", said)]
    assert wrong + shouted == []


def test_what_is_refused_within_is_named_as_outside():
    with pytest.raises(MissingPackage, match=r"^on: hf:// needs datasets"), naming("on", "source"):
        raise MissingPackage("source: hf:// needs datasets")
    with pytest.raises(UserError, match=r"^labels: no source: here"), naming("on", "source"):
        raise UserError("labels: no source: here")
