"""Methods, encoders and views as classes, modules, functions and files; runs of them load only with what is named."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pytest
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

import salience
from salience.batch import Batch, Progress
from salience.class_entries import entry_of_class
from salience.cli import main
from salience.errors import Note, UserError
from salience.methods import ClosedForm, Context, Method
from salience.nets import Input, make_encoder
from salience.run import Run
from tests import contract
from tests.own_code import METHOD, PARTS, forget

pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 32, "progress": False}
HERE = str(Path(__file__).resolve())


class Scaled(ClosedForm):
    """Multiply all values.

    factor: what they are multiplied by
    """

    def __init__(self, input: Input, *, factor: Annotated[float, Ge(0), Le(9)] = 2.0, sign: Literal["+", "-"] = "+"):
        super().__init__(input)
        self.factor = factor
        self.sign = sign
        self.register_buffer("scale", torch.zeros(1))

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        return cls(context.make_input(), **options)

    def fit_rows(self, reader: Any, *, seed: int) -> None:
        self.scale.fill_(self.factor if self.sign == "+" else -self.factor)

    @property
    def width(self) -> int:
        return self.row_width

    def embed_rows(self, rows: Tensor) -> Tensor:
        return rows * self.scale


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu().mean((2, 3)))


def noisy(x: Tensor, keys: Any) -> Tensor:
    return x + 0.3 * keys.normal(*x.shape[1:])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with agree.py and parts.py, of which nothing is imported."""
    forget(monkeypatch)
    shutil.copy(METHOD, tmp_path / "agree.py")
    shutil.copy(PARTS, tmp_path / "parts.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported() -> list[str]:
    return [name for name in sys.modules if name.startswith("salience_code_")]


# --- in Python ---------------------------------------------------------------------------------------------------


def test_a_class_is_described_by_its_constructor() -> None:
    entry = entry_of_class(Scaled)
    factor, sign = entry.options
    assert (entry.name, entry.kind) == ("Scaled", "ClosedForm")
    assert (factor.type, factor.default, factor.ge, factor.le) == ("float", 2.0, 0, 9)
    assert factor.meaning == "what they are multiplied by"
    assert sign.choices == ("+", "-")


def test_a_class_is_fitted_stored_and_loaded_with_the_class(tmp_path: Path) -> None:
    data = contract.structured_images()
    rep = salience.fit(Scaled, data, factor=3, out=tmp_path / "run", progress=False)
    plain = rep.method.flat(data.batch(np.arange(5))).numpy()
    np.testing.assert_allclose(rep.embed(data)[:5], 3 * plain, rtol=1e-6)
    stored = Run(tmp_path / "run").config.model
    assert (stored.method, stored.options) == ("Scaled", {"factor": 3.0, "sign": "+"})
    assert stored.code["method"]["file"] == HERE
    with pytest.raises(UserError, match="--code"):
        salience.load(tmp_path / "run")
    again = salience.load(tmp_path / "run", code={"method": Scaled})
    np.testing.assert_array_equal(again.embed(data), rep.embed(data))
    assert again.capabilities == ()


@pytest.mark.parametrize(
    ("given", "option"),
    [({"factor": 10}, "factor"), ({"sign": "x"}, "sign"), ({"faktor": 1}, "faktor"), ({"epochs": 1}, "epochs")],
)
def test_options_of_a_class_are_checked(given: dict[str, Any], option: str) -> None:
    with pytest.raises(UserError, match=option):
        salience.fit(Scaled, contract.structured_images(), **given)


def test_what_is_no_method_is_refused() -> None:
    class Half(Method):
        def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
            return {}

    for method, problem in ((Tiny, "Method"), (3, "Method"), (Half, "build")):
        with pytest.raises(UserError, match=problem):
            salience.fit(method, contract.structured_images())  # type: ignore[arg-type]


def test_a_module_is_an_encoder_whose_width_is_found(tmp_path: Path) -> None:
    data, module = contract.structured_images(), Tiny()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rep = salience.fit("simclr", data, encoder=module, out=tmp_path / "run", **QUICK)
    assert rep.dim == 6
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())  # a copy is trained
    trained = dict(rep.method.encoder.body.state_dict())  # type: ignore[union-attr, operator]
    assert not torch.equal(trained["last.weight"], before["last.weight"])
    with pytest.raises(UserError, match="encoder"):
        salience.load(tmp_path / "run")
    again = salience.load(tmp_path / "run", code={"encoder": Tiny()})
    np.testing.assert_array_equal(again.embed(data), rep.embed(data))
    fresh = rep.untrained(data)
    assert fresh is not None
    assert not torch.equal(fresh.method.encoder.body.last.weight, before["last.weight"])  # type: ignore[union-attr, operator]


