"""The Lightning adapter: names in checkpoints, which buffers are sent, the plan, resuming under a user's Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from salience.batch import Batch, Progress
from salience.methods import Method
from salience.methods.lightning import LightningMethod, Plan
from tests import contract

STEPS = 6
PLAN = Plan(STEPS, 3, 1e-3, seed=5)


def built(name: str) -> Method:
    method = contract.build(name, contract.dataset_for(name))
    assert isinstance(method, Method)
    return method


def trainer(steps: int) -> L.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return L.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", enable_model_summary=False, log_every_n_steps=1, **quiet
    )


@pytest.mark.parametrize("name", ["byol", "moco", "gan"])
def test_a_trainers_checkpoint_is_read_by_the_method_and_resumed_by_the_adapter(name: str, tmp_path: Path) -> None:
    loader = contract.dataset_for(name).loader(32, seed=5)
    whole = built(name)
    trainer(STEPS).fit(LightningMethod(whole, PLAN), loader)
    half, begun = trainer(3), built(name)
    half.fit(LightningMethod(begun, PLAN), contract.dataset_for(name).loader(32, seed=5))
    half.save_checkpoint(tmp_path / "half.ckpt")

    kept = torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"]
    assert kept.keys() == begun.state_dict().keys()
    torch.manual_seed(9)
    other = type(begun).build(contract.Context(begun.encoder.spec, contract.ROWS))
    other.load_state_dict(kept)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in begun.state_dict().items())

    resumed, rest = built(name), contract.dataset_for(name).loader(32, seed=5)
    rest.epoch = 1
    trainer(STEPS).fit(LightningMethod(resumed, PLAN), rest, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for key, expected in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], expected), key


@pytest.mark.parametrize("name", ["moco", "crvae", "swav", "simclr"])
def test_what_is_alike_on_all_processes_is_not_sent(name: str) -> None:
    method = built(name)
    named = set(dict(LightningMethod(method).named_buffers()))
    left_out = LightningMethod(method)._ddp_params_and_buffers_to_ignore
    assert left_out == [f"method.{buffer}" for buffer in method._ddp_params_and_buffers_to_ignore]
    assert set(left_out) <= named
    assert bool(left_out) == (name != "simclr")


def test_a_method_says_where_its_weights_are_and_of_what_type() -> None:
    method = built("vae")
    assert (method.device.type, method.dtype) == ("cpu", torch.float32)
    assert method.double().dtype == torch.float64
    assert method.to("meta").device.type == "meta"


def test_a_method_is_no_lightning_module() -> None:
    assert not any(base.__module__.startswith("lightning") for base in type(built("simclr")).__mro__)
    assert Method.__mro__[1] is torch.nn.Module


def test_without_a_plan_steps_and_rate_are_the_trainers() -> None:
    seen: list[Any] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
            assert isinstance(pl_module, LightningMethod)
            seen.append((pl_module.progress(), trainer.optimizers[0].param_groups[0]["lr"]))

    own = L.Trainer(
        max_epochs=4, accelerator="cpu", callbacks=[Watch()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    method = built("simclr")
    own.fit(LightningMethod(method), contract.dataset_for("simclr").loader(32))
    assert [(at.step, at.total, at.epoch) for at, _ in seen] == [(step, 12, step // 3) for step in range(12)]
    assert [rate for _, rate in seen] == pytest.approx([1e-3 * method.rate_factor(step, 12) for step in range(12)])


@pytest.mark.parametrize(("name", "batches"), [("gan", 1), ("simclr", 1), ("simclr", 3)])
def test_a_step_begins_once_whatever_its_turns_and_batches(
    name: str, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, begun, drawn = built(name), [], []
    whole = type(method).loss

    def loss(self: Method, batch: Batch, at: Progress) -> dict[str, torch.Tensor]:
        drawn.append((at.step, float(torch.rand(()))))
        return whole(self, batch, at)

    monkeypatch.setattr(type(method), "before_step", lambda self, at: begun.append(at.step))
    monkeypatch.setattr(type(method), "loss", loss)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    own = L.Trainer(
        max_epochs=2, accelerator="cpu", enable_model_summary=False, log_every_n_steps=1,
        accumulate_grad_batches=batches, **quiet,
    )  # fmt: skip
    own.fit(LightningMethod(method), contract.dataset_for(name).loader(32))
    assert begun == list(range(6 // batches))
    assert [step for step, _ in drawn] == [step for step in begun for _ in range(batches * len(method.turns))]
    assert len({value for _, value in drawn}) == len(drawn)  # what is random goes on within a step
