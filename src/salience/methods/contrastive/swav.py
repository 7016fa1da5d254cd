"""SwAV: predict one view's cluster from another view, with clusters kept equally full.

Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments",
https://arxiv.org/abs/2006.09882, eq. 1 to 5, for the cosines s of each crop's projection with K unit prototypes:

    l(q, s) = - q . log softmax(s / temperature),        Q = diag(u) exp(S / epsilon) diag(v)

The codes q are the rows of Q, found by Sinkhorn's iterations over the samples of all processes: each prototype is given
an equal share of the samples, then each sample is shared out among the prototypes. Only the two global crops have
codes, and no gradient enters them. The loss is the mean of l over all pairs of a code and a different crop, and over
samples. Earlier projections, queued, help to find codes where a batch is small beside K.
Differs from the paper: AdamW instead of LARS; four local crops, not six, and none where images are too small to cut;
the queue is filled from the start, and used when it is full and `queue_start` is reached; the prototypes are normalised
after a step, not before the next, which is the same; a prototype for each hundred rows, where the paper has 3,000; no
blur.
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
from salience.nets import Encoder, encode_together, head
from salience.views import Views
from salience.warning_signs import Ordinary, Sign

LATEST = 0.05  # share of a step in the mean over the latest ones


def sinkhorn(scores: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Codes: rows sum to 1, columns (nearly) alike.  [... n k] -> [... n k]

    The first iteration is taken in logarithms. After it no sum can vanish: each column has held an entry of at least
    1/n, each row sums to 1. So the rest is finite as it is, for any scores.
    """
    codes = (scores / epsilon).log_softmax(dim=-2).softmax(dim=-1)
    for _ in range(iterations - 1):
        codes = codes / codes.sum(dim=-2, keepdim=True)
        codes = codes / codes.sum(dim=-1, keepdim=True)
    return codes


@full_precision
def swav_loss(scores: Tensor, queued: Tensor, *, temperature: float, epsilon: float, iterations: int) -> Tensor:
    """Mean cross-entropy of a global crop's codes and a different crop's scores, of my n samples.

    scores: [crops n k], the two global crops first;  queued: [2 m k], of earlier samples, the same everywhere -> []
    """
    everyone, mine_at = gather(scores[:2].detach().transpose(0, 1))  # [n 2 k] of all processes
    codes = sinkhorn(torch.cat([everyone.transpose(0, 1), queued], dim=1), epsilon=epsilon, iterations=iterations)
    predictions = F.log_softmax(scores / temperature, dim=-1)
    pairs = -torch.einsum("tnk,snk->ts", codes[:, mine_at], predictions) / scores.shape[1]  # [2 crops]
    same = pairs.diagonal()  # a crop does not predict its own code
    return (pairs.sum() - same.sum()) / (pairs.numel() - same.numel())


