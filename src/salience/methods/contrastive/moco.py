"""MoCo: recognise an image's key, made by a slowly moving copy of the encoder, among a long queue of earlier keys.

He et al. 2019, "Momentum Contrast", https://arxiv.org/abs/1911.05722, eq. 1 and 2, for the query q of an image and its
key k+ (unit vectors of its two views, the key's from the teacher) and the K old keys of the queue:

    l(q) = -log  exp(q . k+ / temperature) / (exp(q . k+ / temperature) + sum_{i = 1..K} exp(q . k_i / temperature))

The loss is the mean of l over samples. No gradient enters the keys; after each step the teacher's weights become
momentum teacher + (1 - momentum) student, and the step's keys take the places of the queue's oldest. In v2 (Chen et al.
2020, https://arxiv.org/abs/2003.04297) the head has a hidden layer and the temperature is higher.

Were an image's query and key normalised in the same company, batch statistics would tell them that they belong
together. So both encoders run in groups of the batch, each normalised on its own, and keys are shuffled over the groups
of all processes. What batch norms remember is the mean over the groups (the papers' code keeps the first GPU's).
Differs from the papers: AdamW instead of SGD; 4 groups instead of 8 GPUs (64 rows each in a batch of 256), fewer where
one would have less than 2 rows; a shorter queue for fewer rows.
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
from salience.views import Views
from salience.views.random import Keys
from salience.warning_signs import Ordinary

LONGEST = 65_536  # the paper's queue
TEMPERATURES = {"linear": 0.07, "mlp": 0.2}


@full_precision
def moco_loss(query: Tensor, key: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of each query against its own key and the queue; no gradient to either.

    query, key: [n d] of any length;  queue: [K d] of length 1 -> []
    """
    query, key = F.normalize(query, dim=1), F.normalize(key.detach(), dim=1)
    own = (query * key).sum(dim=1, keepdim=True)  # [n 1]
    logits = torch.cat([own, query @ queue.detach().T], dim=1) / temperature  # [n 1+K]
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


class MoCo(Method):
    """MoCo.

    dim: width of the projection in which query and keys are compared
    head: what makes the projection: "mlp" has a hidden layer (v2), "linear" none (v1)
    temperature: small values weigh the nearest keys most; 0.2 for "mlp", 0.07 for "linear"
    momentum: how much of the teacher stays at each step
    queue: how many old keys are the negatives; by default 4096 or a sixteenth of the rows, or half of few, up to 65,536
    groups: of a step's rows on all processes together, each normalised on its own; of at least 2 rows
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
        generator = torch.Generator().manual_seed(0)  # its own, so that the queue is the same on all processes
        self.register_buffer("old_keys", F.normalize(torch.randn(queue, dim, generator=generator), dim=1))
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
        """Everyone's keys in the order of their items, of length 1, and where mine are.  -> [m dim], [n]"""
        share, back = shuffled(batch, at) if norms_of(self.teacher_encoder) else (batch, slice(None))
        view = self.views.one(share, at, "global", 1)  # the view of a row is the same on any process
        key = self.teacher_projector(in_groups(self.teacher_encoder, view.x, self.groups_of(len(view)), view.mask))
        everyone, mine_at = gather(F.normalize(key.to(self.old_keys.dtype), dim=1))
        return everyone[back], mine_at

    def groups_of(self, n: int) -> int:
        """How many groups this process makes of its n rows."""
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
        """queue_filled: the share that is keys; below 1, random rows make the loss lower than it will be."""
        filled = (self.written / max(1, self.queue)).clamp(max=1.0)
        return {"teacher_distance": distance(self.teacher_encoder, self.encoder), "queue_filled": filled}


def queue_for(rows: int) -> int:
    """A power of two. More than a sixteenth of the rows only where that is less than 4096, the authors' for CIFAR-10:
    in a long queue many an image would meet its own old key as a negative."""
    longest = min(LONGEST, max(rows // 16, min(rows // 2, 4096)))
    return 1 << max(0, longest.bit_length() - 1)


@torch.no_grad()
def enqueue(queue: Tensor, written: Tensor, keys: Tensor) -> None:
    """Keys take the places of the oldest, in place, from one end to the other and around.

    queue: [K d];  written: [] int64, how many came before, counted on;  keys: [m d], the last K of which stay
    """
    length, count = len(queue), len(keys)
    if length:
        places = written + torch.arange(max(0, count - length), count, device=queue.device)
        queue.index_copy_(0, places % length, keys[-length:])
    written.add_(count)


def shuffled(batch: Batch, at: Progress) -> tuple[Batch, Tensor]:
    """My share of everyone's rows, in an order of (seed, step); and where in that order each of everyone's is, [m]."""
    if not isinstance(batch.x, Tensor) or batch.mask is not None:
        raise UserError(
            "encoder: moco shuffles items among batch norms, which ragged items and nodes cannot; take one without"
        )
    index, mine_at = gather(batch.index)
    x = gather(batch.x.contiguous().view(torch.uint8))[0].view(batch.x.dtype)  # bytes: not every type can be sent
    order = Keys.of(at.seed, at.step, torch.arange(len(index), device=index.device)).fold("shuffle").settled().argsort()
    share = order[mine_at]
    return Batch(x[share], index[share]), order.argsort()


def in_groups(network: nn.Module, x: Any, count: int, mask: Tensor | None = None) -> Tensor:
    """The network's output for `count` parts of a batch, each normalised on its own.  [n ...] -> [n d]

    What its batch norms remember moves once, to the mean over the parts. Without any, all goes through at once.
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
    """Running means and variances, as `.data`: autograd must not notice that in_groups puts them back."""
    both = [(norm.running_mean, norm.running_var) for norm in norms_of(network)]
    return [tensor.data for pair in both for tensor in pair if tensor is not None]