def test_a_module_starts_from_its_own_weights() -> None:
    module, spec = Tiny(), contract.structured_images().spec
    encoder = make_encoder(module, spec)
    assert torch.equal(encoder.body.last.weight, module.last.weight)  # type: ignore[union-attr, arg-type]
    assert encoder.body is not module
    assert make_encoder(module, spec, dim=3).dim == 3
    module.dim = 5  # type: ignore[assignment]
    assert make_encoder(module, spec).dim == 5
    assert make_encoder(Tiny, spec).dim == 6
    assert make_encoder(lambda spec: nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), spec).dim == 7


@pytest.mark.parametrize(
    ("given", "problem"),
    [(nn.Conv2d(1, 4, 3), "Flatten"), (nn.Linear(3, 4), "1×8×8"), (lambda: 3, "int"), (3, "encoder")],
)
def test_a_module_that_does_not_fit_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        salience.fit("simclr", contract.structured_images(), encoder=given, **QUICK)


def test_layers_that_cannot_start_again_are_told(tmp_path: Path) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(64, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.weight

    data = contract.structured_images()
    rep = salience.fit("simclr", data, encoder=Bare(), out=tmp_path / "run", **QUICK)
    with pytest.warns(Note, match="weight"):
        rep.untrained(data)


def test_a_function_is_a_policy(tmp_path: Path) -> None:
    data = contract.structured_images()
    runs = {
        name: salience.fit("simclr", data, views=views, encoder="mlp", out=tmp_path / name, **QUICK)
        for name, views in {"own": noisy, "again": noisy, "none": "identity"}.items()
    }
    assert Run(tmp_path / "own").config.model.views == "noisy"
    codes = {name: rep.embed(data) for name, rep in runs.items()}
    np.testing.assert_array_equal(codes["own"], codes["again"])
    assert not np.allclose(codes["own"], codes["none"])
    found = salience.evaluate(runs["own"], on=contract.structured_images(labelled=True), progress=False, write=False)
    assert "alignment" in found.representation["geometry"]


def test_metrics_are_functions_of_features_and_maybe_labels(tmp_path: Path) -> None:
    data = contract.structured_images(labelled=True)
    rep = salience.fit("pca", data, dim=3, out=tmp_path / "run", progress=False)
    metrics = {"spread": lambda x: x.std(), "rows": lambda x, y: float((y >= 0).mean() * len(x))}
    found = salience.evaluate(rep, on=data, metrics=metrics, progress=False, write=False)
    own = found.representation["own"]
    assert own["spread"].low < own["spread"].value < own["spread"].high
    assert own["rows"].value == found.about["test_rows"]
    assert found.baselines["raw"]["own"]["spread"].value != own["spread"].value  # type: ignore[index]
    with pytest.raises(UserError, match="ZeroDivisionError"):
        salience.evaluate(rep, on=data, metrics={"bad": lambda x: 1 / 0}, progress=False, write=False)
    with pytest.raises(UserError, match="needs labels"):
        salience.evaluate(rep, on=contract.structured_images(), metrics=metrics, progress=False, write=False)


# --- files -------------------------------------------------------------------------------------------------------


def test_a_method_file_is_read_and_not_run(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "agree.py").write_text((files / "agree.py").read_text() + "\nraise RuntimeError('was run')\n")
    assert main(["methods", "./agree.py"]) == 0
    shown = capsys.readouterr().out
    assert "--weight" in shown
    assert "https://example.org/agree" in shown
    assert main(["fit", "./agree.py", "digits", "--weight", "-1"]) == 2
    assert "--weight" in capsys.readouterr().err
    assert main(["fit", "agree.py", "digits", "--epochs", "1"]) == 2
    assert "was run" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "x = (", "class A:\n    pass\n"])
