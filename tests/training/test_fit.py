"""fit and resume as a user meets them: the run folder, the choices, refusals, hostile files."""

from __future__ import annotations

import errno
import os
import pickle
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml

from salience import catalogue
from salience.config import TrainingPlan
from salience.errors import UserError
from salience.methods import ClosedForm, Context, Method, method_class
from salience.methods.adamw import AdamW
from salience.methods.contrastive.byol import BYOL
from salience.methods.contrastive.simclr import SimCLR
from salience.methods.lightning import LightningMethod
from salience.representation import Representation, load
from salience.run import Run
from salience.training import Interrupted, checkpoints, engine, fit, machine, recipe, resume
from salience.training.checkpoints import Checkpointer
from salience.training.metrics import read_metrics
from tests.contract import QUICK, ROWS, build, structured_images

ARRAY = structured_images().x[:, 0]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Representation:
    folder = tmp_path_factory.mktemp("done")
    np.save(folder / "stripes.npy", ARRAY)
    return fit("simclr", folder / "stripes.npy", out=folder / "run", temperature=0.3, **QUICK)


def test_the_run_folder_holds_everything(done: Representation) -> None:
    run = Run(done.run or "")
    assert run.finished
    assert run.config.model.options == {"dim": 128, "temperature": 0.3}
    assert run.config.plan.steps == 3 * (ROWS // 32)
    assert run.config.data.rows == ROWS
    assert run.cost["flops"] > 0
    assert run.cost["items_seen"] == run.config.plan.steps * 32
    assert [int(row["step"]) for row in read_metrics(run.metrics)] == list(range(1, 10))
    assert (run.path / "bad_items.csv").read_text().splitlines() == ["item,reason"]
    assert not list(run.path.parent.glob(".*.part"))


def test_weights_hold_no_time_path_or_name(done: Representation) -> None:
    raw = Run(done.run or "").weights.read_bytes()
    header = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    assert b"__metadata__" not in header


def test_flops_are_those_of_the_network(tmp_path: Path) -> None:
    """Linear, 64 -> 4 -> 64: per item 2·64·4·2 forward; backward twice that, less the gradient of the input."""
    rep = fit("autoencoder", ARRAY, out=tmp_path / "run", encoder="linear", dim=4, **QUICK)
    forward, to_input = 2 * 2 * 64 * 4, 2 * 64 * 4
    assert rep.config.plan.flops_per_step == 32 * (3 * forward - to_input)


def test_resuming_a_finished_run_changes_nothing(done: Representation) -> None:
    run = Run(done.run or "")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    resume(run.path, progress=False)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_what_was_done_and_resume_ends_alike(done: Representation, number: int, tmp_path: Path) -> None:
    source = done.config.data.source
    whole = Checkpointer.on_train_batch_end

    def interrupted(self: Checkpointer, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == 4:
            os.kill(os.getpid(), number)
        whole(self, trainer, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpointer, "on_train_batch_end", interrupted)
        with pytest.raises(Interrupted, match="stopped at step 4") as stopped:
            fit("simclr", source, out=tmp_path / "run", temperature=0.3, **QUICK)
    assert stopped.value.number == number
    with pytest.warns(UserWarning, match="unfinished"):
        assert load(tmp_path / "run").embed(ARRAY).shape == (ROWS, 256)
    resume(tmp_path / "run", progress=False)
    assert Run(tmp_path / "run").weights.read_bytes() == Run(done.run or "").weights.read_bytes()
    assert Run(tmp_path / "run").metrics.read_text() == Run(done.run or "").metrics.read_text()


class Pressed:
    """A checkpointer that stands in training, and what is sent to its process."""

    def __init__(self, path: Path) -> None:
        self.saver = Checkpointer(path / "last.ckpt", every=1e9, ask_every=1)
        self.saver.on_train_start(SimpleNamespace(), None)

    def __enter__(self) -> Pressed:
        return self

    def __exit__(self, *_: object) -> None:
        self.saver.on_exception(SimpleNamespace(), None, KeyboardInterrupt())

    def asked_to_stop(self) -> bool:
        trainer = SimpleNamespace(world_size=1, global_step=1, save_checkpoint=lambda path: None)
        self.saver.on_train_batch_end(trainer, None)
        return self.saver.stopped


def test_a_second_ctrl_c_stops_at_once_and_no_other_pair_of_signals_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Pressed(tmp_path) as pressed:
        assert not pressed.asked_to_stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert "Ctrl-C again stops at once" in capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGTERM)  # is no second Ctrl-C
        assert pressed.asked_to_stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert pressed.saver.number == signal.SIGINT  # the first that came
    with Pressed(tmp_path) as pressed:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # the first Ctrl-C: nothing was said of a second yet
        assert "Ctrl-C again stops at once" in capfd.readouterr().err
        assert pressed.saver.number == signal.SIGTERM


def test_a_hang_up_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As nohup asks; the handlers of before are back when training has ended."""
    before = {number: signal.getsignal(number) for number in checkpoints.SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Pressed(tmp_path) as pressed:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not pressed.asked_to_stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert {number: signal.getsignal(number) for number in before} == before


def test_ctrl_c_works_after_a_training_that_it_ended(tmp_path: Path) -> None:
    """Lightning leaves SIGINT ignored where it was pressed before the first step."""
    before = signal.getsignal(signal.SIGINT)

    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpointer, "on_train_start", pressed)
        with pytest.raises(Interrupted, match="resume with: salience fit --resume") as stopped:
            fit("simclr", ARRAY, out=tmp_path / "run", **QUICK)
    assert stopped.value.number == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


def test_numbers_of_numpy_are_taken_as_plain_ones(done: Representation, tmp_path: Path) -> None:
    given = {
        "epochs": np.int64(3),
        "batch_size": np.int32(32),
        "seed": np.uint8(0),
        "devices": np.int64(1),
        "checkpoint_every": np.int64(120),
        "use_labels": np.False_,
        "stop_when_collapsed": np.False_,
        "temperature": np.float64(0.3),
        "dim": np.int16(128),
        "learning_rate": np.float64(done.config.plan.learning_rate),
        "compile": np.False_,
        "threads": np.int64(1),
        "resolution": np.int64(8),
    }
    rep = fit("simclr", ARRAY, out=tmp_path / "run", progress=False, **given)
    assert Run(rep.run or "").weights.read_bytes() == Run(done.run or "").weights.read_bytes()


@pytest.mark.parametrize(
    "name", ["epochs", "batch_size", "seed", "resolution", "learning_rate", "devices", "threads", "budget", "dim"]
)
def test_a_flag_is_no_number(name: str, tmp_path: Path) -> None:
    for flag in (True, np.True_):
        with pytest.raises(UserError, match=f"^{name}: '?True'? is not"):
            fit("simclr", ARRAY, out=tmp_path / "run", progress=False, **{name: flag})


def test_a_run_without_a_checkpoint_resumes_from_its_config_alone(done: Representation, tmp_path: Path) -> None:
    Run.create(tmp_path / "run", Run(done.run or "").config, {})
    resume(tmp_path / "run", progress=False)
    assert Run(tmp_path / "run").weights.read_bytes() == Run(done.run or "").weights.read_bytes()


def test_changed_data_is_not_resumed_on(done: Representation, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", ARRAY[::-1])
    Run.create(tmp_path / "run", done.config.but(source=str(tmp_path / "other.npy")), {})
    with pytest.raises(UserError, match="has changed since"):
        resume(tmp_path / "run", progress=False)


def test_a_full_disk_while_saving_is_the_systems_own_error(tmp_path: Path) -> None:
    """An OSError, which the command line turns into one line; torch alone would give an error of its own."""

    def full(path: Path, content: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "write", full)
        with pytest.raises(OSError, match="No space left"):
            fit("simclr", ARRAY, out=tmp_path / "run", **QUICK)
    assert not list((tmp_path / "run").rglob("*.part"))


def test_two_fits_at_once_take_two_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    create, others = Run.create, []

    def slower(path: Path, *rest: Any) -> Run:
        if not others:
            others.append(create(path, *rest))  # the other fit takes the name in the last moment
        return create(path, *rest)

    monkeypatch.setattr(Run, "create", slower)
    assert fit("pca", ARRAY, progress=False).run == Path("runs/pca-memory-2")


def test_the_callers_randomness_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    fit("simclr", ARRAY, out=tmp_path / "run", **QUICK)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_init_starts_from_another_runs_encoder(done: Representation, tmp_path: Path) -> None:
    rate = {"learning_rate": 1e-12, "epochs": 1, "batch_size": 32, "progress": False}
    rep = fit("simclr", ARRAY, out=tmp_path / "run", init=done.run, **rate)
    first = "encoder.body.0.0.weight"
    torch.testing.assert_close(rep.method.state_dict()[first], done.method.state_dict()[first])


def test_the_untrained_twin_has_fresh_weights_and_the_datas_statistics(done: Representation) -> None:
    data = structured_images()
    twin = done.untrained(data)
    assert twin is not None
    weights, trained = twin.method.state_dict(), done.method.state_dict()
    assert not torch.equal(weights["encoder.body.0.0.weight"], trained["encoder.body.0.0.weight"])
    x = twin.method.encoder.input(twin.method.encoder.input.unit(data.batch(np.arange(ROWS)).x))
    first = twin.method.encoder.body[0][0](x)
    torch.testing.assert_close(
        weights["encoder.body.0.1.running_mean"], first.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5
    )


def test_a_method_trains_under_a_users_own_trainer() -> None:
    data = structured_images()
    torch.manual_seed(0)
    method = SimCLR.build(Context(data.spec, len(data)))
    before = method.encoder.body[0][0].weight.clone()
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LightningMethod(method), data.loader(32))
    assert trainer.global_step == 6
    assert not torch.equal(before, method.encoder.body[0][0].weight)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-4)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("/tmp/salience-was-executed",))


@pytest.mark.parametrize("name", ["checkpoints/last.ckpt", "model.safetensors", "config.yaml"])
def test_nothing_in_a_run_folder_is_executed(done: Representation, name: str, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Run(done.run or "").config, {})
    victim = run.path / name
    victim.parent.mkdir(exist_ok=True)
    hostile = b"!!python/object/apply:os.mkdir [/tmp/salience-was-executed]"
    victim.write_bytes(hostile if name.endswith("yaml") else pickle.dumps(Bomb()))
    uses: list[Any] = [lambda: load(run.path).embed(ARRAY), lambda: resume(run.path, progress=False)]
    for use in uses[:1] if name == "model.safetensors" else uses:
        with pytest.raises(UserError) as refusal:
            use()
        assert "\n" not in str(refusal.value)
    if name == "model.safetensors":  # weights that are damaged are made again
        assert resume(run.path, progress=False).dim == done.dim
    assert not Path("/tmp/salience-was-executed").exists()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"method": "simclir"}, "did you mean simclr"),
    ({"temperature": float("nan")}, "temperature"),
    ({"temperature": -1.0}, "temperature"),
    ({"dim": 1.5}, "dim"),
    ({"temperatur": 1.0}, "did you mean temperature"),
    ({"batch_size": 97}, "batch_size: 97 is more than the data has"),
    ({"epochs": 0}, "epochs: 0"),
    ({"epochs": 2, "budget": "10s"}, "only one of them"),
    ({"learning_rate": float("inf")}, "learning_rate"),
    ({"encoder": "convnett"}, "convnet"),
    ({"views": "natural"}, "natural"),
    ({"method": "pca", "epochs": 3}, "closed form"),
    ({"checkpoint_every": "soon"}, "checkpoint_every"),
    ({"devices": 99}, "devices: 99 is more than this machine has"),
    ({"logger": "foo"}, "logger: 'foo' is not one of tensorboard"),
    ({"seed": -1}, "seed: -1"),
    ({"precision": "half"}, "precision: 'half' is not one of auto, 32-true"),
    ({"seed": 10**11}, "seed: 100000000000"),
    ({"batch_size": 1}, "batch_size: 1 is too small"),
    ({"method": "autoencoder", "views": "glyphs"}, "does not use views"),
    ({"use_labels": True}, "label"),
    ({"init": "nowhere"}, "nowhere"),
]


@pytest.mark.parametrize(("mistake", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_mistakes_are_refused_in_one_line_and_leave_nothing(
    mistake: dict[str, Any], message: str, tmp_path: Path
) -> None:
    arguments = {"method": "simclr", "progress": False, **mistake}
    method = arguments.pop("method")
    with pytest.raises(UserError, match=message) as caught:
        fit(method, ARRAY, out=tmp_path / "run", **arguments)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_existing_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists"):
        fit("pca", ARRAY, out=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"format": 99}, "upgrade"),
        ({"format": "x"}, "damaged"),
        ({"options": None}, "damaged"),
        ({"options": {"heat": 1}}, "damaged"),
        ({"rows": "many", "method": "pca"}, "damaged"),
        ({"spec": {}}, "damaged"),
        ("a: [", "damaged"),
        ("method: pca", "requires"),
    ],
    ids=str,
)
def test_a_run_that_cannot_be_read_says_why(
    done: Representation, damage: dict[str, Any] | str, message: str, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", done.config, {})
    config = damage if isinstance(damage, str) else yaml.safe_dump({**done.config.to_dict(), **damage})
    (run.path / "config.yaml").write_text(config)
    with pytest.raises(UserError, match=message):
        load(run.path)


def test_no_run_at_all(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "does not exist"), (tmp_path, "no config.yaml")):
        with pytest.raises(UserError, match=message):
            load(path)


def test_a_data_set_of_another_width_is_refused(tmp_path: Path) -> None:
    rep = fit("pca", np.random.default_rng(0).normal(size=(30, 5)), out=tmp_path / "run", progress=False)
    with pytest.raises(UserError):
        rep.embed(np.zeros((3, 4)))


def test_compilation_waits_for_a_compiler_and_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(**changes: Any) -> bool:
        usual = {"seconds": 5000.0, "flops": 10**11, "accelerator": "cpu", "convolves": False, "given": None}
        settings = {**usual, **changes}
        return recipe.choose_compilation(recipe.Choices(), **settings)

    monkeypatch.setattr(recipe.machine, "has_compiler", lambda: True)
    assert chosen()
    assert not chosen(seconds=300.0)  # as long as compiling takes, all that it gains
    assert chosen(seconds=300.0, accelerator="cuda")
    assert not chosen(seconds=20.0, accelerator="cuda")
    assert not chosen(flops=10**6)
    assert not chosen(given=False)
    assert not chosen(convolves=True)
    assert chosen(convolves=True, accelerator="cuda")
    assert chosen(convolves=True, given=True)
    monkeypatch.setattr(recipe.machine, "has_compiler", lambda: False)
    assert not chosen(given=True)


def test_bf16_only_where_the_processor_is_faster_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(recipe.machine, "fast_bf16", lambda accelerator, fast=fast: fast)
        choices = recipe.Choices()
        assert recipe.choose_arithmetic(choices, tiny=False, accelerator="cpu", given="auto") == expected
        assert "bf16" in choices.reasons["precision"]


def plan_for(*, precision: str = "32-true", devices: int = 1) -> TrainingPlan:
    return TrainingPlan(
        batch_size=8, learning_rate=1e-3, steps=10, steps_per_epoch=1, precision=precision, devices=devices
    )


def test_transformers_attend_by_products_in_bf16_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = structured_images()
    method = BYOL.build(Context(dataset.spec, ROWS, "vit_tiny_patch16_224")).eval()
    batch = dataset.batch(np.arange(8))
    fused = method.embed(batch)

    def prepared(precision: str, accelerator: str = "cpu") -> set[bool]:
        """Whether timm's blocks, the teacher's too, use torch's own attention."""
        monkeypatch.setattr(machine, "accelerator", lambda: accelerator)
        engine.prepare(method, plan_for(precision=precision))
        told = [part.fused_attn for part in method.modules() if hasattr(part, "fused_attn")]
        assert len(told) == 24
        return set(told)

    assert prepared("32-true") == prepared("bf16-mixed", "cuda") == {True}
    assert prepared("bf16-mixed") == {False}
    torch.testing.assert_close(method.embed(batch), fused, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("vendor", "flags", "fast"),
    [
        ("GenuineIntel", "avx512f avx512_bf16", False),  # measured: half as fast as fp32
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", True),
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx2", False),
        ("", "asimd bf16", True),  # Arm names no vendor
        ("", "", False),
    ],
)
def test_whether_bf16_is_faster_goes_by_flags_and_maker(
    vendor: str, flags: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"vendor_id": vendor, "flags": flags}
    monkeypatch.setattr(
        machine, "cpu_words", lambda *fields: frozenset(" ".join(told.get(field, "") for field in fields).split())
    )
    assert machine.fast_bf16("cpu") is fast
    assert not machine.fast_bf16("mps")


@pytest.mark.parametrize(
    ("flops", "layers", "tiny"),
    [(3 * 10**9, 30, False), (10**9, 30, True), (5.3e8, 4, False), (2.8e8, 1, False), (10**7, 1, True)],
)
def test_a_net_is_tiny_by_its_work_in_all_and_in_a_layer(flops: int, layers: int, tiny: bool) -> None:
    assert recipe.is_tiny(flops, layers) is tiny


@pytest.mark.parametrize("name", catalogue.names())
def test_every_method_is_one_file_with_one_class_that_can_be_built(name: str) -> None:
    entry, kind = catalogue.find(name), method_class(name)
    assert kind.__name__ == entry.class_name
    assert kind.__module__ == f"salience.methods.{entry.family}.{name}"
    assert issubclass(kind, ClosedForm if entry.kind == "ClosedForm" else Method)
    assert kind.requires == entry.requires
    assert not getattr(kind, "__abstractmethods__", None)


@pytest.mark.parametrize(
    ("name", "devices", "gpu", "shared"),
    [("simclr", 2, True, True), ("moco", 2, True, False), ("simclr", 1, True, False), ("simclr", 2, False, False)],
)
def test_processes_share_batch_statistics_on_gpus_unless_the_method_keeps_them_apart(
    name: str, devices: int, gpu: bool, shared: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(engine.L, "Trainer", lambda **settings: given.update(settings))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = SimpleNamespace(plan=plan_for(devices=devices))
    engine._trainer(SimpleNamespace(config=config, path=tmp_path), build(name, structured_images()), [])
    assert given["sync_batchnorm"] is shared


def test_training_on_a_processor_asks_for_no_gpu_and_steps_as_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def stepped(kind: type[torch.optim.Optimizer]) -> torch.Tensor:
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(5))
        optimiser = kind([weight], lr=0.1, weight_decay=0.3)
        for _ in range(3):
            weight.grad = weight.detach() ** 2
            optimiser.step()
        return weight.detach()

    expected = stepped(torch.optim.AdamW)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("asked for a GPU")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", refuse)
    assert torch.equal(stepped(AdamW), expected)
    with pytest.raises(AssertionError, match="asked for a GPU"):
        stepped(torch.optim.AdamW)
