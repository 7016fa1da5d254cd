"""View policies of tables."""

from __future__ import annotations

import torch
from torch import Tensor

from salience.modalities.table.spec import column_widths
from salience.views.policy import Policy, Shape
from salience.views.random import Keys


def table(x: Tensor, keys: Keys, shape: Shape) -> Tensor:
    """Hide each column with probability 0.3 (0.6 in a local view), and add noise of 0.1 std to the other numbers.

    A hidden value is 0: the mean of a number, no category. (SCARF uses the value of another row instead, which would
    depend on the batch.)  x: [n width] -> [n width]
    """
    widths = column_widths(shape.spec)
    numbers = torch.tensor([column.kind == "number" for column in shape.spec.columns], device=x.device)
    column = torch.repeat_interleave(torch.tensor(widths, device=x.device), output_size=sum(widths))  # of each value
    noise = 0.1 * numbers * keys.fold("noise").normal(len(widths))
    seen = ~keys.fold("hide").chance(0.6 if shape.part else 0.3, len(widths))
    return (x + noise[:, column]) * seen[:, column]


POLICIES: dict[str, Policy] = {"table": table}
