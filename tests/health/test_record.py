"""The probe changes nothing it looks at, sees a collapse, and a loss that is no number ends the run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from salience.batch import Batch, Progress
from salience.data import open_data
from salience.errors import Note, UserError
from salience.health import record as record_module
from salience.health.probe import FIXED_VIEWS, SIZE, Probe, own_statistics, view_distance
from salience.health.record import Diverged, Health
from salience.measures.raw_features import raw_features
from salience.methods import Method
from salience.methods.lightning import LightningMethod
from salience.run import Run
from salience.training import fit
from salience.verbs.doctor import doctor
from tests.contract import QUICK, build, structured_images
from tests.two_processes import two_processes


def test_looking_changes_neither_buffers_nor_randomness_nor_modes() -> None:
    method, data = build("simclr", structured_images()), structured_images()
    assert isinstance(method, Method)
    method.train()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    state = torch.random.get_rng_state()
    probe = Probe(data, total=10, seed=0)
    probe.about(method, 32)
    probe.look(method, 3, knn=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(module.training for module in method.modules())


def test_the_probe_is_normalised_by_its_own_statistics() -> None:
    norm = torch.nn.BatchNorm1d(3)
    norm.running_mean.fill_(100.0)
    x = torch.randn(50, 3) * 4 + 7
    with own_statistics(norm):
        y = norm(x)
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    assert norm.running_mean[0] == 100.0


def test_the_probe_does_not_see_running_statistics() -> None:
    """Those of a young network look like a collapse."""
    method, data = build("simclr", structured_images()), structured_images()
    assert isinstance(method, Method)
    probe = Probe(data, total=10, seed=0)
    before = probe.look(method, 0)
    norms = [part for part in method.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    for norm in norms:
        norm.running_mean.fill_(100.0)
        norm.running_var.fill_(1e6)
    assert probe.look(method, 0) == before


def test_views_are_as_far_apart_as_what_was_changed_beside_what_items_differ() -> None:
    items = torch.zeros(4, 1, 2, 2)
    items[::2] = 1.0  # neighbours in a batch are 1 apart at every pixel
    assert view_distance(items, items, items) == 0
    assert view_distance(items, items + 0.25, items) == pytest.approx(0.25)
    assert view_distance(items, items + 0.25, 2 * items) == pytest.approx(0.125)


def test_data_of_one_item_are_seen() -> None:
    data = structured_images()
    for given, same in ((data, False), (data.subset([0] * 80), True)):
        method = build("autoencoder", given, dim=4)
        assert isinstance(method, Method)
        assert Probe(given, total=10, seed=0).about(method, 8)["one_item"] is same


def test_what_is_rebuilt_is_measured_beside_the_mean_item() -> None:
    """0 for the items themselves, 1 for their mean, 4 for twice as far from it on the other side."""
    method, data = build("autoencoder", structured_images(), dim=4), structured_images()
    assert isinstance(method, Method)
    probe = Probe(data, total=10, seed=0)
    x = method.encoder.input.unit(probe.batch.x)
    mean = x.mean(dim=0, keepdim=True)
    for rebuilt, share in ((x, 0), (mean.expand_as(x), 1), (2 * mean - x, 4)):
        method.decode = lambda codes, rebuilt=rebuilt: rebuilt
        assert probe.look(method, 0)["unexplained"] == pytest.approx(share, abs=1e-5)
    assert "unexplained" not in probe.look(build("simclr", data), 0)
    method.decode = lambda codes: torch.full_like(x, torch.nan)
    assert "unexplained" not in probe.look(method, 0)  # health.json is JSON


def test_a_stack_is_asked_what_it_rebuilds_once_all_of_it_is_trained() -> None:
    method, data = build("stacked_autoencoder", structured_images(), depth=2, hidden=8, dim=4), structured_images()
    assert isinstance(method, Method)
    probe = Probe(data, total=100, seed=0)
    last = min(step for step in range(100) if method.stage(Progress(step, 100))[0] == 2)
    asked = [step for step in range(0, 100, 5) if "unexplained" in probe.look(method, step)]
    assert asked == [step for step in range(0, 100, 5) if step - last >= (100 - last) / 2]


def test_a_penalty_that_leaves_nothing_of_the_items_is_told(tmp_path: Path) -> None:
    """Weight 3 kills seven in ten units of this net; its neighbours, at .94 untrained, end at chance."""
    settings = {"encoder": "mlp", "epochs": 30, "progress": False}
    fit("sparse_autoencoder", "digits", out=tmp_path / "run", weight=3.0, **settings)
    found = doctor(tmp_path / "run")
    assert found.verdict == "failing"
    assert {"most units are dead", "reconstructions are no better than the mean item"} <= {
        f.what for f in found.findings
    }


def test_a_collapsed_encoder_is_seen() -> None:
    method, data = build("autoencoder", structured_images(), dim=4), structured_images()
    assert isinstance(method, Method)
    probe = Probe(data, total=10, seed=0)
    healthy = probe.look(method, 0)
    for parameter in method.encoder.body[-1].parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(method.encoder.body[-1].bias)
    collapsed = probe.look(method, 0)
    assert collapsed["effective_rank"] == pytest.approx(1, abs=1e-3)
    assert collapsed["std"] < 1e-3 < healthy["std"]
    assert collapsed["uniformity"] == pytest.approx(0, abs=1e-6)


def test_probes_cover_the_run(tmp_path: Path) -> None:
    rep = fit("simclr", structured_images(), out=tmp_path / "run", **QUICK)
    probes = json.loads((Run(rep.run or "").path / "health.json").read_text())["probes"]
    assert [probe["step"] for probe in probes] == [0, 5, 9]


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_no_number_ends_the_run_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"diverged.* fit again with a lower --learning-rate"):
        fit("autoencoder", structured_images(), out=tmp_path / "run", encoder="mlp", **QUICK, learning_rate=1e30)
    assert not Run(tmp_path / "run").finished


def ends_at_a_loss_of_one_process(rank: int) -> str:
    """What a process is told whose own loss is fine, or not a number on rank 1."""
    probe = Probe(structured_images(), total=10, seed=0)
    health = Health(Path("unwritten"), probe, {"steps": 10}, batch_size=4, every=1, warn=False)
    optimiser = SimpleNamespace(param_groups=[{"lr": 0.5}])
    trainer = SimpleNamespace(global_step=3, is_global_zero=False, optimizers=[optimiser])
    try:
        health.on_train_batch_end(trainer, torch.nn.Identity(), {"loss": torch.tensor([1.0, torch.nan][rank])})
    except Diverged as problem:
        return str(problem)
    return "went on"


def test_all_processes_end_when_the_loss_of_one_is_no_number() -> None:
    first, second = two_processes(ends_at_a_loss_of_one_process, start="fork")
    assert "diverged: the loss is 1.0 at step 3" in first
    assert "diverged: the loss is nan at step 3" in second


def test_neighbours_are_asked_only_where_they_are_the_aim() -> None:
    data = structured_images(labelled=True)
    for name, asked in (("simclr", True), ("conditional_gan", False)):
        method, probe = build(name, data), Probe(data, total=10, seed=0)
        assert isinstance(method, Method)
        seen = probe.look(method, 0, knn=True)
        assert seen is not None
        assert ("knn" in seen) is asked
        assert ("raw_knn" in probe.about(method, 32)) is asked


def test_the_floor_of_raw_input_is_around_its_mean_as_evaluation_has_it() -> None:
    """Faint patterns on a white ground: all cosines of the pixels as they are are nearly one."""
    generator, kinds = np.random.default_rng(0), np.arange(240) % 30
    faint = 240 - generator.uniform(0, 16, (30, 8, 8))[kinds] + generator.normal(0, 12, (240, 8, 8))
    data = open_data(faint.clip(0, 255).astype(np.uint8), labels=kinds, progress=False)
    method, probe = build("simclr", data), Probe(data, total=10, seed=0)
    assert isinstance(method, Method)
    assert probe.labelled is not None
    assert probe.labelled.labels is not None
    x, labels = raw_features(probe.labelled).astype(np.float64), probe.labelled.labels
    found = []
    for origin in (x.mean(0), 0.0):
        unit = (x - origin) / np.linalg.norm(x - origin, axis=1, keepdims=True)
        weights = np.exp(unit @ unit.T / 0.1)
        right = []
        for row in range(len(x)):
            others = np.delete(np.arange(len(x)), row)
            nearest = others[np.argsort(-weights[row, others])[:20]]
            right.append(np.bincount(labels[nearest], weights[row, nearest]).argmax() == labels[row])
        found.append(np.mean(right))
    assert found[0] > found[1] + 0.02
    assert probe.about(method, 32)["raw_knn"] == pytest.approx(found[0], abs=1e-4)


def test_two_looks_at_neighbours_come_before_the_first_warning(tmp_path: Path) -> None:
    rep = fit("simclr", structured_images(labelled=True), out=tmp_path / "run", **QUICK | {"epochs": 20})
    probes = json.loads((Run(rep.run or "").path / "health.json").read_text())["probes"]
    total = probes[-1]["step"]
    asked = [number for number, probe in enumerate(probes) if "knn" in probe]
    assert asked == [0, 1, 2, 3, 6, 9, 12, len(probes) - 1][: len(asked)]
    assert sum(0 < probes[number]["step"] <= total / 4 for number in asked) >= 2


def ends_at_what_the_first_has_seen(rank: int) -> str:
    """Only the first process looks, and sees a representation that is not finite."""
    method, probe = build("autoencoder", structured_images()), Probe(structured_images(), total=10, seed=0)
    torch.nn.init.constant_(next(method.parameters()), torch.nan)
    with tempfile.TemporaryDirectory() as folder:
        health = Health(Path(folder) / "health.json", probe, {"steps": 10}, batch_size=4, every=1, warn=False)
        health.record = {"about": {}, "probes": []}
        optimiser = SimpleNamespace(param_groups=[{"lr": 0.5}])
        trainer = SimpleNamespace(global_step=5, is_global_zero=rank == 0, optimizers=[optimiser])
        try:
            health.on_train_batch_end(trainer, LightningMethod(method), {"loss": torch.tensor(1.0)})
        except UserError as problem:
            return str(problem)
    return "went on"


def test_all_processes_end_at_what_only_the_first_has_seen() -> None:
    first, second = two_processes(ends_at_what_the_first_has_seen, start="fork")
    assert "diverged: the representation is not finite at step 5" in first
    assert second == "run: the first process ended the training; see its message"


def test_the_probe_has_items_from_the_whole_source_by_the_seed_alone() -> None:
    data = open_data(np.arange(4000, dtype=np.float32).reshape(2000, 2), progress=False)
    first, same, other = (Probe(data, total=10, seed=seed).batch.index.numpy() for seed in (0, 0, 1))
    assert len(set(first)) == len(first) == SIZE
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert abs(first.mean() - 1000) < 4 * 577 / SIZE**0.5  # of rows drawn evenly


def test_the_probe_sees_views_that_no_training_draws_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    method, data = build("simclr", structured_images()), structured_images()
    assert isinstance(method, Method)
    epochs, whole = [], type(method.views).forward

    def forward(self: Any, batch: Batch, at: Progress) -> Any:
        epochs.append(at.epoch)
        return whole(self, batch, at)

    monkeypatch.setattr(type(method.views), "forward", forward)
    probe = Probe(data, total=10, seed=0)
    probe.about(method, 32)
    assert probe.look(method, 0) == probe.look(method, 7)
    assert set(epochs) == {FIXED_VIEWS}


def test_the_size_of_the_gradient_is_that_of_the_step_before_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = []

    def before(self: Method, at: Progress) -> None:
        squares = [float(p.grad.double().square().sum()) for p in self.parameters() if p.grad is not None]
        norms.append(sum(squares) ** 0.5)

    monkeypatch.setattr(Method, "before_update", before)
    rep = fit("autoencoder", structured_images(), out=tmp_path / "run", encoder="linear", dim=2, **QUICK)
    probes = json.loads((Run(rep.run or "").path / "health.json").read_text())["probes"]
    assert "gradient" not in probes[0]
    assert len(probes) > 2
    for seen in probes[1:]:
        assert seen["gradient"] == pytest.approx(norms[seen["step"] - 1], rel=1e-3)


def test_a_verdict_is_told_once_and_not_before_a_quarter_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = SimpleNamespace(what="nothing is learnt", why="by a test", change="do otherwise")
    ill = SimpleNamespace(verdict="failing", findings=[finding])
    monkeypatch.setattr(record_module, "diagnose", lambda *seen: ill)
    with pytest.warns(Note) as told:
        fit("autoencoder", structured_images(), out=tmp_path / "run", encoder="linear", dim=2,
            **QUICK | {"epochs": 20, "progress": True})  # fmt: skip
    assert [str(one.message) for one in told] == ["step 15: failing; nothing is learnt (by a test); do otherwise"]
