"""What stacks of layers share that are fine-tuned in the end, with or without labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from salience.distributed import gather, rank_and_world
from salience.methods.precision import full_precision

UNKNOWN = -1


@full_precision
def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, mean over everyone's known labels; 0 where there are none.

    logits: [n classes];  labels: [n], -1 where unknown  ->  [], of which the mean over processes is that of all items
    """
    known = gather((labels != UNKNOWN).sum()[None])[0].sum().clamp(min=1)
    return F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum") * rank_and_world()[1] / known


def withheld_by(fine_tune: str) -> Mapping[str, str]:
    """What a stack cannot do after it was fine-tuned so: labels move its layers away from what decodes them."""
    if fine_tune == "labels":
        return {"decode": "it was fine-tuned with labels; fit a run with fine_tune=rebuild"}
    return {"predict": "it was trained without labels; fit a run with use_labels=True"}
