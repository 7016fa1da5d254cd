import inspect
import typing
from pathlib import Path
from typing import Literal, get_args, get_origin

import numpy as np
import pytest

from salience import catalogue
from salience.catalogue import CatalogueError, Option
from salience.errors import UserError
from salience.methods import method_class
from salience.units import AUTO

METHOD = '''"""Toy: the idea in one sentence
that goes on.

Somebody 1999, https://example.org/paper.pdf, eq. 3:
    a = b
"""
class Helper: ...
class Toy({kind}):
    """A toy.

    width: of the code
    low, high: where it
        begins and ends
    """
    requires = ("colours",)

    def __init__(self, encoder, *, {arguments}): ...
    def decode(self, codes): ...
    def assign(self, batch): ...
'''


def write(folder: Path, arguments: str = "width: int = 3", kind: str = "Method", name: str = "toy") -> Path:
    path = folder / "family" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(METHOD.format(arguments=arguments, kind=kind))
    return path


def option(folder: Path, argument: str, name: str = "toy") -> Option:
    return catalogue.read(write(folder, argument, name=name)).options[0]


def test_a_file_is_read_without_running_it(tmp_path):
    entry = catalogue.read(write(tmp_path))
    assert (entry.name, entry.class_name, entry.family, entry.kind) == ("toy", "Toy", "family", "Method")
    assert entry.idea == "the idea in one sentence that goes on."
    assert entry.paper == "https://example.org/paper.pdf"
    assert entry.modality == ("image",)
    assert entry.capabilities == ("decodes", "assigns")
    assert entry.formula.endswith("a = b")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("width: int = 3", Option("width", "int", 3, "of the code")),
        ("low: float = -1.5", Option("low", "float", -1.5, "where it begins and ends")),
        ("high: bool = True", Option("high", "bool", True, "where it begins and ends")),
        ("x: int | None = None", Option("x", "int", None, optional=True)),
        ("x: int = Auto", Option("x", "int", AUTO)),
        ("x: Literal['a', 'b'] = 'b'", Option("x", "str", "b", choices=("a", "b"))),
        ("x: Annotated[float, Gt(0), Le(1)] = 0.5", Option("x", "float", 0.5, gt=0, le=1)),
        ("x: Annotated[int, Ge(1), Lt(9)] | None = None", Option("x", "int", None, ge=1, lt=9, optional=True)),
    ],
)
def test_types_bounds_defaults_and_meanings(tmp_path, argument, expected):
    assert option(tmp_path, argument) == expected


@pytest.mark.parametrize(
    ("arguments", "kind", "complaint"),
    [
        ("width = 3", "Method", "needs a type and a default"),
        ("width: int", "Method", "needs a type and a default"),
        ("width: Tensor = 3", "Method", "no builtin, Literal or Annotated"),
        ("width: int = 3 * 4", "Method", "neither a literal nor Auto"),
        ("width: Annotated[int, Positive] = 3", "Method", "none of Gt, Ge, Lt, Le"),
        ("width: int = 3", "object", "0 classes over one of"),
    ],
)
def test_a_file_that_breaks_the_rules_is_named(tmp_path, arguments, kind, complaint):
    with pytest.raises(CatalogueError, match=rf"toy\.py.*{complaint}"):
        catalogue.read(write(tmp_path, arguments, kind))


def test_find_suggests_the_nearest_name(tmp_path):
    write(tmp_path, name="simclr")
    write(tmp_path, name="pca")
    (tmp_path / "family" / "__init__.py").touch()
    assert catalogue.names(tmp_path) == ("pca", "simclr")
    assert catalogue.find("pca", tmp_path).name == "pca"
    with pytest.raises(UserError, match=r"unknown method 'simlcr'; did you mean simclr\?; known are: pca, simclr"):
        catalogue.find("simlcr", tmp_path)


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (Option("n", "int", 1), "12", 12),
        (Option("n", "float", 1.0), "1e-3", 0.001),
        (Option("n", "str", "a", choices=("a", "b")), "b", "b"),
        (Option("n", "int", 1, choices=(1, 2)), "2", 2),
        (Option("n", "float", 1.0, ge=0), "0", 0.0),
    ],
)
def test_text_is_read_by_type(option, text, value):
    assert option.read(text) == value
    assert type(option.read(text)) is type(value)


@pytest.mark.parametrize(
    ("option", "given", "value"),
    [
        (Option("n", "int", 1), np.int64(12), 12),
        (Option("n", "float", 1.0), np.float32(0.5), 0.5),
        (Option("n", "float", 1.0), np.int64(2), 2.0),
        (Option("n", "bool", False), np.True_, True),
        (Option("n", "str", "a"), np.str_("b"), "b"),
        (Option("n", "str", "a", choices=("a", "b")), np.str_("b"), "b"),
        (Option("n", "int", 1, choices=(1, 2)), np.int64(2), 2),
    ],
)
def test_values_of_numpy_become_plain_ones_that_a_config_can_hold(option, given, value):
    assert option.check(given) == value
    assert type(option.check(given)) is type(value)


