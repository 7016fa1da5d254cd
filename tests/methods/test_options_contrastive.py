"""What each option of the contrastive methods does, seen in the loss of a whole method and in what a step leaves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from salience.batch import Progress
from tests.methods import test_barlowtwins as barlowtwins
from tests.methods import test_cmc as cmc
from tests.methods import test_dino as dino
from tests.methods import test_moco as moco
from tests.methods import test_simclr as simclr
from tests.methods import test_supcon as supcon
from tests.methods import test_swav as swav
from tests.methods.effects import (
    AT,
    Effects,
    assert_rises,
    assert_weighs,
    batch_of,
    built,
    loss_of,
    options_of_family,
    widths,
)

EFFECTS = Effects()
WIDTH = 256  # of the representation of "mlp"


def two_views(method: Any, name: str) -> tuple[Tensor, Tensor]:
    """The first and the second global view of the batch."""
    views = method.views
    return tuple(views.one(batch_of(name), AT, "global", number).x for number in range(2))  # type: ignore[return-value]


def projected(method: Any, name: str) -> tuple[Tensor, Tensor]:
    a, b = (method.projector(method.encoder(x)) for x in two_views(method, name))
    assert not torch.allclose(a, b)
    return a, b


# --- widths -----------------------------------------------------------------------------------------------------------

HEADS: dict[str, Callable[[int], dict[str, list[int]]]] = {  # network -> widths of its layers, where the option is n
    "simclr.dim": lambda n: {"projector": [WIDTH, n]},
    "supcon.dim": lambda n: {"projector": [WIDTH, n]},
    "cmc.dim": lambda n: {"luminance_projector": [n], "chroma_projector": [n]},
    "byol.dim": lambda n: {
        "projector": [2 * WIDTH, n], "predictor": [2 * WIDTH, n], "teacher_projector": [2 * WIDTH, n]
    },
    "byol.hidden": lambda n: {"projector": [n, 256], "predictor": [n, 256], "teacher_projector": [n, 256]},
    "moco.dim": lambda n: {"projector": [WIDTH, n], "teacher_projector": [WIDTH, n]},
    "simsiam.dim": lambda n: {"projector": [n, n, n], "predictor": [n // 4, n]},
    "simsiam.bottleneck": lambda n: {"projector": [WIDTH] * 3, "predictor": [n, WIDTH]},
    "barlowtwins.dim": lambda n: {"projector": [n, n, n]},
    "vicreg.dim": lambda n: {"projector": [n, n, n]},
    "swav.dim": lambda n: {"projector": [2 * WIDTH, n], "scorer": [32]},
    "swav.hidden": lambda n: {"projector": [n, 128], "scorer": [32]},
    "swav.prototypes": lambda n: {"projector": [2 * WIDTH, 128], "scorer": [n]},
    "dino.hidden": lambda n: {"projector": [n, n, 256], "teacher_projector": [n, n, 256]},
    "dino.bottleneck": lambda n: {"projector": [4 * WIDTH] * 2 + [n], "teacher_projector": [4 * WIDTH] * 2 + [n]},
}  # fmt: skip
DEFAULTS = {  # what the help says that each is by default, with this encoder and 96 rows
    "simclr.dim": 128, "supcon.dim": 128, "cmc.dim": 128, "byol.dim": 256, "byol.hidden": 2 * WIDTH, "moco.dim": 128,
    "simsiam.dim": WIDTH, "simsiam.bottleneck": WIDTH // 4, "barlowtwins.dim": 4 * WIDTH, "vicreg.dim": 4 * WIDTH,
    "swav.dim": 128, "swav.hidden": 2 * WIDTH, "swav.prototypes": 32, "dino.hidden": 4 * WIDTH, "dino.bottleneck": 256,
}  # fmt: skip


@EFFECTS.of(*HEADS)
def widths_of_heads(name: str, option: str) -> None:
    key = f"{name}.{option}"
    for options, value in (({option: 24}, 24), ({}, DEFAULTS[key])):
        method = built(name, **options)
        assert getattr(method, option) == value
        assert {part: widths(getattr(method, part)) for part in HEADS[key](value)} == HEADS[key](value)
        assert torch.isfinite(loss_of(method, name))


@EFFECTS.of("dino.outputs")
def dino_outputs(name: str, option: str) -> None:
    for outputs in (5, 64):
        method: Any = built(name, outputs=outputs)
        assert method.projector(torch.randn(3, WIDTH).double()).shape == (3, outputs)
        assert method.teacher_projector(torch.randn(3, WIDTH).double()).shape == (3, outputs)
        assert method.centre.shape == (outputs,)


# --- temperatures and weights, by the paper's formula over the views the method draws ---------------------------------

LOOPS: dict[str, Callable[[Any, float], Tensor]] = {
    "simclr": lambda method, t: simclr.paper_loop(*projected(method, "simclr"), t),
    "supcon": lambda method, t: supcon.paper_loop(*projected(method, "supcon"), batch_of("supcon").label, t),
    "cmc": lambda method, t: cmc.paper_loop(*sides(method), t),
    "moco": lambda method, t: moco.paper_loop(*queries_and_keys(method), method.old_keys, t),
}


def sides(method: Any) -> tuple[Tensor, Tensor]:
    """Projections of the luminance and of the chroma of one view."""
    x = method.views.one(batch_of("cmc"), AT).x
    light, colour = method.encoder(x).split(WIDTH, dim=1)
    return method.luminance_projector(light), method.chroma_projector(colour)


def queries_and_keys(method: Any) -> tuple[Tensor, Tensor]:
    """In eval mode, where company does not matter."""
    method.eval()
    first, second = two_views(method, "moco")
    return method.projector(method.encoder(first)), method.teacher_projector(method.teacher_encoder(second))


@EFFECTS.of("simclr.temperature", "supcon.temperature", "cmc.temperature", "moco.temperature")
def temperature_is_that_of_the_formula(name: str, option: str) -> None:
    for temperature in (0.05, 0.8):
        method = built(name, temperature=temperature, dim=8)
        expected = LOOPS[name](method, temperature)
        torch.testing.assert_close(loss_of(method, name), expected, rtol=1e-9, atol=1e-9)
    default = {"simclr": 0.5, "supcon": 0.1, "cmc": 0.07, "moco": 0.2}[name]
    method = built(name, dim=8)
    torch.testing.assert_close(LOOPS[name](method, default), loss_of(method, name), rtol=1e-9, atol=1e-9)


@EFFECTS.of("barlowtwins.redundancy")
def redundancy_weighs_the_other_dimensions(name: str, option: str) -> None:
    losses = []
    for redundancy in (0.0, 0.0051, 2.0):
        method = built(name, redundancy=redundancy, dim=4)
        expected = barlowtwins.paper_loop(*projected(method, name), redundancy)
        losses.append(loss_of(method, name))
        torch.testing.assert_close(losses[-1], expected, rtol=1e-9, atol=1e-9)
    assert_rises(losses)


@EFFECTS.of("vicreg.invariance", "vicreg.variance", "vicreg.covariance")
def each_weight_of_vicreg_is_of_its_own_term(name: str, option: str) -> None:
    assert_weighs(name, option, lambda terms: terms[option], dim=16)
    method = built(name, dim=16)
    a, b = projected(method, name)
    terms = method.loss(batch_of(name), AT)
    torch.testing.assert_close(terms["invariance"], (a - b).square().mean())
    spread = [F.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean() for z in (a, b)]
    torch.testing.assert_close(terms["variance"], (spread[0] + spread[1]) / 2)
    between = [z.T.cov().square().sum() - z.T.cov().diagonal().square().sum() for z in (a, b)]
    torch.testing.assert_close(terms["covariance"], (between[0] + between[1]) / 16)


def crops_of(method: Any, name: str) -> tuple[list[Tensor], list[Tensor]]:
    views = method.views(batch_of(name), AT)
    return [view.x for view in views["global"]], [view.x for view in views["local"]]


@EFFECTS.of("dino.student_temperature", "dino.teacher_temperature")
def temperatures_of_dino_are_those_of_the_formula(name: str, option: str) -> None:
    paper = {"student_temperature": 0.1, "teacher_temperature": 0.04}
    for value in (0.02, 0.5):
        method: Any = built(name, local_crops=1, outputs=5, **{option: value}).eval()
        method.centre.copy_(torch.linspace(-0.2, 0.2, 5))
        large, small = crops_of(method, name)
        student = torch.stack([method.projector(method.encoder(x)) for x in large + small])
        teacher = torch.stack([method.teacher_projector(method.teacher_encoder(x)) for x in large])
        expected = dino.paper_loop(student, teacher, method.centre, **{**paper, option: value})  # AT is past the rise
        torch.testing.assert_close(loss_of(method, name), expected, rtol=1e-9, atol=1e-9)
    rising: Any = built(name, teacher_temperature=0.5)
    assert [rising.sharpness(Progress(step, 100)) for step in (0, 5, 10, 100)] == pytest.approx([0.04, 0.27, 0.5, 0.5])


@EFFECTS.of("swav.temperature", "swav.epsilon", "swav.iterations")
def sharpness_of_swav_is_that_of_the_formula(name: str, option: str) -> None:
    paper: dict[str, Any] = {"temperature": 0.1, "epsilon": 0.05, "iterations": 3}
    losses = []
    for value in (1, 4) if option == "iterations" else (0.03, 0.4):
        method: Any = built(name, local_crops=1, prototypes=5, queue=0, **{option: value}).eval()
        large, small = crops_of(method, name)
        scores = torch.stack([
            F.normalize(method.projector(method.encoder(x)), dim=1) @ method.scorer.weight.T for x in large + small
        ]).detach()  # fmt: skip
        expected = swav.paper_loop(scores, scores[:2, :0], **{**paper, option: value})
        losses.append(loss_of(method, name).detach())
        torch.testing.assert_close(losses[-1], expected, rtol=1e-9, atol=1e-9)
    assert losses[0] != losses[1]


# --- views and queues -------------------------------------------------------------------------------------------------


@EFFECTS.of("dino.local_crops", "swav.local_crops")
def local_crops_are_seen_by_the_student_alone(name: str, option: str) -> None:
    for count in (0, 1, 3):
        method: Any = built(name, local_crops=count)
        seen: list[int] = []
        method.encoder.register_forward_hook(lambda _, inputs, __, seen=seen: seen.append(len(inputs[0])))
        teacher: list[int] = []
        if name == "dino":
            method.teacher_encoder.register_forward_hook(lambda _, inputs, __, t=teacher: t.append(len(inputs[0])))
        loss_of(method, name)
        assert sum(seen) == (2 + count) * 8
        assert teacher == ([16] if name == "dino" else [])


@EFFECTS.of("moco.queue")
def a_longer_queue_has_more_negatives(name: str, option: str) -> None:
    losses = []
    for length in (1, 16, 64):
        method: Any = built(name, queue=length).eval()
        assert method.old_keys.shape == (length, 128)
        assert method.collapsed_loss(8) == pytest.approx(math.log(length + 1))
        losses.append(loss_of(method, name))
    assert_rises(losses)  # of random keys, each adds to the sum in the denominator


@EFFECTS.of("moco.head")
def the_head_of_moco(name: str, option: str) -> None:
    assert widths(built(name, head="linear").projector) == [128]  # type: ignore[arg-type]
    assert widths(built(name, head="mlp").projector) == [WIDTH, 128]  # type: ignore[arg-type]
    assert [built(name, head=head).temperature for head in ("linear", "mlp")] == [0.07, 0.2]


@EFFECTS.of("moco.groups")
def groups_are_normalised_on_their_own(name: str, option: str) -> None:
    for groups in (1, 2, 4):
        method: Any = built(name, groups=groups)
        sizes: list[int] = []
        for network in (method.encoder.body, method.teacher_encoder.body):
            network.register_forward_hook(lambda _, inputs, __, sizes=sizes: sizes.append(len(inputs[0])))
        loss_of(method, name)
        assert sizes == [8 // groups] * (2 * groups)


@EFFECTS.of("swav.queue", "swav.queue_start")
def earlier_projections_help_once_the_queue_is_full_and_its_time_has_come(name: str, option: str) -> None:
    for queue, start, first in ((16, 0.0, 2), (24, 0.0, 3), (16, 0.5, 5), (16, 1.0, 10)):
        method: Any = built(name, queue=queue, queue_start=start)
        assert method.earlier.shape == (queue, 2, 128)
        helped = [method.queued(8, Progress(step, 10)).shape[1] for step in range(11)]
        assert helped == [0] * first + [queue] * (11 - first)


# --- what moves after a step ------------------------------------------------------------------------------------------


@EFFECTS.of("byol.momentum", "dino.momentum", "moco.momentum")
def the_teacher_keeps_its_share(name: str, option: str) -> None:
    """Both its encoder and its head, at the start, in the middle and at the end."""
    for momentum in (0.0, 0.6, 1.0):
        method: Any = (
            built(name, momentum=momentum, dim=8) if name != "dino" else built(name, momentum=momentum, hidden=8)
        )
        pairs = [(method.teacher_encoder, method.encoder), (method.teacher_projector, method.projector)]
        for step in (0, 25, 100):
            with torch.no_grad():
                for _, student in pairs:
                    for weight in student.parameters():
                        weight.add_(1.0)
            stays = momentum if name == "moco" else 1 - (1 - momentum) * (math.cos(math.pi * step / 100) + 1) / 2
            expected = [
                stays * theirs.detach() + (1 - stays) * own.detach()
                for teacher, student in pairs
                for theirs, own in zip(teacher.parameters(), student.parameters(), strict=True)
            ]
            method.after_step(Progress(step, 100))
            found = [weight for teacher, _ in pairs for weight in teacher.parameters()]
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@EFFECTS.of("dino.centre_momentum")
def so_much_of_the_centre_stays(name: str, option: str) -> None:
    for momentum in (0.0, 0.9, 1.0):
        method: Any = built(name, centre_momentum=momentum).eval()
        method.centre.fill_(0.5)
        large, _ = crops_of(built(name, local_crops=1), name)
        outputs = torch.cat([method.teacher_projector(method.teacher_encoder(x)) for x in large])
        loss_of(method, name)
        method.after_step(AT)
        torch.testing.assert_close(method.centre, momentum * 0.5 + (1 - momentum) * outputs.mean(dim=0).detach())


@EFFECTS.of("dino.decay", "dino.final_decay")
def weight_decay_goes_from_one_to_the_other(name: str, option: str) -> None:
    """Along half a cosine: a quarter of the way it has done 14.6 % of it."""
    for value in (0.0, 0.3):
        method: Any = built(name, **{option: value})
        start, end = (value, 0.4) if option == "decay" else (0.04, value)
        expected = [start, start + (end - start) * (1 - math.cos(math.pi / 4)) / 2, (start + end) / 2, end]
        assert [method.weight_decay(Progress(step, 100)) for step in (0, 25, 50, 100)] == pytest.approx(expected)


@EFFECTS.of("dino.frozen", "swav.frozen")
def the_last_layer_stays_for_a_share_of_the_steps(name: str, option: str) -> None:
    for frozen, learns in ((0.0, [True] * 4), (0.5, [False, False, True, True]), (1.0, [False] * 3 + [True])):
        found = []
        for step in (0, 4, 5, 10):
            method: Any = built(name, frozen=frozen, hidden=8)
            loss_of(method, name).backward()
            method.before_update(Progress(step, 10))
            last = method.projector.directions if name == "dino" else method.scorer.weight
            found.append(last.grad is not None)
            assert next(method.encoder.parameters()).grad is not None
        assert found == learns


@pytest.mark.parametrize("key", sorted(EFFECTS))
def test_the_option_does_what_its_help_says(key: str) -> None:
    EFFECTS.run(key)


def test_no_option_is_left_out() -> None:
    assert set(EFFECTS) == options_of_family("contrastive")