def test_a_file_without_a_method_is_refused(files: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.py").write_text(text)
    assert main(["methods", "odd.py"]) == 2
    assert "odd.py" in capsys.readouterr().err
    assert main(["methods", "nowhere.py"]) == 2
    assert "nowhere.py" in capsys.readouterr().err


def test_a_run_of_files_needs_them_named_again(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--encoder", "parts.py:narrow", "--views", "parts.py:shaky", "--epochs", "1", "--out", "run"]
    assert main(["fit", "./agree.py", "digits", "--weight", "2", *words]) == 0
    stored = Run("run").config.model
    assert (stored.method, stored.encoder, stored.views) == ("agree", "narrow", "shaky")
    assert [stored.code[part]["file"] for part in ("method", "encoder")] == [
        str(files / name) for name in ("agree.py", "parts.py")
    ]
    code = ["--code", "agree.py", "--code", "parts.py"]
    capsys.readouterr()
    for name in imported():
        del sys.modules[name]
    refused: list[tuple[list[str], str]] = [
        (["embed", "run", "digits", "--out", "x.parquet"], "agree.py"),
        (["embed", "run", "digits", "--out", "x.parquet", "--code", "agree.py"], "parts.py"),
        (["evaluate", "run"], "agree.py"),
        (["fit", "--resume", "run"], "agree.py"),
        (["fit", "simclr", "digits", "--init", "run"], "agree.py"),
        (["fit", "--config", "run/config.yaml"], "agree.py"),
        (["fit", "./agree.py", "--config", "run/config.yaml"], "--encoder"),
        (["embed", "run", "digits", "--out", "x.parquet", "--code", "gone.py"], "gone.py"),
    ]
    for argv, problem in refused:
        assert main(argv) == 2, argv
        assert problem in capsys.readouterr().err, argv
    assert imported() == []  # nothing was imported that was not named
    assert main(["embed", "run", "digits", "--out", "run.lance", *code]) == 0
    assert main(["anomalies", "run.lance", "--out", "odd"]) == 0  # a store of vectors needs no code
    assert main(["fit", "--resume", "run", *code]) == 0
    assert "has changed" not in capsys.readouterr().err
    assert salience.load("run", code=["agree.py", "parts.py"]).dim == 12


def test_a_file_that_has_changed_is_told(files: Path) -> None:
    rep = salience.fit("agree.py", contract.structured_images(), out="run", **QUICK)
    assert rep.entry.options[0].name == "weight"
    Path("agree.py").write_text(METHOD.read_text() + "\nMORE = 1\n")
    with pytest.warns(Note, match="changed"):
        salience.load("run", code="agree.py")
    shutil.copy(METHOD, "renamed.py")
    moved = salience.load("run", code=["agree.py", "renamed.py"])  # the unchanged one, whatever it is called
    assert moved.code.origins["method"].file.endswith("renamed.py")


def test_a_run_folder_cannot_name_code_to_run(files: Path, tmp_path: Path) -> None:
    salience.fit("agree.py", contract.structured_images(), out="run", **QUICK)
    config = Path("run/config.yaml")
    Path("run/evil.py").write_text("raise SystemExit('was run')")
    for name in imported():
        del sys.modules[name]
    config.write_text(config.read_text().replace(str(files / "agree.py"), str(files / "run" / "evil.py")))
    with pytest.raises(UserError, match=r"evil\.py"):
        salience.load("run")
    config.write_text(config.read_text().replace("{name: Agree", "{place: 'os:system', name: Agree"))
    with pytest.raises(UserError):
        salience.load("run")
    config.write_text(config.read_text().replace("sha256: ", "sha256: [1], more: "))
    with pytest.raises(UserError, match="damaged"):
        salience.load("run")
    assert imported() == []


def test_an_ambiguous_file_lists_what_it_defines(files: Path) -> None:
    with pytest.raises(UserError, match="narrow, shaky"):
        salience.fit("simclr", contract.structured_images(), encoder="parts.py", **QUICK)
    with pytest.raises(UserError, match="wide"):
        salience.fit("simclr", contract.structured_images(), encoder="parts.py:wide", **QUICK)


def test_views_of_a_file_can_be_drawn(files: Path) -> None:
    assert main(["views", "simclr", "digits", "--views", "parts.py:shaky", "--out", "own.png"]) == 0
    assert main(["views", "simclr", "digits", "--views", "identity", "--out", "same.png"]) == 0
    assert Path("own.png").read_bytes() != Path("same.png").read_bytes()


def test_the_doctor_reads_the_signs_of_a_file_without_importing_it(files: Path) -> None:
    salience.fit("agree.py", contract.structured_images(), out="run", weight=1000.0, **QUICK)
    for name in imported():
        del sys.modules[name]
    from salience.health.diagnosis import declared_by

    assert [one.option for one in declared_by(Run("run").config.to_dict()).ordinary] == ["weight"]
    assert imported() == []


@pytest.mark.slow
def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "extend.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block.replace("epochs=5", "epochs=1"), "extend.md", "exec"), names)
    assert names["rep"].dim == 32