@pytest.mark.parametrize("given", [True, np.True_])
@pytest.mark.parametrize(
    "option", [Option("n", "int", 1), Option("n", "float", 1.0), Option("n", "int", 1, choices=(1, 2))]
)
def test_a_flag_is_no_number(option, given):
    with pytest.raises(ValueError, match="is not"):
        option.check(given)


@pytest.mark.parametrize(
    ("option", "text", "complaint"),
    [
        (Option("n", "int", 1), "1.5", "'1.5' is not a whole number"),
        (Option("n", "int", 1), "nan", "not a whole number"),
        (Option("n", "float", 1.0), "much", "'much' is not a number"),
        (Option("n", "float", 1.0), "nan", "not a finite number"),
        (Option("n", "float", 1.0), "inf", "not a finite number"),
        (Option("n", "float", 1.0), "-inf", "not a finite number"),
        (Option("n", "float", 1.0, gt=0), "0", "must be > 0"),
        (Option("n", "float", 1.0, ge=0), "-1", "must be >= 0"),
        (Option("n", "float", 1.0, lt=1), "1", "must be < 1"),
        (Option("n", "int", 1, le=4), "5", "must be <= 4"),
        (Option("n", "str", "mean", choices=("mean", "max")), "meen", r"one of mean, max; did you mean mean\?"),
    ],
)
def test_text_that_is_no_value_is_refused(option, text, complaint):
    with pytest.raises(ValueError, match=complaint):
        option.read(text)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, float("nan")])
def test_an_integer_is_nothing_else(value):
    with pytest.raises(ValueError, match="whole number"):
        Option("n", "int", 1).check(value)


def test_a_number_of_another_library_is_a_number():
    import numpy as np

    assert type(Option("n", "int", 1).check(np.int64(3))) is int
    assert type(Option("n", "float", 1.0).check(np.float32(0.5))) is float


def test_given_hyper_parameters_are_checked_by_name():
    entry = catalogue.find("simclr")
    assert entry.check({"temperature": 1}) == {"temperature": 1.0}
    with pytest.raises(UserError, match=r"temprature: simclr has no such option; did you mean temperature\?"):
        entry.check({"temprature": 1})
    with pytest.raises(UserError, match=r"^temperature: -1 is out of range; it must be > 0"):
        entry.check({"temperature": -1})


# --- the view by ast against the real thing --------------------------------------------------------------------


def seen_by_inspect(name: str) -> list[Option]:
    """The constructor's keyword-only arguments, as Python itself sees them."""
    constructor = method_class(name).__init__
    hints = typing.get_type_hints(constructor, include_extras=True)
    parameters = inspect.signature(constructor).parameters.values()
    return [_option(p.name, hints[p.name], p.default) for p in parameters if p.kind is p.KEYWORD_ONLY]


def _option(name: str, hint: object, default: object) -> Option:
    optional = type(None) in get_args(hint)
    if optional:
        hint = next(side for side in get_args(hint) if side is not type(None))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return Option(name, type(choices[0]).__name__, default, choices=choices, optional=optional)
    plain = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    bounds = {type(bound).__name__.lower(): next(iter(vars_of(bound))) for bound in getattr(hint, "__metadata__", ())}
    return Option(name, plain.__name__, default, optional=optional, **bounds)


def vars_of(bound: object) -> list[float]:
    return [getattr(bound, name) for name in ("gt", "ge", "lt", "le") if hasattr(bound, name)]


@pytest.mark.parametrize("name", catalogue.names())
def test_ast_and_inspect_see_the_same_hyper_parameters(name):
    import dataclasses

    seen = [dataclasses.replace(option, meaning="") for option in catalogue.find(name).options]
    assert seen == seen_by_inspect(name)


@pytest.mark.parametrize("name", catalogue.names())
def test_ast_and_python_see_the_same_class(name):
    entry, cls = catalogue.find(name), method_class(name)
    assert entry.class_name == cls.__name__
    assert entry.kind in {base.__name__ for base in cls.__mro__[1:]}
    assert entry.requires == cls.requires
    can = {capability for function, capability in catalogue.CAPABILITIES.items() if hasattr(cls, function)}
    assert set(entry.capabilities) == can
    assert entry.formula == inspect.getdoc(inspect.getmodule(cls))


@pytest.mark.parametrize("name", catalogue.names())
def test_every_hyper_parameter_has_a_meaning(name):
    entry = catalogue.find(name)
    assert [option.name for option in entry.options if not option.meaning] == []
    assert entry.idea
    assert entry.paper.startswith("https://")
