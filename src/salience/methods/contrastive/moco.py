"""MoCo: match an image with its key, computed by a slowly moving copy of the encoder, among a queue of earlier keys.

He et al. 2019, "Momentum Contrast", https://arxiv.org/abs/1911.05722, eq. 1 and 2, for the query q of an image and its
key k+ (unit vectors of its two views, the key from the teacher) and the K old keys of the queue:

    l(q) = -log  exp(q . k+ / temperature) / (exp(q . k+ / temperature) + sum_{i = 1..K} exp(q . k_i / temperature))

The loss is the mean of l over samples. The keys receive no gradient. After each step the teacher's weights become
momentum teacher + (1 - momentum) student, and the step's keys replace the oldest keys of the queue. In v2 (Chen et al.
2020, https://arxiv.org/abs/2003.04297) the head has a hidden layer and the temperature is higher.

If batch norm normalised the query and the key of an image with the same rows, the batch statistics would reveal that
they belong together. Therefore both encoders process the batch in groups, each normalised separately, and the keys are
shuffled over the groups of all processes. The running statistics of batch norm are the mean over the groups (the
papers' code keeps those of the first GPU).
Differs from the papers: AdamW replaces SGD; there are 4 groups instead of 8 GPUs (64 rows each in a batch of 256), and
fewer if a group would have less than 2 rows; the queue is shorter for fewer rows.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from salience.batch import Batch, Progress
from salience.distributed import average_, gather, rank_and_world
from salience.errors import UserError
from salience.methods.contract import Auto, Context, Method, settled
from salience.methods.precision import full_precision
from salience.methods.teachers import LEFT_BEHIND, STILL_TEACHER
from salience.nets import Encoder, distance, follow, teacher_of
from salience.nets.queue import enqueue, queue_for, random_keys, share_filled
from salience.views import Views
from salience.views.random import Keys
from salience.warning_signs import Ordinary

TEMPERATURES = {"linear": 0.07, "mlp": 0.2}


@full_precision
def moco_loss(query: Tensor, key: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """Compute InfoNCE of each query against its own key and the queue, without a gradient to the keys.

    query, key: [n d] of any length;  queue: [K d] of length 1 -> []
    """
    query, key = F.normalize(query, dim=1), F.normalize(key.detach(), dim=1)
    own = (query * key).sum(dim=1, keepdim=True)  # [n 1]
    logits = torch.cat([own, query @ queue.detach().T], dim=1) / temperature  # [n 1+K]
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


class MoCo(Method):
    """MoCo.

    dim: width of the projection in which query and keys are compared
    head: type of the projector: "mlp" has a hidden layer (v2), "linear" has none (v1)
    temperature: divides the similarities; smaller values give more weight to the nearest keys; default: 0.2 for "mlp",
        0.07 for "linear"
    momentum: momentum of the teacher (share of its weights kept at each step)
    queue: number of old keys, which are the negatives; default: 4096 or rows / 16, whichever is larger, but at most
        half the rows and 65,536
    groups: number of groups into which the rows of a step (over all processes) are split for batch norm; a group has at
        least 2 rows
    """

    signs = (LEFT_BEHIND,)
    ordinary = (Ordinary("temperature", 0.01, 5.0), STILL_TEACHER)
    keeps_items_apart = "--temperature, and the teacher, which --momentum moves"

    sync_batchnorm = False
    old_keys: Tensor
    written: Tensor

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        *,
        dim: Annotated[int, Ge(1)] = 128,
        head: Literal["linear", "mlp"] = "mlp",
        temperature: Annotated[float, Gt(0)] = Auto,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        queue: Annotated[int, Ge(1)] = Auto,
        groups: Annotated[int, Ge(1)] = 4,
    ):
        super().__init__(encoder)
        self.views = views
        self.dim = dim
        self.head = head
        self.temperature = temperature
        self.momentum = momentum
        self.queue = queue
        self.groups = groups
        hidden = [nn.Linear(encoder.dim, encoder.dim), nn.ReLU(inplace=True)] if head == "mlp" else []
        self.projector = nn.Sequential(*hidden, nn.Linear(encoder.dim, dim))
        self.teacher_encoder = teacher_of(encoder)
        self.teacher_projector = teacher_of(self.projector)
        self.register_buffer("old_keys", random_keys(queue, dim))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))
        self.shared_buffers = ("old_keys", "written")
        self._fresh: Tensor | None = None  # keys of the step under way, [m dim]

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        found = {"temperature": TEMPERATURES[options.get("head", "mlp")], "queue": queue_for(context.rows)}
        return cls(context.make_encoder(), context.make_views({"global": 2}), **settled(options, **found))

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        view = self.views.one(batch, at, "global", 0)
        query = self.projector(in_groups(self.encoder, view.x, self.groups_of(len(view)), view.mask))
        self._fresh, mine_at = self.keys(batch, at)
        return {"loss": moco_loss(query, self._fresh[mine_at], self.old_keys, temperature=self.temperature)}

    @torch.no_grad()
    def keys(self, batch: Batch, at: Progress) -> tuple[Tensor, Tensor]:
        """Return the unit-length keys of all processes in item order, and the positions of mine.  -> [m dim], [n]"""
        share, back = shuffled(batch, at) if norms_of(self.teacher_encoder) else (batch, slice(None))
        view = self.views.one(share, at, "global", 1)  # the view of a row is the same on every process
        key = self.teacher_projector(in_groups(self.teacher_encoder, view.x, self.groups_of(len(view)), view.mask))
        everyone, mine_at = gather(F.normalize(key.to(self.old_keys.dtype), dim=1))
        return everyone[back], mine_at

    def groups_of(self, n: int) -> int:
        """Return into how many groups this process splits its n rows."""
        return max(1, min(self.groups // rank_and_world()[1], n // 2))

    def after_step(self, at: Progress) -> None:
        follow(self.teacher_encoder, self.encoder, self.momentum)
        follow(self.teacher_projector, self.projector, self.momentum)
        average_(statistics_of(self.encoder) + statistics_of(self.teacher_encoder))
        if self._fresh is not None:
            enqueue(self.old_keys, self.written, self._fresh)
            self._fresh = None

    def collapsed_loss(self, n: int) -> float:
        return math.log(self.queue + 1)

    def vitals(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        """queue_filled: the share of the queue that holds keys; while it is below 1, random rows reduce the loss."""
        filled = share_filled(self.written, self.queue)
        return {"teacher_distance": distance(self.teacher_encoder, self.encoder), "queue_filled": filled}


def shuffled(batch: Batch, at: Progress) -> tuple[Batch, Tensor]:
    """Return my share of all rows in an order given by (seed, step), and every row's position in that order, [m]."""
    if not isinstance(batch.x, Tensor) or batch.mask is not None:
        raise UserError(
            "encoder: moco cannot shuffle ragged items and nodes among batch norms; use an encoder without batch norm"
        )
    index, mine_at = gather(batch.index)
    x = gather(batch.x.contiguous().view(torch.uint8))[0].view(batch.x.dtype)  # as bytes: not every type can be sent
    order = Keys.of(at.seed, at.step, torch.arange(len(index), device=index.device)).fold("shuffle").settled().argsort()
    share = order[mine_at]
    return Batch(x[share], index[share]), order.argsort()


