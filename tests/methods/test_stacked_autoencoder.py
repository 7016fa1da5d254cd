"""The stacked autoencoder: layers stand still while those above learn, one layer is a denoising autoencoder, the
unrolled stack is its layers in a row, labels are learnt from where they are known, a killed fit resumes exactly."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from salience.batch import Batch, Progress
from salience.data import Dataset
from salience.errors import UserError
from salience.methods import Context
from salience.methods.autoencoders.denoising_autoencoder import DenoisingAutoencoder
from salience.methods.autoencoders.stacked_autoencoder import StackedAutoencoder
from salience.representation import load
from salience.run import Run
from salience.training import fit, resume
from salience.verbs.anomalies import anomalies
from salience.views.random import Keys
from tests import contract
from tests.methods.proof import assert_same_value_and_gradient

pytestmark = pytest.mark.filterwarnings("ignore::salience.errors.Note")  # what the doctor says of so small a run
SMALL = {"dim": 6, "hidden": 12}
QUICK = contract.QUICK | SMALL


def built(*, classes: int = 0, **options: object) -> StackedAutoencoder:
    dataset = contract.structured_images()
    torch.manual_seed(0)
    return StackedAutoencoder.build(Context(dataset.spec, len(dataset), classes=classes), **SMALL | options)


def batch(rows: int = 32, *, labelled: bool = False) -> Batch:
    return contract.structured_images(labelled=labelled).batch(np.arange(rows))


def moment(method: StackedAutoencoder, stage: int) -> Progress:
    return [at for _, at in method.phases()][stage]


def test_stages_are_the_layers_and_a_last_one_of_half_the_steps() -> None:
    names = {tune: [s.name for s in built(depth=2, fine_tune=tune).stages] for tune in ("rebuild", "none")}
    assert names == {"rebuild": ["layer 1", "layer 2", "fine-tuning"], "none": ["layer 1", "layer 2"]}
    assert [share for share, _ in built(depth=2).phases()] == [0.25, 0.25, 0.5]


@pytest.mark.parametrize("noisy", [0.0, 0.3])
def test_one_layer_is_a_denoising_autoencoder(noisy: float) -> None:
    stacked = built(depth=1, level=noisy)
    plain = DenoisingAutoencoder(stacked.encoder, stacked.decoders[0], dim=6, noise="masking", level=noisy)
    at = Progress(step=1, total=100, epoch=2, seed=3)
    losses = [method.loss(batch(), at)["loss"] for method in (stacked, plain)]
    assert_same_value_and_gradient(*losses, tuple(plain.parameters()))


@pytest.mark.parametrize("stage", [1, 2])
def test_a_layer_denoises_the_code_of_the_layers_below(stage: int) -> None:
    """By hand, up to the layer; no gradient goes anywhere else."""
    method, at = built(level=0.4), moment(built(), stage)
    h = (batch().x.float().flatten(1) / 255 - method.encoder.input.mean.item()) / method.encoder.input.std.item()
    for layer in list(method.encoder.body)[:stage]:
        h = torch.clamp(h @ layer[1].weight.T + layer[1].bias, min=0)
    dropped = Keys.of(at.seed, at.epoch, batch().index).fold("corruption").uniform(h.shape[1]) < 0.4
    top, down = method.encoder.body[stage][1], method.decoders[stage]
    code = torch.clamp(torch.where(dropped, 0.0, h) @ top.weight.T + top.bias, min=0)
    expected = ((code @ down.weight.T + down.bias - h) ** 2).mean()
    loss = method.loss(batch(), at)["loss"]
    torch.testing.assert_close(loss, expected)
    loss.backward()
    trained = {id(p) for module in (method.encoder.body[stage], method.decoders[stage]) for p in module.parameters()}
    for name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in trained), name


def test_the_unrolled_stack_is_its_layers_in_a_row() -> None:
    method = built().double()
    x = method.encoder.input.unit(batch().x)
    h = x
    for level in range(3):
        h = method.layer(level, h)
    torch.testing.assert_close(method.embed(batch()), h, rtol=0, atol=0)
    assert h.shape == (32, 6)
    for level in (2, 1):
        h = method.decoders[level](h).clamp(min=0)
    rebuilt = method.decoders[0](h)
    torch.testing.assert_close(method.decode(method.embed(batch())), rebuilt, rtol=0, atol=0)
    torch.testing.assert_close(method.loss(batch(), moment(method, 3))["loss"], ((rebuilt - x) ** 2).mean())


def everything(method: StackedAutoencoder) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in method.state_dict().items()}


def part_of(name: str) -> int:
    """The stage that trains it; 9 for what none does."""
    words = name.split(".")
    return int(words[2]) if words[1] == "body" else int(words[1]) if words[0] == "decoders" else 9


def test_lower_layers_stay_bit_identical_while_upper_ones_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, biases and buffers, at every step of a real fit with weight decay, its checkpoints and probes."""
    seen: list[tuple[int, dict[str, Tensor]]] = []

    def noted(self: StackedAutoencoder, at: Progress) -> None:
        seen.append((self.stage(at)[0], everything(self)))

    monkeypatch.setattr(StackedAutoencoder, "after_step", noted)
    settings = QUICK | {"epochs": 4, "checkpoint_every": "0.0001s"}
    fit("stacked_autoencoder", contract.structured_images(), out=tmp_path / "run", **settings)
    assert [stage for stage, _ in seen] == [0] * 2 + [1] * 2 + [2] * 2 + [3] * 6
    for (_, before), (stage, now) in pairwise(seen):
        for name, tensor in now.items():
            moves = part_of(name) == stage or (stage == 3 and part_of(name) < 9)
            assert torch.equal(tensor, before[name]) != moves, (stage, name)


