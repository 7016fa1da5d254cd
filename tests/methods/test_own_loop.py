"""The page on training in one's own loop: its code runs, and gives the weights of `fit` to the bit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from salience.config import TrainingPlan
from salience.methods import Method
from salience.methods.lightning import LightningMethod
from salience.run import Run
from salience.training import engine
from tests import contract

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "train-in-your-own-loop.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
FIT: dict[str, Any] = {"epochs": 4, "precision": "32-true", "compile": False, "threads": 1}
PLAIN = ("simclr", "byol", "gan")  # for which the first loop of the page is enough
FULL = ("dino", "swav", "dbn", "dbm")  # which need the second one
pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
Loop = Callable[..., None]
Left = dict[str, Tensor]


def block_with(text: str) -> str:
    (found,) = (block for block in BLOCKS if text in block)
    return found


def loop_of(name: str, *, without: str | None = None) -> Loop:
    """A function of the page, maybe without one of its lines."""
    code = block_with(f"def {name}(")
    body = [line for line in code.splitlines() if without is None or without not in line]
    assert without is None or len(body) == len(code.splitlines()) - 1
    names: dict[str, Any] = {}
    exec("import torch\nfrom salience import Progress", names)
    exec("\n".join(line for line in body if not line.startswith("train(")), names)
    return names[name]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dict[str, Any], Left]]:
    """The config of a fit and the weights it left, by the method's name; each is fitted once."""
    known: dict[str, tuple[dict[str, Any], Left]] = {}

    def fit_once(name: str) -> tuple[dict[str, Any], Left]:
        if name not in known:
            rep = contract.fitted(name, tmp_path_factory.mktemp(name) / "run", **FIT)
            known[name] = Run(rep.run or "").config.plan, rep.method.state_dict()
        return known[name]

    return fit_once


def trained(name: str, loop: Loop, config: TrainingPlan, *, prepare: bool = False) -> Left:
    dataset = contract.dataset_for(name)
    method = contract.build(name, dataset)
    assert isinstance(method, Method)
    if prepare:
        dataset.spec.modality.prepare_network(method)
    with engine.threads(1):
        loop(method, dataset.loader(config.batch_size, config.seed), config.steps, config.learning_rate)
    return method.state_dict()


def differing(one: Left, other: Left) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("name", PLAIN)
def test_the_loop_of_ten_lines_gives_the_weights_of_fit(name: str, fitted: Any) -> None:
    config, weights = fitted(name)
    assert differing(trained(name, loop_of("train"), config, prepare=True), weights) == []


@pytest.mark.parametrize("name", PLAIN + FULL)
def test_the_loop_of_all_details_gives_the_weights_of_fit(name: str, fitted: Any) -> None:
    config, weights = fitted(name)
    assert differing(trained(name, loop_of("train_as_fit"), config), weights) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("method.after_step", "byol"),
        ("method.before_update", "swav"),
        ("method.before_step", "dbm"),
        ("reseed(at)", "dbn"),
        ("set_weight_decay(", "dino"),
        ("schedule.step()", "simclr"),
    ],
)
def test_no_line_of_the_loop_is_idle(line: str, name: str, fitted: Any) -> None:
    config, weights = fitted(name)
    assert differing(trained(name, loop_of("train_as_fit", without=line), config), weights)


def test_the_loop_on_the_page_has_ten_lines() -> None:
    code = block_with("def train(")
    start = code.index("    for step")
    assert len(code[start : code.index("\n\n\n")].splitlines()) == 10


@pytest.mark.parametrize("name", ["simclr", "byol", "gan", "dino", "dbm"])
def test_a_users_own_trainer_gives_the_weights_of_fit(name: str, fitted: Any) -> None:
    config, weights = fitted(name)

    def under_trainer(method: Method, loader: Any, total: int, learning_rate: float) -> None:
        quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = L.Trainer(
            max_epochs=int(config.epochs or 0),
            accelerator="cpu",
            enable_model_summary=False,
            log_every_n_steps=1,
            **quiet,
        )
        trainer.fit(LightningMethod(method, engine.schedule_of(config)), loader)
        assert trainer.global_step == total

    assert differing(trained(name, under_trainer, config, prepare=True), weights) == []


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        short = block.replace("total=10 * len(loader)", "total=2").replace("max_epochs=10", "max_steps=2, max_epochs=1")
        exec(compile(short, "train-in-your-own-loop.md", "exec"), names)
    assert names["codes"].shape[0] == 100
    assert torch.isfinite(names["codes"]).all()
    assert names["trainer"].global_step == 2