class SwAV(Method):
    """SwAV.

    prototypes: K, how many clusters; a hundredth of the rows, from 32 to 3,000
    dim: width of the projection that is compared with the prototypes
    hidden: width of the projector's hidden layer; twice the representation's
    temperature: sharpness of the predictions; smaller is sharper
    epsilon: sharpness of the codes; smaller is sharper
    iterations: of Sinkhorn's algorithm
    local_crops: small crops of each item, which predict; four, none where half the side is too small or a part
        says little (glyphs)
    queue: how many earlier projections help to find codes; three times the prototypes, at most the rows
    queue_start: share of the steps before they do
    frozen: share of the steps, at first, in which the prototypes stay as they are; the paper's first epoch
    """

    signs = (
        Sign(
            ("prototype_usage",),
            "few prototypes are in use",
            "{prototype_usage:.1%} of them, by the perplexity of the mean assignment",
            "lower --learning-rate, or fewer --prototypes",
            "outputs",
            below=0.1,
        ),
    )
    ordinary = (Ordinary("temperature", 0.01, 5.0),)
    keeps_items_apart = "--temperature, and the --epsilon of the codes"

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        prototypes: Annotated[int, Ge(2)] = Auto,
        dim: Annotated[int, Ge(2)] = 128,
        hidden: Annotated[int, Ge(1)] = Auto,
        temperature: Annotated[float, Gt(0)] = 0.1,
        epsilon: Annotated[float, Gt(0)] = 0.05,
        iterations: Annotated[int, Ge(1)] = 3,
        local_crops: Annotated[int, Ge(0)] = Auto,
        queue: Annotated[int, Ge(0)] = Auto,
        queue_start: Annotated[float, Ge(0), Le(1)] = 0.1,
        frozen: Annotated[float, Ge(0), Le(1)] = 0.01,
    ):
        super().__init__(encoder)
        self.views = views
        self.prototypes = prototypes
        self.dim = dim
        self.hidden = hidden
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self.local_crops = local_crops
        self.queue = queue
        self.queue_start = queue_start
        self.frozen = frozen
        self.projector = head(encoder.dim, hidden, dim)
        self.scorer = nn.Linear(dim, prototypes, bias=False)  # its weights are the prototypes, unit vectors
        self.normalise()
        self.earlier: Tensor
        self.register_buffer("earlier", torch.zeros(queue, 2, dim))  # projections of the two global crops
        self.usage: Tensor
        self.register_buffer("usage", torch.zeros(prototypes))  # how much of the latest samples each prototype gets
        self.shared_buffers = ("earlier", "usage")
        self.latest: Tensor | None = None  # those of this step, [n 2 dim]

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        encoder = context.make_encoder()
        options = settled(options, prototypes=min(max(round(context.rows / 100), 32), 3000), hidden=2 * encoder.dim)
        options = settled(options, queue=min(3 * options["prototypes"], context.rows))
        options = settled(options, local_crops=context.local_crops(encoder))
        roles = {"global": 2, "local": options["local_crops"]}
        return cls(encoder, context.make_views(roles, local_side=encoder.local_side), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        crops = [views for views in self.views(batch, at).values() if views]
        features = torch.cat([encode_together(self.encoder, views) for views in crops])  # one pass for each size
        z = F.normalize(self.projector(features), dim=1)
        scores = self.scorer(z).unflatten(0, (-1, len(batch)))  # [crops n k]
        self.latest = z.detach().unflatten(0, (-1, len(batch)))[:2].transpose(0, 1)
        earlier = self.queued(len(batch), at)
        sharpness = {"temperature": self.temperature, "epsilon": self.epsilon}
        return {"loss": swav_loss(scores, earlier, **sharpness, iterations=self.iterations)}

    @torch.no_grad()
    def queued(self, n: int, at: Progress) -> Tensor:
        """Scores of earlier samples; none before there are enough.  [2 m k]"""
        ready = at.step * n * at.world >= self.queue and at.fraction >= self.queue_start
        rows = self.earlier if ready else self.earlier[:0]
        return F.linear(rows, self.scorer.weight).transpose(0, 1)  # a call would be compiled once more for this shape

    def before_update(self, at: Progress) -> None:
        if at.fraction < self.frozen:
            self.scorer.weight.grad = None  # the optimiser passes over what has none

    @torch.no_grad()
    def after_step(self, at: Progress) -> None:
        self.normalise()
        if self.latest is None:
            return
        newest = gather(self.latest)[0].to(self.earlier.dtype)  # [n 2 dim] of all processes
        shares = F.softmax(F.linear(newest[:, 0], self.scorer.weight) / self.temperature, dim=1).mean(dim=0)
        self.usage.lerp_(shares, max(LATEST, 1 / (at.step + 1)))
        if not self.queue:
            return
        places = torch.arange(len(newest), device=newest.device) + at.step * len(newest)  # first in, first out
        kept = slice(-self.queue, None)
        self.earlier[places[kept] % self.queue] = newest[kept]

    @torch.no_grad()
    def normalise(self) -> None:
        """Brings every prototype to length 1."""
        self.scorer.weight.copy_(F.normalize(self.scorer.weight, dim=1))

    def collapsed_loss(self, n: int) -> float:
        return math.log(self.prototypes)  # codes are evenly shared out, so nothing can be predicted

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """The share of prototypes in use: the perplexity of the mean prediction, over K.

        Of the training's latest samples, as a batch may be smaller than K; nothing before the first step.
        """
        if not self.usage.any():
            return {}
        return {"prototype_usage": torch.special.entr(self.usage).sum().exp() / self.prototypes}
