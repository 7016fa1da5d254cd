"""What methods declare of their health: read from the source as the class has it, and about values they report."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from string import Formatter

import pytest

import salience
from salience import catalogue
from salience.batch import Progress
from salience.methods import Method, method_class
from salience.source_values import value_of
from salience.warning_signs import Declared, Ordinary, Sign
from tests.contract import build, structured_images

HEALTH = Path(salience.__file__).parent / "health"
ENTRIES = catalogue.entries()
OPTIONS = {option.name for entry in ENTRIES for option in entry.options} - {"steps"}  # of the training, in every config
OF_FIT = {"learning-rate", "epochs", "batch-size"}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_what_is_read_from_the_source_is_what_the_class_declares(entry: catalogue.Entry) -> None:
    method = method_class(entry.name)
    names = ("signs", "ordinary", "keeps_items_apart", "constrains_codes")
    assert entry.health == Declared(**{name: getattr(method, name) for name in names if hasattr(method, name)})


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.health.signs], ids=lambda entry: entry.name)
def test_signs_are_about_values_that_the_method_reports(entry: catalogue.Entry) -> None:
    data = structured_images(labelled=True)
    method = build(entry.name, data)
    assert isinstance(method, Method)
    batch, at = data.batch(range(64)), Progress(0, 10)
    method.loss(batch, at)  # SwAV counts which prototypes its batches use
    method.after_step(at)
    reported = set(method.eval().vitals(batch, at))
    for sign in entry.health.signs:
        values = {value for name in sign.values for value in name.split(" / ")}
        assert values <= reported
        assert {name for _, name, _, _ in Formatter().parse(sign.why) if name} <= reported
        assert (sign.below is None) != (sign.above is None)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_ordinary_values_and_remedies_name_options_there_are(entry: catalogue.Entry) -> None:
    own = {option.name: option for option in entry.options}
    for ordinary in entry.health.ordinary:
        option = own[ordinary.option]
        assert option.default == catalogue.AUTO or ordinary.low <= option.default <= ordinary.high
        assert option.default != ordinary.off
    texts = [sign.change for sign in entry.health.signs] + [one.change for one in entry.health.ordinary]
    texts += [entry.health.keeps_items_apart, entry.health.constrains_codes]
    named = {name for text in texts for name in re.findall(r"--([a-z-]+)", text)}
    assert named <= OF_FIT | {name.replace("_", "-") for name in own}


def literals(path: Path) -> list[str]:
    """The texts in a file, without docstrings."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in texts if id(node) not in docs]


def options_named(text: str) -> set[str]:
    """Options of methods that a text is, or offers to the user."""
    return OPTIONS & {text, *(name.replace("-", "_") for name in re.findall(r"--([a-z-]+)", text))}


@pytest.mark.parametrize("path", sorted(HEALTH.glob("*.py")), ids=lambda path: path.name)
def test_health_names_no_option_of_any_method(path: Path) -> None:
    assert not [text for text in literals(path) if options_named(text)]
    assert not [text for text in literals(path) if set(re.findall(r"\w+", text)) & set(catalogue.names())]


def test_an_option_that_is_named_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("'momentum'\nx = 'momentum'\ny = f'{x}; a smaller --penalty-weight'\nz = 'the momentum'\n")
    assert [text for text in literals(path) if options_named(text)] == ["momentum", "; a smaller --penalty-weight"]


def test_values_are_read_where_they_stand_and_where_they_are_imported_from(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("from salience.methods.teachers import STILL_TEACHER\nLOW = 0.5\n")
    text = "(Sign(('a',), 'w', 'y', 'c', 'k', below=LOW), STILL_TEACHER, {'x': (1, -2.0)})"
    sign, still, plain = value_of(ast.parse(text, mode="eval").body, path)
    assert sign == Sign(("a",), "w", "y", "c", "k", below=0.5)
    assert isinstance(still, Ordinary)
    assert (still.option, still.off) == ("momentum", 1)
    assert plain == {"x": (1, -2.0)}
    for bad in ("open('x')", "UNKNOWN", "(1).real"):
        with pytest.raises(ValueError):
            value_of(ast.parse(bad, mode="eval").body, path)


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_method_and_its_training_load_no_other_method() -> None:
    loaded = loaded_by("import salience.training; from salience.methods import method_class; method_class('simclr')")
    families = {path.parent.name for path in catalogue.METHODS.glob("*/*.py")}
    methods = {name for name in loaded if name.startswith("salience.methods.") and name.split(".")[2] in families}
    assert methods == {"salience.methods.contrastive", "salience.methods.contrastive.simclr"}
    assert not [name for name in loaded if name.startswith("salience.evaluation")]


def test_a_diagnosis_loads_no_torch() -> None:
    assert "torch" not in loaded_by("import salience.health.diagnosis as d; d.diagnose({}, {'method': 'dino'})")