def in_groups(network: nn.Module, x: Any, count: int, mask: Tensor | None = None) -> Tensor:
    """Apply the network to `count` parts of a batch, each with its own batch statistics.  [n ...] -> [n d]

    The running statistics of its batch norms are updated once, by the mean over the parts. A network without batch norm
    processes the whole batch at once.
    """
    if count == 1 or not norms_of(network):
        return network(x) if mask is None else network(x, mask)
    remembered = statistics_of(network)
    before, total = [tensor.clone() for tensor in remembered], [torch.zeros_like(tensor) for tensor in remembered]
    outputs = []
    for part in x.tensor_split(count):
        outputs.append(network(part))
        for tensor, start, moved in zip(remembered, before, total, strict=True):
            moved.add_(tensor, alpha=1 / count)
            tensor.copy_(start)
    for tensor, moved in zip(remembered, total, strict=True):
        tensor.copy_(moved)
    for norm in norms_of(network):
        if norm.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.sub_(count - 1)
    return torch.cat(outputs)


def norms_of(network: nn.Module) -> list[_BatchNorm]:
    return [part for part in network.modules() if isinstance(part, _BatchNorm)]


def statistics_of(network: nn.Module) -> list[Tensor]:
    """Return running means and variances as `.data`, because autograd must not record that in_groups restores them."""
    both = [(norm.running_mean, norm.running_var) for norm in norms_of(network)]
    return [tensor.data for pair in both for tensor in pair if tensor is not None]
