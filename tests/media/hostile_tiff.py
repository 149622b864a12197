"""TIFFs and BMPs of the same kind."""

from __future__ import annotations

import struct

from .hostile import LIMIT, build, zeros


def directory(count: int, size: int) -> bytes:
    """A TIFF directory of ``count`` tags that all claim the same ``size`` bytes."""
    entries = b"".join(struct.pack("<HHII", 1000 + tag, 7, size, 8) for tag in range(count))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", count) + entries + bytes(4)


def tiff(tags: list[tuple[int, int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory; ``tail`` begins at byte 2,000."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    start = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following)
    return start.ljust(2_000, b"\0") + tail


def grey(width: int, height: int, *more: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    given = {tag[0] for tag in more}
    usual = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
             (273, 4, 1, 2_000), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height)]  # fmt: skip
    return [tag for tag in usual if tag[0] not in given] + list(more)


@build
def tiff_directory_that_follows_itself() -> bytes:
    return tiff(grey(8, 8), bytes(64), following=8)


@build
def tiff_million_directories() -> bytes:
    count = 1_000_000
    at = 2_100
    chain = b"".join(struct.pack("<HI", 0, at + 6 * (n + 1) if n + 1 < count else 0) for n in range(count))
    return tiff(grey(8, 8), bytes(100) + chain, following=at)


@build
def tiff_tags_that_repeat_the_file() -> bytes:
    return directory(60_000, 700_000)


@build
def tiff_seven_million_strips() -> bytes:
    count = 7_000_000
    return tiff(grey(8, 8, (273, 4, count, 2_000), (279, 4, count, 2_000), (278, 4, 1, 1)), bytes(4 * count))


@build
def tiff_seven_million_tiles() -> bytes:
    count = 7_000_000
    tags = [(322, 4, 1, 1), (323, 4, 1, 1), (324, 4, count, 2_000), (325, 4, count, 2_000)]
    return tiff(grey(7_000, 1_000, *tags), bytes(4 * count))


@build
def tiff_fewer_strips_than_rows() -> bytes:
    return tiff(grey(8, 8, (278, 4, 1, 1)), bytes(64))


@build
def tiff_at_the_limit() -> bytes:
    packed = zeros(LIMIT * LIMIT)
    return tiff(grey(LIMIT, LIMIT, (259, 3, 1, 8), (279, 4, 1, len(packed))), packed)


@build
def tiff_colour_at_the_limit() -> bytes:
    packed = zeros(LIMIT * LIMIT * 4)
    tags = [
        (259, 3, 1, 8),
        (279, 4, 1, len(packed)),
        (277, 3, 1, 4),
        (258, 3, 4, 1_900),
        (262, 3, 1, 2),
        (338, 3, 1, 2),
    ]
    data = bytearray(tiff(grey(LIMIT, LIMIT, *tags), packed))
    data[1_900:1_908] = struct.pack("<4H", 8, 8, 8, 8)
    return bytes(data)


@build
def tiff_tile_of_a_gigabyte() -> bytes:
    tags = [(259, 3, 1, 8), (322, 4, 1, 32_768), (323, 4, 1, 32_768), (324, 4, 1, 2_000), (325, 4, 1, 5_000)]
    return tiff(grey(64, 64, *tags), zeros(1 << 30)[:200_000])


@build
def bigtiff_of_endless_tags() -> bytes:
    entry = struct.pack("<HHQQ", 0xFDE8, 3, 1, 1)
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60) + entry * 1_000_000


def bmp(width: int, height: int, compression: int, body: bytes, bits: int = 8) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 0, 0, 256, 0)
    start = 14 + 40 + 1_024
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + bytes(1_024) + body


@build
def bmp_of_two_billion_rows() -> bytes:
    return bmp(2**31 - 1, -(2**31) + 1, 0, b"")


@build
def bmp_at_the_limit_without_pixels() -> bytes:
    return bmp(LIMIT, LIMIT, 0, b"")


@build
def bmp_of_eight_million_runs() -> bytes:
    return bmp(LIMIT, 1_000, 1, b"\1\7" * 8_000_000 + b"\0\1")


@build
def bmp_that_jumps_to_the_end() -> bytes:
    return bmp(LIMIT, LIMIT, 1, b"\0\2\xff\xff" * 100_000 + b"\0\1")
