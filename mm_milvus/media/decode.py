"""Encoded pictures -> RGB images, the same on every machine, or one line that says what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mm_milvus.errors import MediaError
from mm_milvus.media.bombs import check_scans, check_structure
from mm_milvus.media.policy import DEFAULT_MAX_PIXELS
from mm_milvus.media.reader import MediaReader
from mm_milvus.media.sniff import sniff

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose
    from PIL.ImageFile import ImageFile

    from mm_milvus.records import Crop

__all__ = ["decode_image", "load_image"]

_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "AVIF": "AvifImagePlugin",
}
# Their decoders hold several copies of the whole picture: 10 to 16 bytes a pixel.
_FEWER_PIXELS = {"WEBP": 25_000_000, "AVIF": 25_000_000}
_DECODED = "JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF"
_ORIENTATION: Final = 0x0112  # EXIF tag
_SIXTEEN_BITS = 65535


def decode_image(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, crop: Crop | None = None) -> Image:
    """The first frame of a JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF as an RGB image of 8 bits per channel.

    It stands upright (EXIF rotation is applied); transparent pixels show white; 16 bits are scaled to 8;
    ICC profiles are not applied. ``crop`` is in pixels of the upright picture and is cut to its edges.
    Safe in threads: no state of Pillow is changed. A process that sets Pillow's LOAD_TRUNCATED_IMAGES
    gets truncated pictures too.

    Raises MediaError with stage ``"decode"``: not a picture, a format that is not decoded, damaged, more
    than ``max_pixels`` or 25 million for a WEBP or AVIF (known from the header, before anything is decoded), made to
    cost its reader time or memory (bombs.py), a crop outside the picture.
    """
    return _cropped(_to_rgb(open_picture(data, max_pixels), max_pixels), crop)


def load_image(
    reference: str | bytes | os.PathLike[str] | Image,
    *,
    reader: MediaReader | None = None,
    base: Path | None = None,
    crop: Crop | None = None,
) -> Image:
    """A query picture as an upright RGB image: a path, URL, data URI, encoded bytes or a Pillow image.

    ``reader`` brings the limits; without one, MediaPolicy's defaults hold and any local path may be read.
    Raises MediaError with stage ``"fetch"`` or ``"decode"``.
    """
    from PIL import Image as pillow

    if isinstance(reference, pillow.Image):
        max_pixels = reader.policy.max_pixels if reader else DEFAULT_MAX_PIXELS
        return _cropped(_to_rgb(reference, max_pixels), crop)
    if reader is None:
        with MediaReader() as own:
            return load_image(reference, reader=own, base=base, crop=crop)
    return decode_image(reader.read(reference, base=base), max_pixels=reader.policy.max_pixels, crop=crop)


def open_picture(data: bytes, max_pixels: int) -> ImageFile:
    """The picture behind its header, with nothing decoded. Raises MediaError where it is none or too large."""
    kind = sniff(data)
    if kind is None:
        raise MediaError(f"not a picture; expected {_DECODED}")
    if not kind.format:
        raise MediaError(f"this is {kind.name}; expected {_DECODED}")
    check_structure(data, kind.format)
    image = _open(data, kind.format)
    check_size(image, min(max_pixels, _FEWER_PIXELS.get(kind.format, max_pixels)))
    if kind.format == "JPEG":
        check_scans(data, *image.size)
    return image


def _open(data: bytes, format: str) -> ImageFile:
    """Pillow's reader of one format, called directly: ``Image.open`` would warn or fail at limits of the process."""
    from PIL import Image as pillow

    import_module(f"PIL.{_PLUGINS[format]}")
    if not _is_built_in(format):
        raise MediaError(f"this Pillow cannot decode {format}")
    try:
        return pillow.OPEN[format][0](BytesIO(data), b"")
    except MemoryError:
        raise
    except Exception as error:  # a damaged header makes the readers raise almost anything
        raise _damaged(format, error) from error


def _is_built_in(format: str) -> bool:
    from PIL import features

    return format not in ("WEBP", "AVIF") or bool(features.check(format.lower()))


def check_size(image: Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise MediaError(f"{width} x {height} pixels, more than {max_pixels}")


def _to_rgb(image: Image, max_pixels: int) -> Image:
    check_size(image, max_pixels)
    with decoding(image):
        image.load()
        rgb = flattened(_upright(image))
    rgb.info.clear()  # else its EXIF would turn it again the next time
    return rgb


@contextmanager
def decoding(image: Image) -> Iterator[None]:
    """Whatever a decoder of Pillow raises inside becomes a MediaError."""
    try:
        yield
    except (MemoryError, MediaError):
        raise
    except Exception as error:  # a damaged body makes the decoders raise almost anything
        raise _damaged(image.format or "picture", error) from error


def _damaged(format: str, error: Exception) -> MediaError:
    detail = " ".join(str(error).split())
    return MediaError(f"the {format} is damaged or cut off" + (f" ({detail})" if detail else ""))


def _upright(image: Image) -> Image:
    """The picture as its camera was held. After load(): a TIFF is turned there, a PNG has its EXIF at the end."""
    turn = _turns().get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image) -> int:
    """How EXIF says that the picture is turned: 1 (upright) to 8."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF that cannot be parsed says nothing about the rotation; the pixels are fine
        return 1
    return value if isinstance(value, int) else 1


def _turns() -> dict[int, Transpose]:
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def flattened(image: Image) -> Image:
    """RGB pixels, always in a new image: 16 bits are scaled to 8, transparent pixels become white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_sixteen_bits(image)
    if image.mode in ("F", "LAB", "HSV"):
        raise MediaError(f"pixels of the kind {image.mode} are not supported; save it as 8-bit RGB")
    if image.has_transparency_data:
        return _on_white(image)
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image) -> Image:
    """Transparent pixels keep whatever colour the editor left in them; a shop's page shows white there."""
    from PIL import Image as pillow

    if image.mode == "La":
        image = image.convert("LA")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    page = pillow.new("RGB", layer.size, "white")
    page.paste(layer, mask=layer)
    return page


def _from_sixteen_bits(image: Image) -> Image:
    """Grey of 16 bits, scaled to 8 with rounding; Pillow's own conversion cuts everything above 255."""
    import numpy as np
    from PIL import Image as pillow

    values = np.asarray(image)  # (height, width)
    if values.min() < 0 or values.max() > _SIXTEEN_BITS:
        raise MediaError("grey of more than 16 bits is not supported; save it as 8 or 16 bits")
    scaled = values.astype(np.uint32) * 255 + _SIXTEEN_BITS // 2
    grey = (scaled // _SIXTEEN_BITS).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return pillow.fromarray(grey).convert("RGB")


def _cropped(image: Image, crop: Crop | None) -> Image:
    return image if crop is None else image.crop(crop_box(crop, image.width, image.height))


def crop_box(crop: Crop, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part that lies inside. Raises MediaError where nothing does."""
    left, top = max(crop.x, 0), max(crop.y, 0)
    right, bottom = min(crop.x + crop.width, width), min(crop.y + crop.height, height)
    if crop.width < 1 or crop.height < 1:
        raise MediaError(f"the crop is empty: {crop.width} x {crop.height}")
    if left >= right or top >= bottom:
        raise MediaError(
            f"the crop {crop.x},{crop.y},{crop.width},{crop.height} lies outside the picture, "
            f"which has {width} x {height} pixels"
        )
    return left, top, right, bottom
