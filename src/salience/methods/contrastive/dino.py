"""DINO: predict, from any crop, the output distribution of a slowly moving copy of the network for a global crop.

Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", https://arxiv.org/abs/2104.14294,
eq. 1 to 4, for the student's K outputs s of all crops and the teacher's K outputs t of the two global crops:

    p(t) = softmax((t - centre) / teacher_temperature),    l(t, s) = - p(t) . log softmax(s / student_temperature)

The loss is the mean of l over all pairs of different crops, and over samples. Two kinds of collapse are possible.
Centring alone makes all outputs equal. Sharpening (the lower temperature) alone makes one output dominate for all
items. Together they prevent both. The teacher receives no gradient. After each step its weights become m teacher +
(1 - m) student, where m rises from `momentum` to 1 along a cosine. The centre moves to the teacher's mean output over
all processes.
Differs from the paper: there are four local crops, not eight, and none if images are too small to crop; the teacher's
temperature is constant at 0.04, as in the paper's code (the text raises it to 0.07; `teacher_temperature=0.07` does so
over the first tenth of the steps); there is no gradient clipping and no stochastic depth; the representation is the
student's, which is better than the teacher's after short training; the number of outputs depends on the number of rows
(the paper has 65,536); one policy without blur and solarisation draws both global views.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.distributed import gather
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.methods.schedules import cosine
from salience.methods.teachers import LEFT_BEHIND, STILL_TEACHER
from salience.nets import Encoder, distance, encode_together, follow, teacher_of
from salience.views import Views
from salience.warning_signs import Ordinary, Sign

COOLEST, WARM_UP = 0.04, 0.1  # initial temperature of the teacher, and the share of steps over which it rises


@full_precision
def dino_loss(
    student: Tensor, teacher: Tensor, centre: Tensor, *, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """Compute the mean cross-entropy over pairs of different crops, without a gradient to the teacher.

    student: [crops n k], the teacher's crops first;  teacher: [2 n k];  centre: [k] -> []
    """
    targets = F.softmax((teacher.detach() - centre) / teacher_temperature, dim=-1)
    predictions = F.log_softmax(student / student_temperature, dim=-1)
    pairs = -torch.einsum("tnk,snk->ts", targets, predictions) / student.shape[1]  # [2 crops]
    same = pairs.diagonal()  # pairs of a crop with itself are excluded
    return (pairs.sum() - same.sum()) / (pairs.numel() - same.numel())


class Head(nn.Module):
    """Three layers with GELU, then the cosine with the direction of each output.  [n width] -> [n outputs]"""

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        into, within, out = nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, bottleneck)
        self.layers = nn.Sequential(into, nn.GELU(), within, nn.GELU(), out)
        self.directions = nn.Parameter(torch.randn(outputs, bottleneck))  # their length has no effect
        for layer in (into, within, out):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(F.normalize(self.layers(h), dim=1), F.normalize(self.directions, dim=1))


ENTROPIES = "the entropy of its mean output is {entropy_of_mean:.3g}, the mean entropy {mean_entropy:.3g}"
ONE_ANSWER = Sign(
    ("entropy_of_mean",),
    "the teacher gives the same output for all items",
    ENTROPIES,
    "a smaller --centre-momentum",
    "outputs",
    below=0.1,
    of_start=True,
)
INDIFFERENT = Sign(
    ("mean_entropy / entropy_of_mean",),
    "the teacher's output is uniform",
    ENTROPIES,
    "a smaller --teacher-temperature, or more --epochs",
    "outputs",
    above=0.98,
)


class DINO(Method):
    """DINO.

    outputs: K, number of outputs of the head; default: the power of two nearest to rows / 25, from 64 to 65,536
    hidden: width of the head's two hidden layers; default: four times the representation's
    bottleneck: width of the head's normalised layer before the outputs
    local_crops: number of small crops of each item, for the student only; default: 4, or 0 if half the side is too
        small or a part of an image has little meaning (glyphs)
    student_temperature: softmax temperature of the student; a smaller value gives a sharper distribution
    teacher_temperature: softmax temperature of the teacher, below the student's; it rises from 0.04 to this value over
        the first tenth of the steps
    centre_momentum: share of the centre kept at each step; 1 disables centring
    momentum: initial momentum of the teacher (share of its weights kept at each step); it rises to 1
    decay: initial weight decay
    final_decay: final weight decay
    frozen: initial share of the steps during which the directions of the outputs are fixed; the paper's first epoch
    """

    signs = (ONE_ANSWER, INDIFFERENT, LEFT_BEHIND)
    ordinary = (
        Ordinary("student_temperature", 0.01, 5.0, kind="temperature"),
        Ordinary("teacher_temperature", 0.01, 5.0, kind="temperature"),
        STILL_TEACHER,
    )
    keeps_items_apart = "the teacher, with --centre-momentum, --teacher-temperature and --momentum"

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        outputs: Annotated[int, Ge(2)] = Auto,
        hidden: Annotated[int, Ge(1)] = Auto,
        bottleneck: Annotated[int, Ge(1)] = 256,
        local_crops: Annotated[int, Ge(0)] = Auto,
        student_temperature: Annotated[float, Gt(0)] = 0.1,
        teacher_temperature: Annotated[float, Gt(0)] = 0.04,
        centre_momentum: Annotated[float, Ge(0), Le(1)] = 0.9,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.996,
        decay: Annotated[float, Ge(0)] = 0.04,
        final_decay: Annotated[float, Ge(0)] = 0.4,
        frozen: Annotated[float, Ge(0), Le(1)] = 0.01,
    ):
        super().__init__(encoder)
        self.views = views
        self.outputs = outputs
        self.hidden = hidden
        self.bottleneck = bottleneck
        self.local_crops = local_crops
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.centre_momentum = centre_momentum
        self.momentum = momentum
        self.decay = decay
        self.final_decay = final_decay
        self.frozen = frozen
        self.projector = Head(encoder.dim, hidden, bottleneck, outputs)
        self.teacher_encoder = teacher_of(encoder)
        self.teacher_projector = teacher_of(self.projector)
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(outputs))
        self.mean_output: Tensor | None = None  # of the teacher, in this step

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        encoder = context.make_encoder()
        nearest = 2 ** round(math.log2(context.rows / 25))
        options = settled(options, outputs=min(max(nearest, 64), 65_536), hidden=4 * encoder.dim)
        options = settled(options, local_crops=context.local_crops(encoder))
        roles = {"global": 2, "local": options["local_crops"]}
        return cls(encoder, context.make_views(roles, local_side=encoder.local_side), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        crops = [views for views in self.views(batch, at).values() if views]
        features = torch.cat([encode_together(self.encoder, views) for views in crops])  # one pass per crop size
        student = self.projector(features).unflatten(0, (-1, len(batch)))  # [crops n k]
        with torch.no_grad():
            teacher = self.teacher_projector(encode_together(self.teacher_encoder, crops[0])).unflatten(
                0, (2, len(batch))
            )
            self.mean_output = teacher.mean(dim=(0, 1), dtype=self.centre.dtype)
        temperatures = {"student_temperature": self.student_temperature, "teacher_temperature": self.sharpness(at)}
        return {"loss": dino_loss(student, teacher, self.centre, **temperatures)}

    def sharpness(self, at: Progress) -> float:
        """Return the teacher's temperature at this step."""
        first = min(COOLEST, self.teacher_temperature)
        return first + (self.teacher_temperature - first) * min(1.0, at.fraction / WARM_UP)

    def before_update(self, at: Progress) -> None:
        if at.fraction < self.frozen:
            self.projector.directions.grad = None  # the optimiser passes over what has none

    @torch.no_grad()
    def after_step(self, at: Progress) -> None:
        momentum = cosine(self.momentum, 1.0, at.fraction)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_projector, self.projector, momentum)
        if self.mean_output is not None:
            everyones = gather(self.mean_output[None])[0].mean(dim=0)
            self.centre.lerp_(everyones, 1 - self.centre_momentum)

    def weight_decay(self, at: Progress) -> float:
        return cosine(self.decay, self.final_decay, at.fraction)

    def collapsed_loss(self, n: int) -> float:
        """Return the loss if all outputs are equal. If one output dominates for all items, the loss is 0 instead."""
        return math.log(self.outputs)

    @torch.no_grad()
    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """Return entropies of the teacher's outputs, and its distance from the student relative to the student's norm.

        If both entropies are log K, all outputs are equal. If both are 0, one output dominates for all items.
        """
        view = self.views(batch, at)["global"][0]
        outputs = self.teacher_projector(self.teacher_encoder(view.x, view.mask)).to(self.centre.dtype)
        chosen = F.softmax((outputs - self.centre) / self.sharpness(at), dim=1)
        return {
            "entropy_of_mean": torch.special.entr(chosen.mean(dim=0)).sum(),
            "mean_entropy": torch.special.entr(chosen).sum(dim=1).mean(),
            "teacher_distance": distance(self.teacher_encoder, self.encoder),
        }
