"""JPEGs of the same kind."""

from __future__ import annotations

import struct

from PIL import Image

from .hostile import LIMIT, NOISE, build
from .hostile_tiff import directory
from .web import encoded


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 255, marker, len(body) + 2) + body


def with_size(jpeg: bytes, width: int, height: int, marker: int | None = None) -> bytes:
    """Another size in the header of a JPEG, and another kind of coding."""
    at = max(jpeg.find(b"\xff\xc0\0"), jpeg.find(b"\xff\xc2\0"))
    kind = jpeg[at + 1] if marker is None else marker
    return (
        jpeg[: at + 1]
        + bytes([kind])
        + jpeg[at + 2 : at + 5]
        + struct.pack(">HH", height, width)
        + jpeg[at + 9 :]
    )


def jpeg(**options: object) -> bytes:
    return encoded(NOISE, "JPEG", **options)


def in_front(data: bytes, part: bytes) -> bytes:
    return data[:2] + part + data[2:]


@build
def jpeg_header_of_65500_pixels() -> bytes:
    return with_size(jpeg(), 65_500, 65_500)


@build
def jpeg_of_no_height() -> bytes:
    return with_size(jpeg(), 64, 0)


def flat(progressive: bool, subsampling: int = 0) -> bytes:
    return encoded(
        Image.new("RGB", (LIMIT, LIMIT), "tan"), "JPEG", progressive=progressive, subsampling=subsampling
    )


@build
def jpeg_progressive_at_the_limit() -> bytes:
    return flat(progressive=True)


def scans(side: int, count: int) -> bytes:
    """A grey progressive picture whose last scan, of one end-of-band run per 32,767 blocks, comes again and again."""
    data = encoded(Image.new("L", (side, side), 99), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


@build
def jpeg_of_5000_scans() -> bytes:
    return scans(2_000, 5_000)


@build
def jpeg_of_scans_behind_a_mark_without_length() -> bytes:
    """Read as one with a length, it would hide 65,498 bytes."""
    data = scans(2_000, 5_000)
    second = data.find(b"\xff\xda", data.find(b"\xff\xda") + 2)
    return data[:second] + b"\xff\x01" + data[second : second + 60_000] + data[-2:]


@build
def jpeg_of_400_scans_at_the_limit() -> bytes:
    return scans(LIMIT, 400)


@build
def jpeg_cut_off_in_a_huge_picture() -> bytes:
    return with_size(jpeg(), LIMIT, LIMIT)


@build
def jpeg_of_16_megabytes_of_padding() -> bytes:
    return in_front(jpeg(), b"\xff" * (16 << 20))


@build
def jpeg_of_16_megabytes_of_junk() -> bytes:
    return in_front(jpeg(), b"\xff\xfe\0\2" + b"j" * (16 << 20))


@build
def jpeg_million_segments() -> bytes:
    return in_front(jpeg(), segment(0xEA, b"") * 1_000_000)


@build
def jpeg_of_extensions_that_hide_padding() -> bytes:
    return in_front(jpeg(), (b"\xff\xf0\xfe\xff" + b"\xff" * (0xFEFF - 2)) * 250)


@build
def jpeg_exif_that_repeats_itself() -> bytes:
    exif = directory(5_000, 60_000)
    return in_front(
        jpeg(), segment(0xE1, b"Exif\0\0" + exif) + segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 200
    )


@build
def jpeg_profile_of_garbage() -> bytes:
    return jpeg(icc_profile=b"garbage" * 100_000)


@build
def jpeg_of_12_bits() -> bytes:
    data = jpeg()
    at = data.find(b"\xff\xc0\0")
    return data[: at + 4] + b"\x0c" + data[at + 5 :]


@build
def jpeg_lossless() -> bytes:
    return with_size(jpeg(), LIMIT, LIMIT, marker=0xC3)


@build
def jpeg_arithmetic_at_the_limit() -> bytes:
    return with_size(jpeg(), LIMIT, LIMIT, marker=0xC9)


@build
def jpeg_directory_of_pictures_that_are_not_there() -> bytes:
    index = b"MPF\0II*\0" + struct.pack("<IH", 8, 3)
    for tag, kind, count, value in (
        (0xB000, 7, 4, 0x30303130),
        (0xB001, 4, 1, 2**31),
        (0xB002, 7, 2**31, 50),
    ):
        index += struct.pack("<HHII", tag, kind, count, value)
    return in_front(jpeg(), segment(0xE2, index + bytes(100)))
