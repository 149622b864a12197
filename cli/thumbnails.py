"""Small pictures for a web page, embedded so that the page can be mailed or moved."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from mm_milvus.errors import MediaError

if TYPE_CHECKING:
    from PIL.Image import Image

    from mm_milvus.records import Crop

__all__ = ["Picture", "load_picture"]

_SIDE = 256  # pixels
_QUALITY = 85
_EVEN = (
    16.0  # largest standard deviation of an edge, in levels of 255, that one colour can continue unnoticed
)
_MOST_CUT = 1.8  # a picture with a longer side than this many shorter ones would lose too much of it


@dataclass(frozen=True, slots=True)
class Picture:
    """What an ``<img>`` shows and how it sits in a square.

    A picture with even edges (a studio shot) is shown whole on ``backdrop``, a CSS background that continues
    them; one with busy edges ``fills`` the square and loses a part. Of a URL neither is known.
    """

    source: str
    backdrop: str = ""
    fills: bool = False


def load_picture(reference: Any, crop: Crop | None = None) -> Picture | None:
    """A URL as it is, anything else (path, data URI, bytes, Pillow image) as an embedded thumbnail.

    None where there is no picture, or none that can be read: a page with a gap is better than no page.
    """
    from mm_milvus.media.decode import load_image
    from mm_milvus.media.references import classify, without_credentials

    try:
        if isinstance(reference, str) and (found := classify(reference)).kind == "url":
            return Picture(without_credentials(found.text))
        return _thumbnail(load_image(reference, crop=crop))
    except MediaError:
        return None


def _thumbnail(image: Image) -> Picture:
    small = image.copy()  # thumbnail() works in place
    small.thumbnail((_SIDE, _SIDE))
    encoded = BytesIO()
    small.save(encoded, "JPEG", quality=_QUALITY, optimize=True)
    source = "data:image/jpeg;base64," + b64encode(encoded.getvalue()).decode("ascii")
    backdrop = _backdrop(small)
    return Picture(source, backdrop, fills=not backdrop and max(small.size) < _MOST_CUT * min(small.size))


def _backdrop(image: Image) -> str:
    """Two colours that meet behind the middle: those of the edges at which a square has room left.

    "" where an edge is not even enough to be continued by one colour.
    """
    from PIL.ImageStat import Stat

    width, height = image.size
    if width >= height:
        edges, direction = ((0, 0, width, 1), (0, height - 1, width, height)), "to bottom"
    else:
        edges, direction = ((0, 0, 1, height), (width - 1, 0, width, height)), "to right"
    first, last = (Stat(image.crop(edge)) for edge in edges)
    if max(*first.stddev, *last.stddev) > _EVEN:
        return ""
    return f"linear-gradient({direction},{_color(first.median)} 50%,{_color(last.median)} 50%)"


def _color(channels: Sequence[float]) -> str:
    red, green, blue = (round(channel) for channel in channels)
    return f"#{red:02x}{green:02x}{blue:02x}"
