"""Pictures whose structure alone costs seconds or gigabytes, known before a decoder sees them.

The number of pixels is checked elsewhere. Here are the parts that decoders walk one by one, or over and over:
no camera or editor writes nearly as many, and a file of a few megabytes can hold millions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from struct import Struct
from typing import Final

from mm_milvus.errors import MediaError

__all__ = ["check_scans", "check_structure"]

_MAX_PARTS: Final = 1 << 16  # chunks of a PNG, blocks in front of the pixels of a GIF, tags of a TIFF
_MAX_SEGMENTS: Final = 2_000  # of a JPEG in front of its pixels; a profile or XMP needs one per 64 KB
_MAX_EXIF: Final = 64  # segments of a JPEG with EXIF: they are joined
_MAX_JUNK: Final = 1 << 16  # bytes between the segments of a JPEG
_MAX_SCANS: Final = 100  # of a progressive JPEG; cameras, shops and optimisers write about 10
_MAX_SCANNED: Final = 1_000_000_000  # scans x pixels
_MAX_STRIPS: Final = 1 << 18  # of a TIFF: 64 megapixels in tiles of 16 x 16
_MAX_STRIP: Final = 1 << 27  # numbers in one strip or tile: it is unpacked at once, beside the picture
_MAX_RUNS: Final = 1 << 22  # bytes of a BMP of runs, which Pillow decodes in Python

# Tags of a TIFF: width, height, samples of a pixel, rows of a strip, width and height of a tile.
_SIZES: Final = (256, 257, 277, 278, 322, 323)

_JUNK = re.compile(rb"[^\xff]*\xff+")
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # in coded pixels 0xff is followed by 0 or a restart
_SOS, _EOI, _EXIF = 0xDA, 0xD9, 0xE1
_BARE = frozenset({0x00, 0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})  # no length follows


def check_structure(data: bytes, format: str) -> None:
    """Refuses what would be slow to open. A file that ends too early passes: its decoder says so.

    Raises MediaError with stage ``"decode"``.
    """
    if check := _CHECKS.get(format):
        check(data)


def check_scans(data: bytes, width: int, height: int) -> None:
    """Refuses a JPEG whose pixels are gone through too many times. Raises MediaError with stage ``"decode"``."""
    allowed = min(_MAX_SCANNED // max(width * height, 1), _MAX_SCANS)
    if data.count(b"\xff\xda") <= allowed:  # may find too many: a thumbnail's, or what looks like one
        return
    scans = sum(1 for _ in islice(_scans(data), allowed + 1))
    if scans > allowed:
        raise MediaError(f"the JPEG has more than {allowed} scans of {width} x {height} pixels")


def _jpeg(data: bytes) -> None:
    junk = exif = 0
    for number, (skipped, start, marker) in enumerate(_segments(data)):
        junk += skipped
        exif += marker == _EXIF and data[start + 2 : start + 8] == b"Exif\0\0"
        if marker == _SOS:
            return
        if number >= _MAX_SEGMENTS or exif > _MAX_EXIF or junk > _MAX_JUNK:
            raise MediaError("the JPEG has too much in front of its pixels")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(bytes of junk before it, where its length stands, marker) of each segment, up to the end of the first scan's."""
    position = 2
    while found := _JUNK.match(data, position):
        start = found.end() + 1
        marker = data[start - 1] if start <= len(data) else 0
        yield found.end() - position - 1, start, marker
        position = start + _length(data, start, marker)


def _scans(data: bytes) -> Iterator[int]:
    """Where each scan begins."""
    position = 2
    while found := _MARKER.search(data, position):
        marker, start = found[1][0], found.end()
        if marker == _EOI:
            return
        if marker == _SOS:
            yield start
        position = start + _length(data, start, marker)


def _length(data: bytes, start: int, marker: int) -> int:
    return 0 if marker in _BARE else int.from_bytes(data[start : start + 2], "big")


def _png(data: bytes) -> None:
    position = 8
    for _ in range(_MAX_PARTS):
        if position >= len(data):
            return
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    raise MediaError(f"the PNG has more than {_MAX_PARTS} chunks")


def _gif(data: bytes) -> None:
    """Screen, palette, then extensions ("!", label, blocks that each begin with their length, 0)."""
    position, blocks = 13, 0
    if len(data) > position and data[10] & 0x80:
        position += 3 << ((data[10] & 7) + 1)
    while position < len(data) and data[position] not in b",;":
        if data[position] == ord("!"):
            position += 2
            while position < len(data) and (length := data[position]) and blocks <= _MAX_PARTS:
                position, blocks = position + length + 1, blocks + 1
        position, blocks = position + 1, blocks + 1  # junk is read byte by byte
        if blocks > _MAX_PARTS:
            raise MediaError(f"the GIF has more than {_MAX_PARTS} blocks in front of its pixels")


def _bmp(data: bytes) -> None:
    if data[30:34] in (b"\1\0\0\0", b"\2\0\0\0") and len(data) > _MAX_RUNS:
        raise MediaError(f"the BMP has more than {_MAX_RUNS} bytes of runs; save it as a PNG")


def _tiff(data: bytes) -> None:
    """The first directory; Pillow bounds the bytes behind its tags, not their number."""
    order = "<" if data[:1] == b"I" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    (offset,) = _unpack(order + ("Q" if is_big else "L"), data, 8 if is_big else 4)
    (count,) = _unpack(order + ("Q" if is_big else "H"), data, offset)
    if count > _MAX_PARTS:
        raise MediaError(f"the TIFF has more than {_MAX_PARTS} tags")
    entry = Struct(order + ("HHQQ" if is_big else "HHLL"))
    start = offset + (8 if is_big else 2)
    body = data[start : start + count * entry.size]
    sizes = dict.fromkeys(_SIZES, 0)
    for tag, kind, values, value in entry.iter_unpack(body[: len(body) // entry.size * entry.size]):
        if kind not in (1, 2, 6, 7) and values > _MAX_STRIPS:  # not text nor bytes
            raise MediaError(f"the TIFF has a list of more than {_MAX_STRIPS} numbers")
        if tag in sizes:
            sizes[tag] = max(sizes[tag], _short(value, order, is_big) if kind == 3 else value)
    width, height, samples, rows, tile_width, tile_height = sizes.values()
    strip = width * min(rows or height, height)
    if max(strip, tile_width * tile_height) * max(samples, 1) > _MAX_STRIP:
        raise MediaError(
            f"the TIFF has strips or tiles of more than {_MAX_STRIP} numbers; save it with smaller ones"
        )


def _short(value: int, order: str, is_big: bool) -> int:
    """A number of 16 bits stands in the first two of its 4 or 8 bytes."""
    return value & 0xFFFF if order == "<" else value >> (48 if is_big else 16)


def _unpack(format: str, data: bytes, offset: int) -> tuple[int, ...]:
    """Numbers at a place; zeros where the file has ended."""
    shape = Struct(format)
    return shape.unpack(data[offset : offset + shape.size].ljust(shape.size, b"\0"))


_CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
}
