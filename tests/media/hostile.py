"""Pictures made to cost memory or time, or to be two things at once: each small to send."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from .web import encoded

NOISE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8))
LIMIT = 8_000  # squared, the largest picture that is decoded
BUILDERS: dict[str, Callable[[], bytes]] = {}


def build(builder: Callable[[], bytes]) -> Callable[[], bytes]:
    BUILDERS[builder.__name__] = builder
    return builder


# PNG ---------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def zeros(count: int) -> bytes:
    """A zlib stream of so many zero bytes, made without compressing them all."""
    block, tail = divmod(count, 1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(bytes(tail)) + packer.flush(zlib.Z_FINISH)
    return b"\x78\x9c" + once * block + end + struct.pack(">HH", count % 65521, 1)


def png(
    width: int,
    height: int,
    *,
    bits: int = 1,
    colour: int = 0,
    interlace: int = 0,
    extra: bytes = b"",
    body: bytes | None = None,
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    if body is None:
        depth = bits * {0: 1, 2: 3, 6: 4}[colour]
        body = zeros((1 + (width * depth + 7) // 8) * height + (100_000 if interlace else 0))
    end = chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + end


@build
def png_of_196_megapixels() -> bytes:
    return png(14_000, 14_000)


@build
def png_at_the_limit() -> bytes:
    return png(LIMIT, LIMIT)


@build
def png_at_the_limit_interlaced() -> bytes:
    return png(LIMIT, LIMIT, interlace=1)


@build
def png_of_36_megapixels_with_16_bits_and_alpha() -> bytes:
    return png(6_000, 6_000, bits=16, colour=6)


@build
def png_header_of_the_largest_number() -> bytes:
    return png(2**31 - 1, 2**31 - 1, body=zeros(10))


@build
def png_of_no_width() -> bytes:
    return png(0, 10, body=zeros(10))


@build
def png_line_of_64_megapixels() -> bytes:
    return png(LIMIT * LIMIT, 1)


@build
def png_profile_that_unpacks_to_a_gigabyte() -> bytes:
    return png(8, 8, extra=chunk(b"iCCP", b"icc\0\0" + zeros(1 << 30)))


@build
def png_text_that_unpacks_to_a_gigabyte() -> bytes:
    return png(8, 8, extra=chunk(b"zTXt", b"Comment\0\0" + zeros(1 << 30)))


@build
def png_international_text_that_unpacks_to_a_gigabyte() -> bytes:
    return png(8, 8, extra=chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(1 << 30)))


@build
def png_thousand_texts() -> bytes:
    return png(8, 8, extra=chunk(b"zTXt", b"Comment\0\0" + zeros(1_000_000)) * 1000)


@build
def png_million_chunks() -> bytes:
    return png(8, 8, extra=chunk(b"prVt", b"") * 1_000_000)


@build
def png_million_empty_bodies() -> bytes:
    return png(8, 8, extra=chunk(b"IDAT", b"") * 1_000_000)


@build
def png_wrong_checksum() -> bytes:
    data = bytearray(png(8, 8))
    data[30] ^= 1
    return bytes(data)


@build
def png_million_frames() -> bytes:
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0))
    return png(8, 8, extra=chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + frame)


# GIF ---------------------------------------------------------------------------------------------------------


def gif(width: int, height: int, *, frame: tuple[int, int], before: bytes = b"", count: int = 1) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\xff\0\0\0\0\xff"
    image = b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\2\2\x44\1\0"
    return screen + before + image * count + b";"


@build
def gif_canvas_of_65535_pixels() -> bytes:
    return gif(65_535, 65_535, frame=(1, 1))


@build
def gif_thousands_of_frames_on_a_huge_canvas() -> bytes:
    return gif(LIMIT, LIMIT, frame=(1, 1), count=500_000)


@build
def gif_frame_that_leaves_the_canvas() -> bytes:
    return gif(1, 1, frame=(65_535, 65_535))


@build
def gif_of_16_megabytes_of_comments() -> bytes:
    return gif(1, 1, frame=(1, 1), before=b"!\xfe" + b"\1x" * (8 << 20) + b"\0")


@build
def gif_of_16_megabytes_of_junk() -> bytes:
    return gif(1, 1, frame=(1, 1), before=b"\1" * (16 << 20))


@build
def gif_million_empty_extensions() -> bytes:
    return gif(1, 1, frame=(1, 1), before=b"!\xfe\0" * 5_000_000)


@build
def gif_million_extensions() -> bytes:
    return gif(1, 1, frame=(1, 1), before=b"!\xfe\1x\0" * 3_000_000)


# WEBP and AVIF -----------------------------------------------------------------------------------------------


@build
def webp_at_the_limit() -> bytes:
    return encoded(Image.new("RGB", (LIMIT, LIMIT), "tan"), "WEBP", lossless=True, method=0, quality=0)


@build
def webp_canvas_of_16383_pixels() -> bytes:
    side = (16_383 - 1).to_bytes(3, "little")
    small = encoded(NOISE, "WEBP")[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + side + side + small
    return b"RIFF" + struct.pack("<I", len(body)) + body


@build
def webp_animation_of_many_frames() -> bytes:
    frames = [Image.new("RGB", (1000, 1000), (shade, 0, 0)) for shade in range(60)]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], method=0)


@build
def webp_cut_off() -> bytes:
    return encoded(NOISE, "WEBP")[:-30]


@build
def avif_whose_sizes_are_wrong() -> bytes:
    data = encoded(NOISE, "AVIF")
    at = data.find(b"ispe")
    return data[: at + 8] + struct.pack(">II", 60_000, 60_000) + data[at + 16 :]


# Two things at once ------------------------------------------------------------------------------------------


@build
def html_page_called_a_jpeg() -> bytes:
    return b"\xff\xd8\xff<html><script>alert(1)</script></html>"


@build
def zip_behind_a_png() -> bytes:
    return png(8, 8) + b"PK\3\4" + bytes(1000)


@build
def script_that_is_a_gif() -> bytes:
    return b"GIF89a=1;/*" + bytes(20) + b"*/alert(1)"


@build
def postscript_behind_a_bitmap() -> bytes:
    return b"BM%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\nshowpage" + bytes(100)


@build
def icon_of_a_picture() -> bytes:
    return b"\0\0\1\0\1\0\0\0\0\0\1\0 \0" + struct.pack("<II", 1_000, 22) + png(256, 256)
