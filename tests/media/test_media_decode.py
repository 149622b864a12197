"""Pictures of every kind become the right pixels, and everything else a reason."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from mm_milvus.errors import MediaError
from mm_milvus.media import MediaPolicy, MediaReader, decode_image, decode_pixels, load_image
from mm_milvus.records import Crop

from .hostile import chunk, png
from .web import encoded

# 2 x 3: every pixel has its own colour.
COLOURS = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)], [(0, 255, 255), (90, 60, 30)]]
SMALL = Image.fromarray(np.array(COLOURS, np.uint8))


def pixels(image: Image.Image) -> list[list[tuple[int, ...]]]:
    assert image.mode == "RGB"
    return [[tuple(pixel) for pixel in row] for row in np.asarray(image).tolist()]


def decoded(data: bytes, **options: Any) -> Image.Image:
    """What decode_image makes of it, which is what decode_pixels makes of it."""
    image = decode_image(data, **options)
    assert np.array_equal(np.asarray(image), decode_pixels(data, **options))
    return image


def refusal(data: bytes, **options: Any) -> str:
    reasons = []
    for decode in (decode_image, decode_pixels):
        with pytest.raises(MediaError) as caught:
            decode(data, **options)
        assert caught.value.stage == "decode"
        assert str(caught.value).isprintable()
        reasons.append(str(caught.value))
    assert reasons[0] == reasons[1]
    return reasons[0]


@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True}),
     ("GIF", {})],
)  # fmt: skip
def test_lossless_formats_keep_every_pixel(format: str, options: dict[str, object]) -> None:
    assert pixels(decoded(encoded(SMALL, format, **options))) == COLOURS


@pytest.mark.parametrize("format", ["JPEG", "AVIF", "WEBP", "MPO"])
def test_lossy_formats_come_close(format: str) -> None:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    sky = Image.linear_gradient("L").convert("RGB")
    image = decoded(encoded(sky, format, quality=95))
    assert image.size == (256, 256)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(sky)).mean() < 2


@pytest.mark.parametrize(
    ("mode", "fill", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 255), (77, 77, 77)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 51), (204, 204, 204)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBA", (200, 10, 20, 255), (200, 10, 20)),
        ("RGBA", (200, 10, 20, 0), (255, 255, 255)),  # the hidden colour does not show
        ("RGBA", (0, 100, 200, 51), (204, 224, 244)),
        ("I;16", 0, (0, 0, 0)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 32768, (128, 128, 128)),
        ("I;16", 1000, (4, 4, 4)),  # Pillow's own conversion makes this 255
    ],
)
def test_modes_as_png(mode: str, fill: object, expected: tuple[int, int, int]) -> None:
    picture = Image.new(mode, (1, 1), fill)  # type: ignore[arg-type]
    assert pixels(decoded(encoded(picture, "PNG"))) == [[expected]]
    assert pixels(load_image(picture)) == [[expected]]


@pytest.mark.parametrize(
    ("mode", "fill", "expected"),
    [
        ("CMYK", (0, 0, 0, 0), (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
        ("I;16", 51400, (200, 200, 200)),
        ("I;16B", 51400, (200, 200, 200)),
        ("I", 51400, (200, 200, 200)),
        ("RGBA", (200, 10, 20, 0), (255, 255, 255)),
    ],
)
def test_modes_as_tiff(mode: str, fill: object, expected: tuple[int, int, int]) -> None:
    picture = Image.new(mode, (2, 1), fill)  # type: ignore[arg-type]
    assert pixels(decoded(encoded(picture, "TIFF"))) == [[expected, expected]]


def test_cmyk_jpeg() -> None:
    red = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    assert np.abs(np.asarray(decoded(red)).astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP"])
def test_transparent_palettes_show_white(format: str) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([250, 0, 0, 0, 0, 250])
    picture.putpixel((1, 0), 1)
    options = {"lossless": True} if format == "WEBP" else {"transparency": 0}
    source = picture if format != "WEBP" else Image.new("RGBA", (2, 1), (0, 0, 250, 255))
    if format == "WEBP":
        source.putpixel((0, 0), (250, 0, 0, 0))
    assert pixels(decoded(encoded(source, format, **options))) == [[(255, 255, 255), (0, 0, 250)]]


def test_transparent_colours_of_a_png_show_white() -> None:
    """tRNS of pictures without a palette: 8-bit grey, RGB and 16-bit grey."""
    grey = Image.fromarray(np.array([[7, 8]], np.uint8))
    assert pixels(decoded(encoded(grey, "PNG", transparency=7))) == [[(255, 255, 255), (8, 8, 8)]]
    colour = encoded(SMALL, "PNG", transparency=(0, 255, 0))
    assert pixels(decoded(colour))[0] == [(255, 0, 0), (255, 255, 255)]
    deep = Image.fromarray(np.array([[0, 51400]], np.uint16))
    deep_png = encoded(deep, "PNG")
    end_of_header = 8 + 25
    deep_png = deep_png[:end_of_header] + chunk(b"tRNS", struct.pack(">H", 0)) + deep_png[end_of_header:]
    assert pixels(decoded(deep_png)) == [[(255, 255, 255), (200, 200, 200)]]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert pixels(decoded(data)) == [[(255, 0, 0)] * 4] * 4


TURNED = {
    1: COLOURS,
    2: [row[::-1] for row in COLOURS],
    3: [row[::-1] for row in COLOURS[::-1]],
    4: COLOURS[::-1],
    5: [list(column) for column in zip(*COLOURS, strict=True)],
    6: [list(column)[::-1] for column in zip(*COLOURS, strict=True)],
    7: [list(column)[::-1] for column in zip(*COLOURS, strict=True)][::-1],
    8: [list(column) for column in zip(*COLOURS, strict=True)][::-1],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_exif_rotation(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    image = decoded(encoded(SMALL, format, exif=exif, **options))
    assert pixels(image) == TURNED[orientation]
    assert pixels(load_image(image)) == TURNED[orientation]  # it is not turned twice


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_rotation_of_a_jpeg_and_exif_that_is_broken() -> None:
    halves = Image.new("RGB", (32, 16), "black")
    halves.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the left edge of the sensor is the top of the picture
    turned = np.asarray(decoded(encoded(halves, "JPEG", exif=exif, quality=95)))
    assert turned.shape == (32, 16, 3)
    assert turned[:14].min() > 240
    assert turned[18:].max() < 15
    broken = encoded(halves, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 20)
    assert decoded(broken).size == (32, 16)


def test_crops() -> None:
    data = encoded(SMALL, "PNG")
    assert pixels(decoded(data, crop=Crop(1, 1, 1, 2))) == [[COLOURS[1][1]], [COLOURS[2][1]]]
    assert pixels(decoded(data, crop=Crop(-5, 2, 100, 100))) == [COLOURS[2]]
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pixels(decoded(encoded(SMALL, "PNG", exif=exif), crop=Crop(2, 0, 1, 1))) == [[COLOURS[0][0]]]
    assert refusal(data, crop=Crop(2, 0, 1, 1)) == (
        "the crop 2,0,1,1 lies outside the picture, which has 2 x 3 pixels"
    )
    assert "outside the picture" in refusal(data, crop=Crop(-4, 0, 4, 1))
    assert refusal(data, crop=Crop(0, 0, 0, 1)) == "the crop is empty: 0 x 1"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "an empty file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\xef\xbb\xbf <?xml version='1.0'?>\n<!-- drawn -->\n<svg width='1'></svg>", "an SVG drawing"),
        (b"\n<!DOCTYPE html>\n<html></html>", "an HTML page"),
        (b"<html><body><svg></svg></body></html>", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (b'{"error": 1}', "a JSON document"),
        ("nicht gefunden: Größe".encode(), "a text"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer instead of the file",
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "a video"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript file"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"PK\3\4rest", "a ZIP archive"),
        (b"RIFF\0\0\0\0AVI LIST", "a sound or video"),
        (b"\0\0\1\0\1\0", "an icon file"),
    ],
)
def test_what_is_not_decoded_is_named(data: bytes, name: str) -> None:
    assert refusal(data) == f"this is {name}; expected JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF"


def test_what_is_not_recognised() -> None:
    assert refusal(b"\0\1\2\3" * 9) == "not a picture; expected JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF"
    assert refusal(encoded(SMALL, "PPM")) == "not a picture; expected JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF"


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_kinds_of_pixels_without_a_meaning_for_us(mode: str) -> None:
    assert refusal(encoded(Image.new(mode, (2, 2)), "TIFF")) == (
        f"pixels of the kind {mode} are not supported; save it as 8-bit RGB"
    )


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("GIF", {}), ("BMP", {}),
     ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("AVIF", {})],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF")
def test_a_picture_that_is_cut_off_is_refused(format: str, options: dict[str, object]) -> None:
    """At any place; only padding and end marks behind the last pixel may be missing."""
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    drawing = Image.effect_mandelbrot((331, 197), (-2, -1.5, 1, 1.5), 100).convert("RGB")
    data = encoded(drawing, format, **options)
    whole = decoded(data).tobytes()
    for cut in [*range(20, len(data) - 20, len(data) // 25), len(data) // 2]:
        assert f"the {format} is damaged or cut off" in refusal(data[:cut])
    for missing in range(1, 20):
        with contextlib.suppress(MediaError):
            assert decoded(data[:-missing]).tobytes() == whole


@pytest.mark.parametrize("side", [8_001, 10_000, 14_000])
def test_bombs_are_refused_by_their_header(side: int) -> None:
    """Beyond our limit, Pillow's warning and Pillow's error: always the same answer, and no warning."""
    bomb = png(side, side)
    assert len(bomb) < 30_000
    before = (Image.MAX_IMAGE_PIXELS, warnings.filters[:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refusal(bomb) == f"{side} x {side} pixels, more than 64000000"
    assert (Image.MAX_IMAGE_PIXELS, warnings.filters[:]) == before


def test_the_limit_itself_is_allowed_and_the_policy_sets_it() -> None:
    line = png(1000, 4)
    assert decoded(line, max_pixels=4000).size == (1000, 4)
    with (
        MediaReader(MediaPolicy(max_pixels=3999)) as reader,
        pytest.raises(MediaError, match="1000 x 4 pixels"),
    ):
        load_image(line, reader=reader)
    with MediaReader(MediaPolicy(max_pixels=5)) as reader, pytest.raises(MediaError, match="2 x 3 pixels"):
        load_image(SMALL, reader=reader)


@pytest.mark.filterwarnings("ignore")
def test_damage_never_raises_anything_else() -> None:
    random = np.random.default_rng(7)
    drawing = Image.effect_noise((64, 48), 50).convert("RGB")
    for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        data = encoded(drawing, format)
        for _ in range(60):
            damaged = bytearray(data)
            for place in random.integers(0, min(len(data), 400), 6):
                damaged[place] = random.integers(256)
            with contextlib.suppress(MediaError):
                assert decoded(bytes(damaged), max_pixels=10**6).mode == "RGB"


def test_load_image_takes_every_kind_of_reference(tmp_path: Path) -> None:
    data = encoded(SMALL, "PNG")
    (tmp_path / "small.png").write_bytes(data)
    for reference in ("small.png", tmp_path / "small.png", data, SMALL, Image.open(io.BytesIO(data))):
        assert pixels(load_image(reference, base=tmp_path, crop=Crop(0, 0, 2, 1))) == [COLOURS[0]]
    given = SMALL.copy()
    load_image(given).putpixel((0, 0), (9, 9, 9))
    assert pixels(given) == COLOURS  # the caller's picture is left alone


def _first(catalog: Path, wanted: Callable[[str], bool], count: int) -> list[Path]:
    names = [json.loads(line)["image"] for line in catalog.read_text(encoding="utf-8").splitlines()]
    return [catalog.parent / name for name in names if wanted(name)][:count]


def test_real_photos_in_threads(retail_catalog: Path, eshop_catalog: Path) -> None:
    jpegs = _first(retail_catalog, lambda name: name.endswith(".jpg"), 40)
    webps = _first(eshop_catalog, lambda name: name.endswith(".webp"), 20)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(load_image, jpegs + webps))
    assert {image.size for image in images[len(jpegs) :]} == {(600, 600)}
    for path, image in zip(jpegs + webps, images, strict=True):
        with Image.open(path) as source:
            assert np.array_equal(np.asarray(image), np.asarray(source.convert("RGB")))
