"""What a run shows of itself at a moment: signs of health from fixed items, in fixed views.

Batch norms use the probe's own statistics: running ones of a young network look like a collapse. A look draws nothing
from the training's randomness, leaves every buffer as it was, and concerns this process alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.data import Dataset, permute
from salience.distributed import alone
from salience.measures.embedding_geometry import alignment, effective_rank, std, uniformity
from salience.measures.knn import knn_scores
from salience.measures.raw_features import around_mean, raw_features
from salience.methods import Method
from salience.views import Views

SIZE = 256  # items whose geometry and loss are looked at
LABELLED = 1_500  # items for kNN, at most
LEAST_LABELLED = 60
FIXED_VIEWS = 2**30  # the epoch whose views the probe sees; no training comes so far
Signs = dict[str, float]


class Probe:
    """Fixed items of a data set, and what a method makes of them.

    total: steps of the training;  seed: its seed;  half: all but the geometry is looked at in bf16, as it trains
    """

    def __init__(self, dataset: Dataset, *, total: int, seed: int, half: bool = False):
        self.total = total
        self.seed = seed
        self.half = half
        rows = permute(np.arange(min(len(dataset), 4 * (SIZE + LABELLED))), len(dataset), seed, epoch=0)
        self.batch = dataset.batch(rows[:SIZE])
        self.labelled = _labelled(dataset, rows)

    def about(self, method: Method, batch_size: int) -> dict[str, Any]:
        """What the signs are judged against: it does not change during a run.

        batch_size: items of a step on all processes
        """
        items = method.encoder.input.unit(self.batch.x) if self._dense else None
        about: dict[str, Any] = {"collapsed_loss": method.collapsed_loss(len(self.batch)), "batch_size": batch_size}
        about["one_item"] = items is not None and bool((items == items[:1]).all())
        with _unnoticed(method):
            pair = self._pair(method)
        if pair is not None and items is not None:
            about["view_distance"] = round(view_distance(pair[0].x, pair[1].x, items), 5)
        if self.labelled is not None and method.judged_by_neighbours:
            about["labelled"] = len(self.labelled)
            about["raw_knn"] = _knn(around_mean(torch.from_numpy(raw_features(self.labelled)))[0], self.labelled)
        return about

    def look(self, method: Method, step: int, *, knn: bool = False) -> Signs | None:
        """The signs at this step, None where the representation is not finite.

        knn: also the accuracy of nearest neighbours, where there are labels
        """
        at = Progress(step, self.total, FIXED_VIEWS, self.seed)
        batch = self.batch.to(method.device)
        with _unnoticed(method):
            codes = method.embed(batch).float()  # in float32: rounding would count as rank
            h = codes.cpu()
            if not torch.isfinite(h).all():
                return None
            seen = {"effective_rank": effective_rank(h), "std": std(h).mean(), "uniformity": uniformity(h)}
            with torch.autocast(method.device.type, torch.bfloat16, enabled=self.half):
                loss = method.yardstick(batch, at)
                seen |= {**({} if loss is None else {"loss": loss}), **method.vitals(batch, at)}
                if method.rebuilds(at):
                    x = method.encoder.input.unit(batch.x)
                    seen |= unexplained(x, method.decode(codes))  # type: ignore[operator]
                pair = self._pair(method)
                if pair is not None:
                    seen["alignment"] = torch.tensor(alignment(*(_encoded(method, view) for view in pair)).value)
                if knn and self.labelled is not None and method.judged_by_neighbours:
                    seen["knn"] = torch.tensor(_knn(self._codes(method, self.labelled), self.labelled))
        return {name: round(float(value), 6) for name, value in seen.items()}

    def _codes(self, method: Method, labelled: Dataset) -> Tensor:
        return torch.cat([method.embed(part.to(method.device)).float().cpu() for part in labelled.chunks(SIZE)])

    @property
    def _dense(self) -> bool:
        """Whether items are tensors of one shape, whose values can be compared one by one."""
        return isinstance(self.batch.x, Tensor) and self.batch.mask is None

    def _pair(self, method: Method) -> tuple[Batch, Batch] | None:
        """Two views of each item, None for a method that draws no pair."""
        views = dict(method.named_children()).get("views")
        if not isinstance(views, Views) or views.roles.get("global", 0) < 2:
            return None
        first, second = views(self.batch.to(method.device), Progress(0, 1, FIXED_VIEWS, self.seed))["global"][:2]
        return first, second


def _encoded(method: Method, view: Batch) -> Tensor:
    """[n d] float32"""
    return method.encode(view.x, view.mask).float().cpu()


def view_distance(a: Tensor, b: Tensor, items: Tensor) -> float:
    """How far apart two views of one item are, as a share of how far apart items are; 0: nothing was changed.

    a, b, items: [n ...] on the unit scale
    """
    between = (items - items.roll(1, dims=0)).square().mean().clamp(min=1e-12)
    return float(((a - b).square().mean() / between).sqrt())


def unexplained(x: Tensor, rebuilt: Tensor) -> dict[str, Tensor]:
    """Squared error of rebuilt items as a share of the variance around the mean item, where that is a number.

    [n ...], [n ...] -> []
    """
    share = (rebuilt.float() - x).square().mean() / (x - x.mean(dim=0)).square().mean()
    return {"unexplained": share} if torch.isfinite(share) else {}


def _labelled(dataset: Dataset, rows: np.ndarray) -> Dataset | None:
    """Some of these rows that have labels; None where they are too few, of one class, or measurements."""
    if dataset.labels is None or dataset.measured:
        return None
    known = rows[dataset.labels[rows] >= 0][:LABELLED]
    if len(known) < LEAST_LABELLED or len(np.unique(dataset.labels[known])) < 2:
        return None
    return dataset.subset(known)


def _knn(codes: Tensor, labelled: Dataset) -> float:
    """Weighted kNN accuracy of every row, by all the others."""
    assert labelled.labels is not None
    labels = torch.from_numpy(labelled.labels)
    scores = knn_scores(codes, labels, None, len(labelled.classes))
    return round(float((scores.argmax(1) == labels).float().mean()), 4)


@contextmanager
def _unnoticed(method: Method) -> Iterator[None]:
    """The method is looked at and stays as it is; compiled parts run as they were written, for shapes of their own."""
    with (
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        own_statistics(method),
        alone(),
        torch.compiler.set_stance("force_eager"),
    ):
        yield


@contextmanager
def own_statistics(module: nn.Module) -> Iterator[None]:
    """No dropout; batch norms use the batch's statistics, as they do without running ones, and theirs are kept safe.

    Those that use their own while the module is trained do so here: of networks that never change.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.training or not module.training]
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    training = [part.training for part in module.modules()]
    module.eval()
    for norm in norms:
        norm.running_mean = norm.running_var = None
    try:
        yield
    finally:
        for norm, (mean, variance) in zip(norms, kept, strict=True):
            norm.running_mean, norm.running_var = mean, variance
        for part, mode in zip(module.modules(), training, strict=True):
            part.training = mode
