"""GAN: a generator makes items out of noise that a discriminator cannot tell from real ones.

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, with the nets of DCGAN (Radford et al. 2016,
https://arxiv.org/abs/1511.06434). Of an item x the discriminator thinks D(x) = sigmoid(its logit) that it is real; the
generator makes G(z) of noise z ~ N(0, 1)^dim. In turn, with every batch, the two minimise

    discriminator  -mean log D(x) - mean log(1 - D(G(z))) + penalty
    generator      -mean log D(G(z))

the second being the non-saturating form. For items of probabilities p, made with q, the best D is p / (p + q), and its
loss log 4 - 2 JSD(p, q). The penalty, of the slopes of the logit in what the discriminator's net sees (standardised):

    r1           weight / 2 mean |slope at x|^2
    one_centred  weight mean (|slope at u x + (1 - u) G(z)| - 1)^2

with u uniform on [0, 1] for each item (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, eq. 9; Gulrajani et al.
2017, https://arxiv.org/abs/1704.00028, eq. 3). With smoothing s (Salimans et al. 2016, https://arxiv.org/abs/1606.03498)
the discriminator should be sure of a real item to 1 - s.

The representation is the discriminator's last convolution, the strongest answer of each channel in each quarter.
Differs from DCGAN: all convolutions, pooled 4x4, are its representation; noise is normal; no batch norm in the
discriminator, which would mix real with made items (named encoders keep theirs, and see the two apart), and r1 in its
place, without which it soon wins. Learning rates warm up and fall. A table's categories are made as probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods.adversarial import Adversarial
from salience.methods.contract import Context
from salience.methods.precision import full_precision
from salience.nets import Encoder
from salience.nets.adversaries import Strongest, make_generator, make_judge
from salience.views.random import Keys
from salience.warning_signs import Sign

CHUNK = 256  # items made at once
NEIGHBOURS = 5  # within reach of which a real item counts as covered
ENOUGH = 8  # items of a class, for its coverage to mean something


@full_precision
def discriminator_loss(real: Tensor, made: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """How badly real items were told from made ones.  Logits [n ...], [m ...] -> []"""
    return F.softplus(-real).mean() + smoothing * real.mean() + F.softplus(made).mean()


@full_precision
def generator_loss(made: Tensor) -> Tensor:
    """How seldom made items passed for real.  Logits [n ...] -> []"""
    return F.softplus(-made).mean()


@torch.no_grad()
def rightness(real: Tensor, made: Tensor) -> dict[str, Tensor]:
    """Shares of real items taken for real, and of made ones for made.  Logits [n ...], [m ...] -> [], []"""
    return {"judged_real": (real > 0).float().mean(), "judged_fake": (made < 0).float().mean()}


@full_precision
def steepness(x: Tensor, judge: Callable[[Tensor], Tensor]) -> Tensor:
    """Squared length of the slope of each item's logit, differentiable in the judge.  [n ...] -> [n]"""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), torch.compiler.set_stance("force_eager"):  # compiled code has no second derivative
        seen = x.view_as(x)  # the counter of operations takes no leaf as a module's input
        (slope,) = torch.autograd.grad(judge(seen).sum(), x, create_graph=True)
        return slope.flatten(1).square().sum(dim=1)


PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {  # of the steepness [n] -> []
    "r1": lambda steep: steep.mean() / 2,
    "one_centred": lambda steep: ((steep + 1e-12).sqrt() - 1).square().mean(),  # a root at 0 has no slope
}


@full_precision
def spread(x: Tensor) -> Tensor:
    """Mean distance of two items.  [n ...] -> []"""
    return F.pdist(x.flatten(1)).mean()


@full_precision
def covered(real: Tensor, made: Tensor) -> Tensor:
    """Whether a made item is nearer than the fifth real neighbour (Naeem et al. 2020, arXiv 2002.09797).

    [n ...], [m ...] -> [n] of 0 and 1, whose mean is the coverage
    """
    real, made = real.flatten(1), made.flatten(1)
    reach = torch.cdist(real, real).kthvalue(min(NEIGHBOURS + 1, len(real)), dim=1).values  # the first is itself
    return (torch.cdist(real, made).min(dim=1).values <= reach).float()


def classes_made(covered: Tensor, labels: Tensor) -> Tensor | None:
    """Share of classes at least half as well covered as the best one, of those of which there are enough items.

    covered: [n], labels: [n] with -1 where unknown -> [], None where there are not two such classes
    """
    found, counts = labels[labels >= 0].unique(return_counts=True)
    shares = [covered[labels == label].mean() for label in found[counts >= ENOUGH]]
    if len(shares) < 2:
        return None
    by_class = torch.stack(shares)
    return ((by_class > 0) & (by_class >= by_class.max() / 2)).float().mean()


