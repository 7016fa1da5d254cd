"""Agree: keep two views of an item together and predict its mean brightness.

A method for the tests, https://example.org/agree. For views a, b of an item x:

    loss = (w f(a) - mean(x))^2 + weight |f(a) - f(b)|^2
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from annotated_types import Gt
from torch import Tensor, nn

from salience.batch import Batch, Progress
from salience.methods import Context, Method
from salience.nets import Encoder
from salience.views import Views
from salience.warning_signs import Ordinary


class Agree(Method):
    """Agree.

    weight: weight of the agreement of two views
    """

    ordinary = (Ordinary("weight", 0.01, 100.0),)

    def __init__(self, encoder: Encoder, views: Views, *, weight: Annotated[float, Gt(0)] = 1.0):
        super().__init__(encoder)
        self.views = views
        self.weight = weight
        self.head = nn.Linear(encoder.dim, 1)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        return cls(context.make_encoder(), context.make_views({"global": 2}), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        a, b = (self.encoder(view.x) for view in self.views(batch, at)["global"])
        mean = self.encoder.input.unit(batch.x).flatten(1).mean(1)
        error = (self.head(a).squeeze(1) - mean).square().mean()
        return {"loss": error + self.weight * (a - b).square().sum(1).mean()}
