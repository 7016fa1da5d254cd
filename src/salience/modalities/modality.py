"""The contract of a kind of data: the functions that the rest of the package calls for images, tables and others.

A kind of data is one `Modality` object in its own folder; a `Spec` describes the items of one source. No other part of
the package compares names of kinds or checks the rank of an array: it calls the functions below through
`spec.modality`. Most functions have a default. A kind of data whose items are vectors of numbers implements only the
abstract functions.

An item has four representations:
    raw        as in the source: an encoded image, a row of a DataFrame, an array
    stored     as in the cache, [*spec.shape] of spec.dtype; ragged data [t *spec.shape]
    unit       float32 on the unit scale, on which views are drawn and losses computed: x [n ...]
    flat       [n width], the unit scale as one vector per item, for closed forms and dense layers

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

    from salience.fields.build_options import Built, Options
    from salience.fields.content import Found
    from salience.fields.source import Source
    from salience.fields.stored_items import Stored
    from salience.modalities.patches import Patches
    from salience.nets.adversaries import Strongest
    from salience.nets.encoder import Encoder
    from salience.nets.inputs import Input
    from salience.views.policy import Policy

S = TypeVar("S", bound=Spec)


class Items(Protocol):
    """The part of a dataset that is needed to show one item."""

    @property
    def spec(self) -> Any: ...

    def item(self, row: int) -> np.ndarray: ...


class Modality(ABC, Generic[S]):
    """A kind of data.

    Attributes:
        name: Name in runs and on the command line.
        item: Name of one item: "image", "table row".
        plural: Name of several items: "images", "table rows".
        spec: The class of its specs.
        extensions: Extensions of the files that `source` reads, each with many items, such as ".ts".
        item_extensions: Extensions of the files with one item each, such as ".png". A folder of them is a source.
        accompanies: Whether such files often belong to items of another kind, as captions and annotations do, so that a
            folder with both is read as the other kind.
        streams: Whether a single file of `item_extensions` is a stream, which is cut into windows.
        default_encoder: Name of the default encoder.
        vector_encoder: Name of the default encoder of methods that require "vectors", if it is another one.
        supports: Properties that a method may require, see `Method.requires`: "encoder" if its items have encoders;
            "vectors" if all items have one shape, or can have (see `refuse_vectors`), so that dense layers can read and
            decode them; images also offer "colours", "sizes" and "raster".
        media_type: MIME type of the file that `media` returns, for example "audio/wav"; None without one.
        shows_pictures: Whether items are drawn as pictures side by side; other items are drawn as rows of values.
        text_columns: Those of `store_names` that hold an item as text to read.
        reading_options: Options of `Reading` that apply to files of this kind of data: "aspect".
        open_options: Options of `open_data` that change how items are stored: "resolution".
    """

    name: ClassVar[str]
    item: ClassVar[str]
    plural: ClassVar[str]
    spec: ClassVar[type[Spec]]
    extensions: ClassVar[tuple[str, ...]] = ()
    item_extensions: ClassVar[frozenset[str]] = frozenset()
    accompanies: ClassVar[bool] = False
    streams: ClassVar[bool] = False
    default_encoder: ClassVar[str] = "mlp"
    vector_encoder: ClassVar[str | None] = None
    supports: ClassVar[frozenset[str]] = frozenset({"encoder", "vectors"})
    media_type: ClassVar[str | None] = None
    shows_pictures: ClassVar[bool] = False
    text_columns: ClassVar[tuple[str, ...]] = ()
    reading_options: ClassVar[frozenset[str]] = frozenset()
    open_options: ClassVar[frozenset[str]] = frozenset()

    # --- from a source to stored items ---------------------------------------------------------------------------

    def source(self, given: Any, query: Any) -> Source | None:
        """Return a source that only this kind of data reads, such as a file with one of `extensions`.

        Args:
            given: The source as the user gave it.
            query: The options of the user: `split`, `labels`, `groups`.

        Returns:
            The source; None for any other kind of source.
        """
        return None

    @abstractmethod
    def recognizes(self, content: Any) -> bool:
        """Return whether the content of a source consists of items of this kind."""

    def accepts(self, content: Any) -> bool:
        """Return whether `build` can read the content if the user asks for this kind of data (`--kind`)."""
        return self.recognizes(content)

    @abstractmethod
    def build(self, found: Found, options: Options) -> Built:
        """Convert the items of a source to stored items. A bad item is left out, with the reason in `Built.bad`.

        Raises:
            UserError: No item can be read, or the items do not fit `options.spec`.
        """

    def in_place(self, content: Any) -> np.ndarray:
        """Return the items of a source whose file `build` uses without a copy."""
        return content

    def collate(self, stored: Stored, rows: np.ndarray, spec: S) -> tuple[Any, np.ndarray | None]:
        """Return the items of these rows: x, an array or named arrays, and the mask [n t] of real tokens, or None."""
        from salience.fields.stored_items import take

        return take(stored, rows)

    def describe(self, shape: Sequence[int], dtype: str, count: int) -> str:
        """Describe the items for `salience data`: "1,797 images, grey, 8x8, uint8"."""
        return f"{count:,} {self.plural} of {'×'.join(map(str, shape))}, {dtype}"

    def columns(self, spec: S) -> list[str]:
        """Return the names of the values of a stored item; an empty list if they have no names."""
        return []

    def describe_columns(self, data: Any) -> list[dict[str, Any]]:
        """Return the name, kind, number of missing values and number of categories of each of `columns`."""
        return []

    def missing(self, x: Any) -> int:
        """Count the missing values of a batch."""
        return 0

    def resolution(self, spec: S) -> int | None:
        """Return the resolution of the items in pixels; None if this kind of data has none."""
        return None

    def from_array(self, x: np.ndarray, spec: S) -> np.ndarray:
        """Convert an array of items from a user to stored items, for the scikit-learn estimators."""
        return x.astype(spec.dtype, copy=False)

    def to_array(self, unit: Tensor, spec: S, shape: Sequence[int]) -> np.ndarray:
        """Convert items on the unit scale to the scale and shape [n *shape] of the input of `from_array`."""
        return unit.numpy()

    # --- the unit scale ------------------------------------------------------------------------------------------

    @abstractmethod
    def unit(self, x: Any, spec: S) -> Any:
        """Convert the stored values of a batch to float32 on the unit scale."""

    @abstractmethod
    def width(self, spec: S) -> int:
        """Return the number of values of one flat item."""

    def flat(self, x: Any, spec: S, dtype: dtype, mask: Tensor | None = None) -> Tensor:
        """Convert the stored values of a batch to flat items [n width] of this dtype."""
        return self.unit(x, spec).flatten(1).to(dtype)

    def unflatten(self, flat: Tensor, spec: S) -> Tensor:
        """Reshape flat items [n width] to items on the unit scale."""
        return flat

    def blank(self, spec: S) -> Tensor:
        """Return one item of zeros on the unit scale, [1 ...]."""
        import torch

        return torch.zeros(1, self.width(spec))

    def refuse_vectors(self, spec: S, what: str) -> None:
        """Raise UserError about `what` if these items have different shapes, so that dense layers cannot read them."""
        del spec, what  # all items have one shape

    def clip(self, x: Tensor) -> Tensor:
        """Clip generated values, such as decoded ones, to the range of the unit scale."""
        return x

    def value_range(self, spec: S) -> tuple[Tensor, Tensor]:
        """Return the minimum and maximum on the unit scale that corruption uses: [] or the shape of an item."""
        import torch

        return torch.tensor(-2.0), torch.tensor(2.0)

    def variance(self, spec: S) -> float:
        """Return the variance of unit-scale values over the training data, averaged over channels."""
        return 1.0

    def mean(self, spec: S) -> Tensor | None:
        """Return the mean [width] of flat items over the training data; None if it is 0."""
        return None

    def typical_std(self, spec: S) -> float:
        """Return a typical standard deviation of a unit-scale value over the training data."""
        return 1.0

    def to_stored(self, x: Tensor, spec: S) -> np.ndarray | None:
        """Convert items on the unit scale to stored items; None if that is not possible."""
        return None

    def uses_float64(self, spec: S) -> bool:
        """Return whether closed forms compute in float64."""
        return spec.dtype == "float64"

    # --- views, networks, likelihoods ----------------------------------------------------------------------------

    policies: ClassVar[Mapping[str, str]] = {}
    """View policies by name, with a description of what they vary. Every kind of data also has "identity"."""

    def policy(self, name: str) -> Policy:
        """Return the function of a policy: (x on the unit scale, keys, shape) -> x."""
        raise UserError(f"views: {self.plural} have no policy {name!r}")

    def default_policy(self, spec: S) -> tuple[str, str]:
        """Return the name of the policy that suits the data, and the reason in a few words."""
        return "identity", f"no views are known for {self.plural}"

    def refuse_policy(self, name: str, spec: S) -> None:
        """Raise UserError if a policy of this kind of data does not fit these items."""
        del name, spec  # all policies fit

    def policy_variant(self, policy: str, spec: S) -> str:
        """Return the variant of a policy that suits the data."""
        return policy

    def suggest_policy(self, data: Any, policy: str) -> tuple[str, str] | None:
        """Test the data, and return the variant of a policy that suits them and the reason; None without a test."""
        return None

    def make_input(self, spec: S) -> Input:
        """Make the input layer: `unit(x)` converts stored values to the unit scale, a call standardises them."""
        from salience.nets.inputs import Input

        return Input(spec)

    def make_encoder(self, name: str, spec: S, *, dim: int | None, fetch: bool) -> Encoder:
        """Make an encoder by name. Raises UserError for a name that this kind of data does not support."""
        from salience.nets.make import dense_by_name

        return dense_by_name(name, spec, dim)

    def make_decoder(self, encoder: str, spec: S, dim: int) -> nn.Module:
        """Make the decoder that mirrors an encoder: [n dim] -> items on the unit scale."""
        from salience.nets.decoder import dense_decoder

        return dense_decoder(spec, dim, (256, 256))

    def published_encoder(
        self, name: str, spec: S, *, weights: str | None, size: int | None, interpolation: str | None, fetch: bool
    ) -> Encoder:
        """Make a published network with its own preprocessing. Raises UserError for a name that is not known."""
        raise UserError(f"encoder: no published network {name!r} is known for {self.plural}; use 'identity' or a run")

    def patches(self, spec: S, side: int | None = None) -> Patches:
        """Make the patches that split items into tokens.

        Args:
            spec: The spec of the items.
            side: Side of a patch in pixels. Default: a side that suits the items.

        Raises:
            UserError: This kind of data has no tokens.
        """
        raise UserError(f"source: {self.plural} cannot be split into tokens; use a method without masked tokens")

    def make_discriminator(
        self, name: str, spec: S, *, channels: int, strides: int | None, fetch: bool
    ) -> tuple[Encoder, Strongest]:
        """Make the discriminator of a GAN. Default: the encoder with this name."""
        from salience.nets.adversaries import Strongest
        from salience.nets.make import make_encoder

        encoder = make_encoder(name, spec, fetch=fetch)
        return encoder, Strongest(encoder.dim)

    def make_generator(self, spec: S, *, dim: int, channels: int) -> nn.Sequential:
        """Make the generator of a GAN: noise [n dim] -> items on the unit scale."""
        from salience.nets.adversaries import dense_generator

        return dense_generator(spec, dim=dim, channels=channels)

    def to_range(self, x: Tensor, spec: S) -> Tensor:
        """Map any numbers, [n width] or of the shape of items, to items within the range of the unit scale."""
        return self.unflatten(x, spec)

    def prepare_network(self, network: nn.Module) -> None:
        """Convert the network to the memory layout that suits the data."""
        del network  # no particular layout

    def likelihood(self, spec: S) -> str:
        """Return the default likelihood of a value given a code: "bernoulli" or "gaussian"."""
        return "gaussian"

    def refuse_bernoulli(self, spec: S, option: str) -> None:
        """Raise UserError if values on the unit scale are not probabilities."""
        raise UserError(
            f"{option}: 'bernoulli' requires values between 0 and 1, {self.plural} have others; use 'gaussian'"
        )

    def logit_means(self, spec: S) -> S:
        """Return the spec with the logits of its means, if values are probabilities: the start of a decoder's bias."""
        return spec

    def make_raster(self, spec: S) -> nn.Module:
        """Make the autoregressive layer after a decoder, for kinds of data that offer "raster"."""
        raise UserError(f"autoregressive: {self.plural} have no order of values; leave this option out, or give images")

    def visible_input(self, spec: S, likelihood: str) -> Input:
        """Make the input layer of a Boltzmann machine whose visible units have this likelihood."""
        return self.make_input(spec)

    # --- evaluation and show -------------------------------------------------------------------------------------

    def raw_features(self, x: Any, spec: S, mask: Tensor | None = None) -> Tensor:
        """Convert the stored values of a batch to the raw-input baseline, [n d] float32."""
        import torch

        return self.flat(x, spec, torch.float32, mask)

    def raw_note(self, spec: S) -> str | None:
        """Describe what raw features leave out; None if they contain everything."""
        return None

    def compare(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Compare reconstructions with items, both on the unit scale: name of a measure ("mse") -> [n] float64."""
        return {"mse": (x.double() - y.double()).square().flatten(1).mean(dim=1)}

    def has_near_duplicates(self, spec: S) -> bool:
        """Return whether `near_signature` is supported for these items."""
        return False

    def near_signature(self, x: Any, spec: S) -> Tensor:
        """Convert the stored values of a batch to unit vectors [n d], which are close for near-duplicates."""
        raise NotImplementedError

    def picture(self, data: Items, row: int) -> Image.Image:
        """Draw one item, for stores and for the page. Default: its text."""
        from salience.drawing import draw_text

        return draw_text(self.text(data, row))

    def text(self, data: Items, row: int) -> str:
        """Describe one item in a few lines of text."""
        values = data.item(row).ravel()
        return " ".join(f"{value:.3g}" for value in values[:16]) + (" ..." if len(values) > 16 else "")

    def media(self, data: Items, row: int) -> tuple[str, bytes] | None:
        """Return one item as a file that a browser plays, with its MIME type; None if a picture shows all of it."""
        return None

    def frame(self, x: np.ndarray, spec: S) -> pd.DataFrame:
        """Convert items on the unit scale to rows of a table, for CSV files. Default: numbered columns of values."""
        import pandas as pd

        return pd.DataFrame(x.reshape(len(x), -1)).rename(columns=str)

    def shown_view(self, x: Any, spec: S) -> Tensor:
        """Convert a view to a tensor that is drawn, as a picture or as rows of values. Default: the view."""
        return x

    def value_names(self, spec: S) -> list[str]:
        """Return a name for each value of a flat item, for figures."""
        return [str(position) for position in range(self.width(spec))]

    def query(self, words: str) -> Any:
        """Return a source of one item for words that a user searches for; None if words are no item."""
        return None

    def store_columns(self, data: Any) -> dict[str, pa.Array]:
        """Return further columns for a store, to show and to filter by. Their names are `store_names`."""
        return {}

    def store_names(self, spec: S) -> list[str]:
        """Return the names of `store_columns`."""
        return []

    def thumbnails(self, data: Any) -> pa.Array | None:
        """Return a small PNG file of every item, as bytes; None if its text shows as much as a picture."""
        return None

    def __repr__(self) -> str:
        return f"<{self.name}>"
