"""GAN: a generator turns noise into items that a discriminator cannot distinguish from real ones.

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, with the networks of DCGAN (Radford et al. 2016,
https://arxiv.org/abs/1511.06434). The discriminator computes the probability D(x) = sigmoid(logit) that an item x is
real. The generator computes G(z) from noise z ~ N(0, 1)^dim. In turn, with every batch, they minimise

    discriminator  -mean log D(x) - mean log(1 - D(G(z))) + penalty
    generator      -mean log D(G(z))

The second is the non-saturating form. If p is the distribution of real items and q that of generated ones, the optimal
D is p / (p + q), and its loss is log 4 - 2 JSD(p, q). The penalty depends on the gradient of the logit with respect to
the standardised input of the discriminator:

    r1           weight / 2 mean |gradient at x|^2
    one_centred  weight mean (|gradient at u x + (1 - u) G(z)| - 1)^2

with u uniform on [0, 1] for each item (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, eq. 9; Gulrajani et al.
2017, https://arxiv.org/abs/1704.00028, eq. 3). With smoothing s (Salimans et al. 2016,
https://arxiv.org/abs/1606.03498) the discriminator's target for a real item is 1 - s.

The representation is the maximum of each channel of the discriminator's last convolution in each quarter of the image.
Differs from DCGAN: the representation uses only the last convolution (DCGAN: all convolutions, pooled 4x4); the noise
is normal; the discriminator has no batch norm, which would mix real and generated items (named encoders keep theirs,
and process the two separately); instead it has the penalty r1, without which it soon wins. The learning rate warms
up and decays. The generator outputs the categories of a table as probabilities.
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
from salience.nets.adversaries import Strongest, make_discriminator, make_generator
from salience.views.random import Keys
from salience.warning_signs import Sign

CHUNK = 256  # items generated in one pass
NEIGHBOURS = 5  # a real item is covered if a generated one is nearer than its 5th real neighbour
ENOUGH = 8  # minimum number of items of a class for its coverage to count


@full_precision
def discriminator_loss(real: Tensor, made: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Compute the discriminator's cross-entropy on real and generated items.  Logits [n ...], [m ...] -> []"""
    return F.softplus(-real).mean() + smoothing * real.mean() + F.softplus(made).mean()


@full_precision
def generator_loss(made: Tensor) -> Tensor:
    """Compute the non-saturating loss of the generator.  Logits of generated items [n ...] -> []"""
    return F.softplus(-made).mean()


@torch.no_grad()
def rightness(real: Tensor, made: Tensor) -> dict[str, Tensor]:
    """Compute the discriminator's accuracy on real and on generated items.  Logits [n ...], [m ...] -> [], []"""
    return {"judged_real": (real > 0).float().mean(), "judged_fake": (made < 0).float().mean()}


@full_precision
def steepness(x: Tensor, judge: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute the squared norm of the gradient of each item's logit, differentiably.  [n ...] -> [n]"""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), torch.compiler.set_stance("force_eager"):  # compiled code has no second derivative
        seen = x.view_as(x)  # the counter of operations fails on a leaf as a module's input
        (slope,) = torch.autograd.grad(judge(seen).sum(), x, create_graph=True)
        return slope.flatten(1).square().sum(dim=1)


PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {  # functions of the squared gradient norms [n] -> []
    "r1": lambda steep: steep.mean() / 2,
    "one_centred": lambda steep: ((steep + 1e-12).sqrt() - 1).square().mean(),  # the root has no gradient at 0
}


@full_precision
def spread(x: Tensor) -> Tensor:
    """Compute the mean distance of two items.  [n ...] -> []"""
    return F.pdist(x.flatten(1)).mean()


@full_precision
def covered(real: Tensor, made: Tensor) -> Tensor:
    """Test for each real item whether a generated item is nearer than its fifth real neighbour.

    Naeem et al. 2020, arXiv 2002.09797.  [n ...], [m ...] -> [n] of 0 and 1, whose mean is the coverage
    """
    real, made = real.flatten(1), made.flatten(1)
    reach = torch.cdist(real, real).kthvalue(min(NEIGHBOURS + 1, len(real)), dim=1).values  # the first is itself
    return (torch.cdist(real, made).min(dim=1).values <= reach).float()


def classes_made(covered: Tensor, labels: Tensor) -> Tensor | None:
    """Compute the share of classes whose coverage is at least half that of the best class.

    Only classes with at least ENOUGH items count.
    covered: [n], labels: [n] with -1 if unknown -> [], None if fewer than two classes count
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
    "its accuracy is {judged_real:.0%} on real and {judged_fake:.0%} on generated items",
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

    dim: width of the noise vector from which an item is generated
    channels: number of channels of the discriminator's first and the generator's last convolution; dense layers have
        four times as many units
    penalty: gradient penalty of the discriminator: "r1" penalises the gradient at real items, "one_centred" penalises
        gradient norms other than 1 between real and generated items, "none" disables the penalty
    penalty_weight: weight of the penalty; 10 in both papers
    smoothing: one-sided label smoothing: the target for real items is 1 minus this value; 0.1 is usual if the
        discriminator wins too easily
    """

    requires = ("vectors",)
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
        judge = make_discriminator(name, spec, channels=channels, fetch=context.fetch)
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
        """Generate as many items as the batch has. The noise of an item is the same on every process."""
        return self.generator(self.keys(batch, at, role).normal(self.dim).to(self.dtype))

    def judge(self, x: Tensor) -> Tensor:
        """Compute the logits of unit-scale items; high means real.  [n ...] -> [n 1]"""
        return self.head(self.encoder(x))

    def smoothness(self, x: Tensor, made: Tensor, batch: Batch, at: Progress) -> Tensor:
        """Compute the gradient penalty.  Real and generated items [n ...] -> []"""
        if self.penalty == "one_centred":
            share = self.keys(batch, at, "between").uniform(*[1] * (x.ndim - 1)).to(x.dtype)
            x = made + share * (x - made)
        steep = steepness(self.encoder.input(x), lambda standardised: self.head(self.encoder.body(standardised)))
        return self.penalty_weight * PENALTIES[self.penalty](steep)

    def keys(self, batch: Batch, at: Progress, role: str) -> Keys:
        return Keys.of(at.seed, at.epoch, batch.index).fold("gan", role)

    def sample(self, n: int) -> Tensor:
        """Generate new items [n ...] on the unit scale."""
        noise = torch.randn(n, self.dim, device=self.device).to(self.dtype).split(CHUNK)
        return torch.cat([self.generator(part) for part in noise])

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """Return the discriminator's accuracies, and the diversity and coverage of the generated items."""
        x, made = self.encoder.input.unit(batch.x), self.made(batch, at, "probe")
        near = covered(x, made)
        apart = {"sample_spread": spread(made) / spread(x).clamp(min=1e-12), "coverage": near.mean()}
        classes = None if batch.label is None else classes_made(near, batch.label)  # labels only serve this metric
        if classes is not None:
            apart["classes_made"] = classes
        return rightness(self.judge(x), self.judge(made)) | apart

    def param_groups(self) -> Iterable[dict[str, Any]]:
        """Return all parameters, without weight decay."""
        yield {"params": [p for p in self.parameters() if p.requires_grad], "weight_decay": 0.0}
