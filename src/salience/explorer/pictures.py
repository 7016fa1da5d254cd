"""Images that users send, checked before they are decoded; and images for the page."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from salience.data import Dataset
from salience.data.cache import cache_folder
from salience.data.prepare import prepare
from salience.errors import UserError, naming
from salience.fields.build_options import Options
from salience.fields.content import Encoded, Found
from salience.fields.source import Source
from salience.modalities.image.decode import UnreadableError, probe
from salience.reading import DEFAULT_ASPECT
from salience.representation import Representation
from salience.verbs.pictures import pictures

MOST_PIXELS = 50_000_000  # limit for a JPEG, which is reduced while it is decoded
MOST_WHOLE = 12_500_000  # limit for other formats, decoded completely: about 40 bytes per pixel with transparency
JPEG = b"\xff\xd8"  # first bytes of a JPEG file
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")  # formats of cameras and browsers


def verify(data: bytes) -> None:
    """Check an image without decoding it. Raises UserError if it is not an image, damaged or too large."""
    try:
        most = MOST_PIXELS if data.startswith(JPEG) else MOST_WHOLE
        header = probe(data)
        _require_size(header.width, header.height, most)
        Image.init()
        with Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            _require_size(*image.size, most)
            image.verify()
    except UserError:
        raise
    except UnreadableError as problem:
        raise UserError(f"image: {problem}; send JPEG or PNG") from None
    except Exception as problem:  # PIL's readers raise many types, from SyntaxError to struct.error
        unknown = isinstance(problem, Image.UnidentifiedImageError)
        said = "not an image of a supported format" if unknown else f"damaged ({type(problem).__name__})"
        raise UserError(f"image: {said}; send JPEG or PNG") from None


def _require_size(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise UserError(f"image: expected at most {most:,} pixels, got {width}x{height}; send a smaller image")


def open_image(data: bytes, rep: Representation) -> Dataset:
    """Open one image as input of the run. Raises UserError if it cannot be read, or the run does not take images."""
    if not rep.spec.modality.shows_pictures:
        raise UserError(f"image: {rep.method_name} was trained on {rep.spec.modality.name} data; send rows")
    verify(data)
    found = Found(Encoded(rep.spec.modality.name, 1, lambda: iter([[data]])))
    options = Options(spec=rep.spec, aspect=rep.reading.aspect or DEFAULT_ASPECT)
    with naming("image", "source"):
        return prepare(Source("upload", "", lambda: found), options, cache_folder())


def as_png(x: np.ndarray | Tensor) -> list[str]:
    """Encode images as PNG files in base64.  [n c h w] on the unit scale -> n texts"""
    levels = np.rint(pictures(torch.as_tensor(x)) * 255).astype(np.uint8)
    return [in_base64(encoded(Image.fromarray(one))) for one in levels]


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def in_base64(file: bytes) -> str:
    return base64.b64encode(file).decode("ascii")


def media_type(file: bytes) -> str:
    """Return the media type of a thumbnail."""
    return "image/jpeg" if file.startswith(JPEG) else "image/png"
