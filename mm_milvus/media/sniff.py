"""What a file really is, from its first bytes; declared types and file names are often wrong."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Kind", "sniff"]


class Kind(NamedTuple):
    """``name`` reads well after "this is"; ``format`` is Pillow's name where we decode it, else ""."""

    name: str
    format: str = ""
    picture: bool = True  # a picture of some kind, decodable or not


_PICTURES: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", Kind("a JPEG", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", Kind("a PNG", "PNG")),
    (b"GIF87a", Kind("a GIF", "GIF")),
    (b"GIF89a", Kind("a GIF", "GIF")),
    (b"BM", Kind("a BMP", "BMP")),
    (b"II*\0", Kind("a TIFF", "TIFF")),
    (b"MM\0*", Kind("a TIFF", "TIFF")),
    (b"II+\0", Kind("a TIFF", "TIFF")),
    (b"MM\0+", Kind("a TIFF", "TIFF")),
    (b"8BPS", Kind("a Photoshop file")),
    (b"%!PS", Kind("a PostScript file")),
    (b"\xc5\xd0\xd3\xc6", Kind("a PostScript file")),
    (b"\0\0\1\0", Kind("an icon file")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Kind("a JPEG 2000 picture")),
    (b"\xff\x4f\xff\x51", Kind("a JPEG 2000 picture")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Kind("a JPEG XL picture")),
    (b"\xff\x0a", Kind("a JPEG XL picture")),
    (b"%PDF", Kind("a PDF document", picture=False)),
    (b"PK\3\4", Kind("a ZIP archive", picture=False)),
    (b"\x1f\x8b", Kind("a gzip archive", picture=False)),
    (b"\x1aE\xdf\xa3", Kind("a video", picture=False)),
    (b"version https://git-lfs", Kind("a Git LFS pointer instead of the file", picture=False)),
)
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_ROOT = re.compile(
    rb"(?P<svg><svg[\s>:]|<!doctype svg)"
    rb"|(?P<html><!doctype html|<(html|head|body|title|meta|script|div|p|h1)[\s>])",
    re.IGNORECASE,
)


def sniff(data: bytes) -> Kind | None:
    """The kind of file that ``data`` begins, None where nothing is recognised."""
    if not data:
        return Kind("an empty file", picture=False)
    for magic, kind in _PICTURES:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF":
        return Kind("a WEBP", "WEBP") if data[8:12] == b"WEBP" else Kind("a sound or video", picture=False)
    if data[4:8] == b"ftyp":
        return _iso_media(data)
    return _text(data[:2048])


def _iso_media(data: bytes) -> Kind:
    """AVIF, HEIC and MP4 share one container; the brands tell them apart."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return Kind("an AVIF", "AVIF")
    return Kind("a HEIC picture") if brands & _HEIF_BRANDS else Kind("a video", picture=False)


def _text(start: bytes) -> Kind | None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if kind := _markup(text):
        return kind
    printable = not any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in start)
    return Kind("a text", picture=False) if printable and _is_utf8(start) else None


def _markup(text: bytes) -> Kind | None:
    if text[:1] in (b"{", b"["):
        return Kind("a JSON document", picture=False)
    if text[:1] != b"<":
        return None
    root = _ROOT.search(text)  # whichever comes first: pages contain drawings
    if root is None:
        return Kind("an XML document", picture=False)
    return Kind("an SVG drawing") if root["svg"] else Kind("an HTML page", picture=False)


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4  # a character cut at the end of the sample
    return True