STEADIER = "a gradient --penalty, a larger --batch-size, or a lower --learning-rate"
DISCRIMINATOR_WON = Sign(
    ("judged_real", "judged_fake"),
    "the discriminator has won",
    "it is right about {judged_real:.0%} of real and {judged_fake:.0%} of made items",
    "a gradient --penalty, or a lower --learning-rate",
    "players",
    above=0.98,
    of="generator",
)
FEW_MODES = Sign(
    ("sample_spread",),
    "generated items are much alike",
    "generated items are {sample_spread:.2f} times as far apart as real ones",
    STEADIER,
    "sample spread",
    below=0.2,
    of="generator",
)
UNCOVERED = Sign(
    ("coverage",),
    "much of the data is never generated",
    "{coverage:.0%} of real items have a generated one in their neighbourhood",
    STEADIER,
    "coverage",
    below=0.5,
    of="generator",
)
MISSING_CLASSES = Sign(
    ("classes_made",),
    "some classes are hardly generated",
    "{classes_made:.0%} of the classes are covered half as well as the best one, or better",
    STEADIER,
    "classes",
    below=0.5,
    of="generator",
)


class GAN(Adversarial):
    """GAN.

    dim: width of the noise an item is made of
    channels: of the first convolution that judges and the last that makes; dense layers have four times as many
    penalty: on how steep the discriminator is: "r1" at real items, "one_centred" on a slope other than 1 between real
        and made ones, or "none"
    penalty_weight: of it; 10 in both papers
    smoothing: how far from sure the discriminator should be of real items; 0.1 is usual where it wins too easily
    """

    needs = ("vectors",)
    signs = (DISCRIMINATOR_WON, FEW_MODES, UNCOVERED, MISSING_CLASSES)

    learning_rate = 2e-4
    betas = (0.5, 0.999)

    def __init__(
        self,
        encoder: Encoder,
        strongest: Strongest,
        generator: nn.Module,
        *,
        dim: Annotated[int, Ge(1)] = 64,
        channels: Annotated[int, Ge(1)] = 64,
        penalty: Literal["none", "r1", "one_centred"] = "r1",
        penalty_weight: Annotated[float, Gt(0)] = 10.0,
        smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0,
    ):
        super().__init__(encoder)
        self.strongest = strongest
        self.head = nn.Linear(encoder.dim, 1)
        self.generator = generator
        self.dim = dim
        self.channels = channels
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.smoothing = smoothing

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        name, spec, channels = context.encoder, context.spec, options.get("channels", 64)
        judge = make_judge(name, spec, channels=channels, fetch=context.fetch)
        return cls(*judge, make_generator(name, spec, dim=options.get("dim", 64), channels=channels), **options)

    @property
    def width(self) -> int:
        return self.strongest.width

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.strongest(self.encoder(x, mask))

    def player(self, turn: str) -> Iterable[nn.Module]:
        return (self.generator,) if turn == "generator" else (self.encoder, self.head)

    def turn_loss(self, turn: str, batch: Batch, at: Progress) -> dict[str, Tensor]:
        if turn == "generator":
            fooled = generator_loss(self.judge(self.made(batch, at, turn)))
            return {"loss": fooled, "generator": fooled}
        x = self.encoder.input.unit(batch.x)
        with torch.no_grad():
            made = self.made(batch, at, turn)
        real, false = self.judge(x), self.judge(made)
        loss = discriminator_loss(real, false, smoothing=self.smoothing)
        terms = {"discriminator": loss, **rightness(real, false)}
        if self.penalty != "none":
            terms["penalty"] = self.smoothness(x, made, batch, at)
            loss = loss + terms["penalty"]
        return {"loss": loss, **terms}

    def made(self, batch: Batch, at: Progress, role: str) -> Tensor:
        """As many items as the batch has. An item's noise is the same on any process."""
        return self.generator(self.keys(batch, at, role).normal(self.dim).to(self.dtype))

    def judge(self, x: Tensor) -> Tensor:
        """How real unit-scale items look, as logits.  [n ...] -> [n 1]"""
        return self.head(self.encoder(x))

    def smoothness(self, x: Tensor, made: Tensor, batch: Batch, at: Progress) -> Tensor:
        """The penalty.  Real and made items [n ...] -> []"""
        if self.penalty == "one_centred":
            share = self.keys(batch, at, "between").uniform(*[1] * (x.ndim - 1)).to(x.dtype)
            x = made + share * (x - made)
        steep = steepness(self.encoder.input(x), lambda standardised: self.head(self.encoder.body(standardised)))
        return self.penalty_weight * PENALTIES[self.penalty](steep)

    def keys(self, batch: Batch, at: Progress, role: str) -> Keys:
        return Keys.of(at.seed, at.epoch, batch.index).fold("gan", role)

    def sample(self, n: int) -> Tensor:
        """New items [n ...] on the unit scale."""
        noise = torch.randn(n, self.dim, device=self.device).to(self.dtype).split(CHUNK)
        return torch.cat([self.generator(part) for part in noise])

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """Of a discriminator that is right about everything, and of made items that are alike or like few real ones."""
        x, made = self.encoder.input.unit(batch.x), self.made(batch, at, "probe")
        near = covered(x, made)
        apart = {"sample_spread": spread(made) / spread(x).clamp(min=1e-12), "coverage": near.mean()}
        classes = None if batch.label is None else classes_made(near, batch.label)  # nothing is learnt from labels
        if classes is not None:
            apart["classes_made"] = classes
        return rightness(self.judge(x), self.judge(made)) | apart

    def param_groups(self) -> Iterable[dict[str, Any]]:
        """No weight decay."""
        yield {"params": [p for p in self.parameters() if p.requires_grad], "weight_decay": 0.0}
