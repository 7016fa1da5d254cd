"""The configuration: one declaration of every option, from which the command line, the checks and the file come."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from cyclopts import App, CycloptsError

from salience import catalogue
from salience.cli import main
from salience.cli.verbs import make_app
from salience.config import (
    ANY_KIND,
    BY_GRADIENT,
    KINDS,
    OPTIONS,
    Config,
    DataConfig,
    ModelConfig,
    TrainingConfig,
    TrainingPlan,
    asked,
    check_options,
    fit_options,
)
from salience.errors import UserError
from salience.reading import Reading
from salience.training import fit
from salience.untrusted import Damaged

SIMCLR, PCA = catalogue.find("simclr"), catalogue.find("pca")
PLANNED: dict[str, Any] = {
    "format": 1,
    "salience": "0.1.0",
    "method": "simclr",
    "source": "digits",
    "split": "train",
    "fingerprint": "abc",
    "rows": 10,
    "classes": ["a", "b"],
    "resolution": 8,
    "labels": None,
    "without": None,
    "reading": {"aspect": "pad", "missing": ["NA"]},
    "options": {"dim": 3},
    "encoder": "mlp",
    "views": "glyphs",
    "use_labels": False,
    "seed": 3,
    "epochs": 2,
    "budget": None,
    "batch_size": 4,
    "learning_rate": 0.1,
    "init": None,
    "checkpoint_every": "2min",
    "stop_when_collapsed": True,
    "devices": 1,
    "logger": None,
    "precision": "16-mixed",
    "compile": False,
    "threads": 1,
    "steps": 6,
    "steps_per_epoch": 3,
    "weight_decay": 0.5,
    "flops_per_step": 7,
    "spec": {"modality": "image"},
}


def test_a_configuration_is_the_same_after_a_round_trip() -> None:
    config = Config.from_dict(PLANNED)
    assert config.to_dict() == PLANNED
    assert list(config.to_dict()) == list(PLANNED)
    assert Config.from_dict(config.to_dict()) == config
    assert (config.plan.batch_size, config.data.reading) == (4, Reading(aspect="pad", missing=("NA",)))


def test_what_only_some_runs_have_is_left_out_of_the_others() -> None:
    more = PLANNED | {"withheld": ["decode"], "probes": 3}
    assert Config.from_dict(more).to_dict() == more
    assert not {"withheld", "probes"} & Config.from_dict(PLANNED).to_dict().keys()


def test_a_closed_form_has_no_plan() -> None:
    names = {one.name for one in fields(TrainingPlan)} - {"seed", "stop_when_collapsed"}
    solved = {name: value for name, value in PLANNED.items() if name not in names}
    config = Config.from_dict(solved)
    assert config.to_dict() == solved
    assert not config.is_planned
    with pytest.raises(UserError, match="expected a run trained by gradient, got one of simclr"):
        _ = config.plan


def test_names_of_another_version_are_kept() -> None:
    later = PLANNED | {"temperature_of_the_room": 21}
    assert Config.from_dict(later).to_dict() == later


def test_a_plan_that_lacks_a_number_is_damaged() -> None:
    for name in ("batch_size", "learning_rate", "precision", "steps_per_epoch", "method", "rows", "spec"):
        lacking = {key: value for key, value in PLANNED.items() if key != name}
        with pytest.raises(Damaged, match=f"^{name}: expected .*, got nothing$"):
            Config.from_dict(lacking)


def test_values_change_by_their_flat_names_and_never_in_place() -> None:
    config = Config.from_dict(PLANNED)
    changed = config.but(rows=11, views=None, seed=4, salience="2")
    assert changed.to_dict() == PLANNED | {"rows": 11, "views": None, "seed": 4, "salience": "2"}
    assert config.to_dict() == PLANNED
    with pytest.raises(FrozenInstanceError):
        config.training.seed = 5  # type: ignore[misc]
    with pytest.raises(TypeError, match="sead"):
        config.but(sead=5)


def test_every_name_of_the_file_belongs_to_one_part() -> None:
    parts = [{one.name for one in fields(part)} for part in (DataConfig, ModelConfig, TrainingPlan)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert set.union(*parts, {"salience", "format"}) == set(KINDS)


# --- the command line and Python take the same ---------------------------------------------------------------------

NUMBERS = (
    *("-1", "0", "1", "2", "3", "4", "7", "4096", "4097", "4294967295", "4294967296"),
    *("1.5", "0.5", "1e-3", "nan", "inf", "ten"),
)
TEXTS = (
    *("", "auto", "32-true", "bf16-mixed", "16-mixed", "half", "tensorboard", "foo"),
    *("90s", "2h30min", "soon", "0s", "60", "x"),
)


@cache
def app_of(method: str) -> App:
    return make_app(["fit", method])


def typed(method: str, name: str, text: str) -> Any:
    """What the command line makes of the text; UserError or CycloptsError where it refuses."""
    got: dict[str, Any] = {}
    argv = ["fit", method, "digits", f"--{name.replace('_', '-')}={text}"]
    command, bound, _ = app_of(method).parse_args(argv, exit_on_error=False, print_error=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("salience.training.fit", lambda *_, **given: SimpleNamespace(run=got.update(given)))
        command(*bound.args, **bound.kwargs)
    return got[name]


REFUSED = "refused"


def outcome(take: Callable[[], Any]) -> Any:
    """What is taken, or REFUSED."""
    try:
        return take()
    except (UserError, CycloptsError):
        return REFUSED


def as_python(option: catalogue.Option, text: str) -> Any:
    """What one would write in Python for it: a number where it is one."""
    if option.type in ("int", "float"):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.type != "bool"])
def test_the_command_line_and_python_take_exactly_the_same_values(name: str) -> None:
    option = OPTIONS[name]
    outcomes = {}
    for text in dict.fromkeys((*NUMBERS, *TEXTS, *map(str, option.choices))):
        in_shell = outcome(lambda text=text: typed("simclr", name, text))
        in_python = outcome(lambda text=text: check_options(SIMCLR, {name: as_python(option, text)})[name])
        assert in_shell == in_python, f"{name}={text}"
        outcomes[text] = in_python
    assert set(outcomes.values()) != {REFUSED}
    if option.choices or option.bounds:
        assert REFUSED in outcomes.values()


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.type == "bool"])
def test_a_switch_is_true_or_false(name: str) -> None:
    for value in (True, False, np.True_):
        assert check_options(SIMCLR, {name: value})[name] is bool(value)
    for wrong in (0, 1, "yes"):
        with pytest.raises(UserError, match=f"^{name}: .* is not true or false"):
            check_options(SIMCLR, {name: wrong})


def test_both_take_16_mixed_and_python_refuses_it_in_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("simclr", "precision", "16-mixed") == "16-mixed"
    assert main(["fit", "simclr", "digits", "--precision", "half"]) == 2
    said = capsys.readouterr().err
    with pytest.raises(UserError) as refused:
        fit("simclr", np.zeros((4, 2)), precision="half")
    assert str(refused.value).removeprefix("precision: ") in said


@pytest.mark.parametrize("option", BY_GRADIENT, ids=lambda option: option.name)
def test_neither_offers_a_closed_form_what_only_gradients_need(option: catalogue.Option) -> None:
    value: Any = {"bool": True, "int": 2, "float": 0.5, "duration": "90s"}.get(option.type, "x")
    value = option.choices[-1] if option.choices else value
    with pytest.raises(UserError, match=f"^{option.name}: pca has a closed form"):
        check_options(PCA, {option.name: value})
    assert check_options(PCA, {option.name: option.default})[option.name] == option.default
    assert option not in fit_options(PCA)


def test_what_is_left_out_has_its_default() -> None:
    assert check_options(SIMCLR, {}) == {name: option.default for name, option in OPTIONS.items()}
    assert check_options(SIMCLR, {"precision": None})["precision"] == "auto"


def test_epochs_and_budget_exclude_each_other() -> None:
    with pytest.raises(UserError, match=r"^epochs, budget: expected only one"):
        check_options(SIMCLR, {"epochs": 1, "budget": 60.0})


def test_numbers_of_numpy_become_plain_ones_that_yaml_can_hold() -> None:
    given = {"epochs": np.int64(3), "learning_rate": np.float32(0.5), "out": Path("x"), "without": np.int8(7)}
    checked = check_options(SIMCLR, given)
    assert {name: checked[name] for name in given} == {"epochs": 3, "learning_rate": 0.5, "out": "x", "without": "7"}
    assert yaml.safe_load(yaml.safe_dump(checked)) == checked


def test_a_part_takes_its_own_options() -> None:
    checked = check_options(SIMCLR, {"epochs": 3, "views": "grey"})
    assert asked(TrainingConfig, checked) == TrainingConfig(epochs=3)
    assert asked(ModelConfig, checked, method="m", options={}) == ModelConfig(method="m", options={}, views="grey")


# --- help and documents ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [*BY_GRADIENT, *ANY_KIND], ids=lambda option: option.name)
def test_help_in_the_shell_and_in_python_is_the_same(
    option: catalogue.Option, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "simclr", "--help"]) == 0
    offered = " ".join(re.sub(r"[│\s]+", " ", capsys.readouterr().out).split())
    in_python = " ".join((fit.__doc__ or "").split())
    assert f"--{option.name.replace('_', '-')} " in offered
    for word in [*option.meaning.split()[:3], *map(str, option.choices)]:
        assert word in offered
    assert all(choice in in_python for choice in option.choices)
    assert f"{option.name}: {option.describe()}" in in_python
