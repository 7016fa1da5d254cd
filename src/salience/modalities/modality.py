"""The contract of a kind of data: what the rest of the package asks of images, tables, and whatever is added.

A kind of data is one object, `Modality`, in a folder of its own; a `Spec` says what the items of one source are. No
other part of the package compares names of kinds or looks at the rank of an array: it calls the functions below through
`spec.modality`. What has a usual answer has a default here: items that are single vectors of numbers need the abstract
functions alone.

Four representations of an item:
    raw        as a source gives it: an encoded image, a row of a DataFrame, an array
    stored     as it is kept in the cache, [*spec.shape] of spec.dtype; of ragged data [t *spec.shape]
    unit       float32 on the unit scale, where views are drawn and losses compare: x [n ...]
    flat       [n width], the unit scale as one vector an item, for closed forms and dense layers

Importing this module loads neither torch nor pandas; the functions of a kind of data import what they need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from salience.errors import UserError
from salience.modalities.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from PIL import Image
    from torch import Tensor, dtype, nn

    from salience.fields.built import Built, Options
    from salience.fields.content import Found
    from salience.fields.source import Source
    from salience.fields.stored import Stored
    from salience.modalities.patches import Patches
    from salience.nets.adversaries import Strongest
    from salience.nets.encoder import Encoder
    from salience.nets.inputs import Input
    from salience.views.policy import Policy

S = TypeVar("S", bound=Spec)


class Items(Protocol):
    """What is needed of a dataset to show one item."""

    @property
    def spec(self) -> Any: ...

    def item(self, row: int) -> np.ndarray: ...


class Modality(ABC, Generic[S]):
    """A kind of data.

    name: what it is called, in runs and in the command line
    plural: what its items are called: "images", "table rows"
    spec: the class of its specs
    extensions: endings of files that `source` reads, such as ".wav"
    default_encoder: by name
    offers: what a method may need beyond views and an encoder, see `Method.needs`: "vectors", items are all of one
        shape, so that they can be decoded and taken by dense layers; "colours", "sizes", "raster" of images
    pictured: items are pictures, best drawn side by side; other items are drawn as rows of values
    takes: which of the options of `open_data` change how its items are stored: "resolution"
    """

    name: ClassVar[str]
    plural: ClassVar[str]
    spec: ClassVar[type[Spec]]
    extensions: ClassVar[tuple[str, ...]] = ()
    default_encoder: ClassVar[str] = "mlp"
    offers: ClassVar[frozenset[str]] = frozenset({"vectors"})
    pictured: ClassVar[bool] = False
    takes: ClassVar[frozenset[str]] = frozenset()

    # --- from a source to stored items ---------------------------------------------------------------------------

    def source(self, given: Any, query: Any) -> Source | None:
        """A source that only this kind of data reads, such as a file with one of `extensions`; None for any other.

        query: what the user said of it: `split`, `labels`, `groups`
        """
        return None

    @abstractmethod
    def claims(self, content: Any) -> bool:
        """Whether what a source holds are items of this kind."""

    @abstractmethod
    def build(self, found: Found, options: Options) -> Built:
        """Stores the items of a source, once.

        Raises UserError where nothing can be read, or the items do not fit `options.spec`. A bad item is left out, with
        its reason in `Built.bad`.
        """

    def in_place(self, content: Any) -> np.ndarray:
        """The items of a source whose file is mapped as it is, where `build` said so."""
        return content

    def collate(self, stored: Stored, rows: np.ndarray, spec: S) -> tuple[Any, np.ndarray | None]:
        """The items of these rows as a batch: x, an array or named arrays, and a mask [n t] of real tokens, or None."""
        from salience.fields.stored import take

        return take(stored, rows)

    def describe(self, shape: Sequence[int], dtype: str, count: int) -> str:
        """ "1,797 images, grey, 8x8, uint8": for `salience data`."""
        return f"{count:,} {self.plural} of {'×'.join(map(str, shape))}, {dtype}"

    def columns(self, spec: S) -> list[str]:
        """Names of the values of a stored item, where they have names."""
        return []

    def describe_columns(self, data: Any) -> list[dict[str, Any]]:
        """Name, kind, missing values and categories of each of `columns`."""
        return []

    def missing(self, x: Any) -> int:
        """How many values of a batch are missing."""
        return 0

    def resolution(self, spec: S) -> int | None:
        """What `--resolution` sets, where this kind of data takes it."""
        return None

    def from_array(self, x: np.ndarray, spec: S) -> np.ndarray:
        """Items in an array as a user has them -> stored as `spec` says, for the estimators of scikit-learn."""
        return x.astype(spec.dtype, copy=False)

    def to_array(self, unit: Tensor, spec: S, shape: Sequence[int]) -> np.ndarray:
        """The way back: unit scale -> on the scale and in the shape [n *shape] that `from_array` was given."""
        return unit.numpy()

    # --- the unit scale ------------------------------------------------------------------------------------------

    @abstractmethod
    def unit(self, x: Any, spec: S) -> Any:
        """Stored values of a batch -> float32 on the unit scale."""

    @abstractmethod
    def width(self, spec: S) -> int:
        """Values of one item in its flat form."""

    def flat(self, x: Any, spec: S, dtype: dtype, mask: Tensor | None = None) -> Tensor:
        """Stored values of a batch -> [n width] in this precision."""
        return self.unit(x, spec).flatten(1).to(dtype)

    def shaped(self, flat: Tensor, spec: S) -> Tensor:
        """[n width] -> items on the unit scale."""
        return flat

    def blank(self, spec: S) -> Tensor:
        """One item of zeros on the unit scale, [1 ...]."""
        import torch

        return torch.zeros(1, self.width(spec))

    def within(self, x: Tensor) -> Tensor:
        """Values that are made, such as decoded ones, brought into the range of real ones."""
        return x

    def limits(self, spec: S) -> tuple[Tensor, Tensor]:
        """The least and greatest values on the unit scale, as far as corruption goes: [] or of an item's shape."""
        import torch

        return torch.tensor(-2.0), torch.tensor(2.0)

    def variance(self, spec: S) -> float:
        """Of a unit-scale value over the training data, around its channel's mean; the mean over channels."""
        return 1.0

    def mean(self, spec: S) -> Tensor | None:
        """[width] means of flat items over the training data; None where they are 0."""
        return None

    def spread(self, spec: S) -> float:
        """A typical standard deviation of a unit-scale value over the training data."""
        return 1.0

    def restored(self, x: Tensor, spec: S) -> np.ndarray | None:
        """Unit scale -> as stored; None where that cannot be told."""
        return None

    def precise(self, spec: S) -> bool:
        """Whether closed forms compute in float64."""
        return spec.dtype == "float64"

    # --- views, networks, likelihoods ----------------------------------------------------------------------------

    policies: ClassVar[Mapping[str, str]] = {}
    """View policies by name, and what they vary. Every kind of data has "identity" as well."""

    def policy(self, name: str) -> Policy:
        """The function of a policy: (x on the unit scale, keys, shape) -> x."""
        raise UserError(f"views: {self.plural} have no policy {name!r}")

    def default_policy(self, spec: S) -> tuple[str, str]:
        """The policy that suits the data, and why in a few words."""
        return "identity", f"no views are known for {self.plural}"

    def refuse_policy(self, name: str, spec: S) -> None:
        """Raises UserError where a policy of this kind does not fit these items."""
        del name, spec  # all fit

    def in_variant(self, policy: str, spec: S) -> str:
        """A policy that a method names, in the variant that suits the data."""
        return policy

    def suited_policy(self, data: Any, policy: str) -> tuple[str, str] | None:
        """The variant of a policy that a test of the data finds, and why; None where there is nothing to find out."""
        return None

    def make_input(self, spec: S) -> Input:
        """The first layer: `unit(x)` brings stored values to the unit scale, a call brings those to a network's."""
        from salience.nets.inputs import Input

        return Input(spec)

    def make_encoder(self, name: str, spec: S, *, dim: int | None, fetch: bool) -> Encoder:
        """An encoder by name. Raises UserError for a name that this kind of data does not know."""
        from salience.nets.make import dense_by_name

        return dense_by_name(name, spec, dim)

    def make_decoder(self, encoder: str, spec: S, dim: int) -> nn.Module:
        """The decoder that mirrors an encoder.  [n dim] -> items on the unit scale"""
        from salience.nets.decoder import dense_decoder

        return dense_decoder(spec, dim, (256, 256))

    def patches(self, spec: S, side: int | None = None) -> Patches:
        """How items are cut into tokens.  side: of a patch; None takes what suits the items

        Raises UserError where this kind of data has no tokens.
        """
        raise UserError(f"source: {self.plural} cannot be split into tokens; use a method without masked tokens")

    def make_judge(
        self, name: str, spec: S, *, channels: int, strides: int | None, fetch: bool
    ) -> tuple[Encoder, Strongest]:
        """What a discriminator sees, for GANs: by default the encoder of that name."""
        from salience.nets.adversaries import Strongest

        encoder = self.make_encoder(name, spec, dim=None, fetch=fetch)
        return encoder, Strongest(encoder.dim)

    def make_generator(self, spec: S, *, dim: int, channels: int) -> nn.Sequential:
        """Noise [n dim] -> items on the unit scale, for GANs."""
        from salience.nets.adversaries import dense_generator

        return dense_generator(spec, dim=dim, channels=channels)

    def squash(self, x: Tensor, spec: S) -> Tensor:
        """Any numbers [n width] or of an item's shape -> items within the range of the unit scale."""
        return self.shaped(x, spec)

    def prepare_network(self, network: nn.Module) -> None:
        """Brings the network into the memory layout that suits the data."""
        del network  # any will do

    def likelihood(self, spec: S) -> str:
        """ "bernoulli" or "gaussian": the usual one for a value given a code."""
        return "gaussian"

    def refuse_bernoulli(self, spec: S, option: str) -> None:
        """Raises UserError where values on the unit scale cannot be taken for probabilities."""
        raise UserError(
            f"{option}: 'bernoulli' requires values between 0 and 1, {self.plural} have others; use 'gaussian'"
        )

    def in_logits(self, spec: S) -> S:
        """The spec with logits of its means, where values are probabilities: what a decoder of logits begins at."""
        return spec

    def make_raster(self, spec: S) -> nn.Module:
        """What corrects a decoder's values by those before them, for kinds that offer "raster"."""
        raise UserError(f"autoregressive: {self.plural} have no order of values; leave this option out, or give images")

    def visible_input(self, spec: S, likelihood: str) -> Input:
        """The input layer of a Boltzmann machine whose visible units have this likelihood."""
        return self.make_input(spec)

    # --- evaluation and show -------------------------------------------------------------------------------------

    def raw_features(self, x: Any, spec: S, mask: Tensor | None = None) -> Tensor:
        """Stored values of a batch -> [n d] float32: what a representation is compared with."""
        import torch

        return self.flat(x, spec, torch.float32, mask)

    def raw_note(self, spec: S) -> str | None:
        """What raw features leave out, in a few words."""
        return None

    def compare(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """How near reconstructions are to their items, by measure ("mse", ...): [n] float64 each.  x, y: unit scale"""
        return {"mse": (x.double() - y.double()).square().flatten(1).mean(dim=1)}

    def has_near_duplicates(self, spec: S) -> bool:
        """Whether `near_signature` tells anything."""
        return False

    def near_signature(self, x: Any, spec: S) -> Tensor:
        """Stored values of a batch -> [n d] unit vectors that are close for nearly equal items."""
        raise NotImplementedError

    def picture(self, data: Items, row: int) -> Image.Image:
        """One item, drawn: for stores and for the page. By default its text."""
        from salience.drawing import text_picture

        return text_picture(self.text(data, row))

    def text(self, data: Items, row: int) -> str:
        """One item in a few lines."""
        values = data.item(row).ravel()
        return " ".join(f"{value:.3g}" for value in values[:16]) + (" ..." if len(values) > 16 else "")

    def frame(self, x: np.ndarray, spec: S) -> pd.DataFrame:
        """Items on the unit scale as rows of a table, for CSV files: by default their values, numbered."""
        import pandas as pd

        return pd.DataFrame(x.reshape(len(x), -1)).rename(columns=str)

    def value_names(self, spec: S) -> list[str]:
        """A name for each unit-scale value of a flat item, for pictures of them."""
        return [str(position) for position in range(self.width(spec))]

    def store_columns(self, data: Any) -> dict[str, pa.Array]:
        """Columns of a store beside vectors and labels: what to show and to filter by. Named as `store_names` says."""
        return {}

    def store_names(self, spec: S) -> list[str]:
        return []

    def thumbnails(self, data: Any) -> pa.Array | None:
        """A small PNG file of every item, as bytes; None where a picture shows no more than its text."""
        return None

    def __repr__(self) -> str:
        return f"<{self.name}>"
