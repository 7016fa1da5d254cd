"""Pretrained: use a published network, or one of another run, without any training.

The idea of transfer: features learnt on one large dataset serve other data. Donahue et al. 2014, "DeCAF",
https://arxiv.org/abs/1310.1531. With the network f and its own preprocessing p, an item x gets the embedding

    z = f(p(x))

Nothing is fitted. Preprocessing (size, interpolation, mean, standard deviation) comes with the network and is stored in
the run. The encoder "identity" takes items that are embeddings already, such as word vectors, as they are.
Differs from published evaluation: the whole image is resized; nothing is cropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge
from torch import Tensor

from salience.batch import Batch
from salience.errors import UserError, naming
from salience.methods.closed_form import ClosedForm, RowReader
from salience.methods.contract import Auto, Context, settled
from salience.nets import Encoder, Input, make_encoder
from salience.nets.identity import IDENTITY, identity_encoder

PUBLISHED = "published"
PIXELS = 2**20  # of the images of a forward pass: published networks are large


class Pretrained(ClosedForm):
    """A network that is used as it is.

    weights: file of the network's weights, .safetensors or .pth; by default the published ones, from the cache or hub
    network: name of the network, if the encoder is the folder of a run; it is detected and saved
    size: height and width in pixels that the network gets; by default its own
    interpolation: how images are resized to this size; by default as the network was trained
    """

    takes: ClassVar[tuple[str, ...]] = ("encoder",)
    requires = ("vectors",)

    encoder: Encoder

    def __init__(
        self,
        input: Input,
        encoder: Encoder,
        *,
        weights: str = Auto,
        network: str = Auto,
        size: Annotated[int, Ge(1)] = Auto,
        interpolation: Literal["bicubic", "bilinear", "nearest"] = Auto,
    ):
        super().__init__(input)
        self.encoder = encoder
        self.rows_at_once = 1 << max(0, min(256, PIXELS // encoder.preprocessing["size"] ** 2).bit_length() - 1)
        self.weights = weights
        self.network = network
        self.size = size
        self.interpolation = interpolation

    @classmethod
    def build(cls, context: Context, **options: Any) -> Self:
        network, weights = options.get("network", Auto), options.get("weights", Auto)
        encoder, network = network_of(context, network, weights, options)
        kept = encoder.preprocessing
        found = {"weights": PUBLISHED, "network": network, **kept}
        return cls(context.make_input(), encoder, **settled(options, **found))

    def fit_rows(self, reader: RowReader, *, seed: int) -> None:
        """Nothing is fitted."""

    @property
    def width(self) -> int:
        return self.encoder.dim

    def embed(self, batch: Batch) -> Tensor:
        return self.encoder(self.encoder.input.unit(batch.x), batch.mask)

    def embed_rows(self, rows: Tensor) -> Tensor:
        return self.encoder(self.unflatten(rows).float())


def network_of(context: Context, network: Any, weights: Any, options: dict[str, Any]) -> tuple[Encoder, str]:
    """Return the network that the encoder describes, and its name.

    A loaded method gets a network of the same architecture; the weights are loaded with the method's.
    Raises: UserError if there is no such network, run or file, or if it does not fit the data.
    """
    given = IDENTITY if context.encoder is None else context.encoder
    if not isinstance(given, str):
        return context.make_encoder(), getattr(given, "__name__", type(given).__name__)
    if context.fetch and context.load_encoder is not None and Path(given).is_dir():
        if weights not in (Auto, PUBLISHED):
            raise UserError(f"weights: {weights!r} was given, but the run {given} has its own; leave it out")
        with naming("encoder", "features"):
            return of_run(context, given)
    if not context.fetch and network not in (Auto, given):  # that of a run, whose weights are with the method's
        return make_encoder(network, context.spec, fetch=False), network
    if given == IDENTITY:
        if weights not in (Auto, PUBLISHED):
            raise UserError(f"weights: {weights!r} was given without a network; name it with --encoder")
        return identity_encoder(context.spec), given
    published = context.spec.modality.published_encoder(
        given,
        context.spec,
        weights=None if weights in (Auto, PUBLISHED) else weights,
        size=None if options.get("size", Auto) == Auto else options["size"],
        interpolation=None if options.get("interpolation", Auto) == Auto else options["interpolation"],
        fetch=context.fetch,
    )
    return published, given


def of_run(context: Context, run: str) -> tuple[Encoder, str]:
    """Return the encoder of a run, and its name.

    Raises: UserError if the run's method has changed the network, so that its name does not describe it.
    """
    assert context.load_encoder is not None
    name, encoder = context.load_encoder(run)
    plain = make_encoder(name, context.spec, fetch=False).state_dict()
    if {key: value.shape for key, value in plain.items()} != {k: v.shape for k, v in encoder.state_dict().items()}:
        raise UserError(f"encoder: the method of {run} has its own kind of network; embed with that run itself")
    return encoder, name