def test_without_fine_tuning_nothing_is_predicted_and_greedy_layers_stay(tmp_path: Path) -> None:
    rep = fit("stacked_autoencoder", contract.structured_images(), out=tmp_path / "run", fine_tune="none", **QUICK)
    assert len(rep.method.stages) == 3
    assert rep.capabilities == ("decodes",)
    with pytest.raises(UserError, match=r"^run: this stacked_autoencoder cannot name classes: it was trained without"):
        rep.require("predict", "name classes")


def test_labels_are_learnt_where_the_fit_may_see_them(tmp_path: Path) -> None:
    dataset = contract.structured_images(labelled=True)
    settings = {"use_labels": True, "hidden": 64, "dim": 32, "depth": 2, "batch_size": 32, "progress": False}
    rep = fit("stacked_autoencoder", dataset, out=tmp_path / "run", epochs=30, learning_rate=0.01, **settings)
    assert rep.method.fine_tune == "labels"
    assert rep.capabilities == ("predicts",)
    with pytest.raises(UserError, match=r"^run: this stacked_autoencoder cannot decode: it was fine-tuned with labels"):
        rep.decode(torch.zeros(1, 32))
    assert anomalies(rep, dataset).about["score"] == "neighbours"  # where others are judged by what they rebuild
    chances = load(tmp_path / "run").method.predict(dataset.batch(np.arange(contract.ROWS)))
    assert chances.shape == (contract.ROWS, contract.CLASSES)
    torch.testing.assert_close(chances.sum(dim=1), torch.ones(contract.ROWS))
    unseen = np.arange(contract.ROWS) % 8 == 0  # whose labels were unknown
    right = chances.argmax(dim=1).numpy() == contract.structured_labels()
    assert right[unseen].mean() > 0.9


def test_the_head_learns_the_loss_of_the_known_labels() -> None:
    method = built(classes=3).double()
    labelled = batch(labelled=True)
    loss = method.loss(labelled, moment(method, 3))["loss"]
    logits = method.embed(labelled) @ method.head.weight.T + method.head.bias
    assert (labelled.label == -1).any()
    torch.testing.assert_close(loss, F.cross_entropy(logits, labelled.label, ignore_index=-1))  # the mean of the known
    torch.testing.assert_close(method.predict(labelled), F.softmax(logits, dim=1).float(), check_dtype=False)
    assert torch.equal(method.yardstick(labelled, Progress()), loss)  # in every stage


def test_auto_takes_labels_where_there_are_classes() -> None:
    assert built().fine_tune == "rebuild"
    assert built().head is None
    assert built(classes=3).fine_tune == "labels"
    assert built(classes=3, fine_tune="rebuild").head is None


def test_labels_that_are_not_there_are_refused(tmp_path: Path) -> None:
    dataset = contract.structured_images(labelled=True)
    with pytest.raises(UserError, match=r"^fine_tune: this fit does not use labels; .*use_labels=True"):
        fit("stacked_autoencoder", dataset, out=tmp_path / "run", fine_tune="labels", **QUICK)
    with pytest.raises(UserError, match=r"^fine_tune: the batches have no labels"):
        built(classes=3).yardstick(batch(), Progress())
    with pytest.raises(UserError, match=r"^encoder: 'resnet18' was given, but stacked_autoencoder uses its own"):
        contract.build("stacked_autoencoder", dataset, encoder="resnet18")


def test_dead_units_are_counted() -> None:
    method = built()
    with torch.no_grad():
        method.encoder.body[2][1].bias[:3] = -1e4
        method.encoder.body[2][1].bias[3:] = 1e4
    assert method.vitals(batch(), Progress())["dead_units"] == 0.5


def stacked_fit(out: Path, dataset: Dataset) -> None:
    fit("stacked_autoencoder", dataset, out=out, **QUICK | {"epochs": 4, "checkpoint_every": "0.0001s"})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.parametrize("killed_at", [3, 4])  # in the second stage, and in the first step of the third
def test_a_killed_fit_resumes_to_the_same_weights(killed_at: int, tmp_path: Path) -> None:
    dataset = contract.structured_images()
    stacked_fit(tmp_path / "whole", dataset)
    child = os.fork()
    if child == 0:
        StackedAutoencoder.after_step = lambda self, at: os._exit(9) if at.step == killed_at else None  # type: ignore[method-assign]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        stacked_fit(tmp_path / "run", dataset)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert Run(tmp_path / "run").step == killed_at
    resume(tmp_path / "run", dataset, progress=False)
    assert Run(tmp_path / "run").weights.read_bytes() == Run(tmp_path / "whole").weights.read_bytes()
