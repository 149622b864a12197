"""Arrays of pixels: the rules of decode_image to the last pixel, reduced where that is asked for, and in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mm_milvus.errors import MediaError
from mm_milvus.media import MediaPolicy, MediaReader, decode_image, decode_pixels, load_pixels, pixels
from mm_milvus.records import Crop

from .web import encoded

Pixels = NDArray[np.uint8]


@pytest.fixture(params=["simplejpeg", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each test with the fast decoder of JPEG, and as if it were not installed."""
    if request.param == "pillow":

        def missing(name: str, *args: Any, **options: Any) -> Any:
            if name == "simplejpeg":
                raise ImportError(name)
            return real(name, *args, **options)

        real = pixels.import_module
        monkeypatch.setattr(pixels, "import_module", missing)
    else:
        pytest.importorskip("simplejpeg")
    pixels._simplejpeg.cache_clear()
    yield request.param
    pixels._simplejpeg.cache_clear()


def photos(catalog: Path, count: int) -> list[bytes]:
    return [path.read_bytes() for path in sorted(catalog.parent.rglob("*.jpg"))[:count]]


def picture(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data)).convert("RGB")


def short_side(array: Pixels) -> int:
    return min(array.shape[:2])


def answer(decode: Callable[..., Any], data: bytes, **options: Any) -> Pixels | str:
    try:
        return np.asarray(decode(data, **options))
    except MediaError as error:
        return f"{error.stage}: {error}"


def assert_same(data: bytes, **options: Any) -> bool:
    """Both functions give the same pixels, or the same refusal; whether it was pixels."""
    ours, theirs = answer(decode_pixels, data, **options), answer(decode_image, data, **options)
    if isinstance(ours, str) or isinstance(theirs, str):
        assert isinstance(ours, str) and isinstance(theirs, str)
        assert ours == theirs and ours.startswith("decode: ")
        return False
    assert ours.dtype == np.uint8 and ours.flags.c_contiguous
    assert np.array_equal(ours, theirs)
    return True


FORMATS = {
    "1": "PNG TIFF GIF BMP JPEG",
    "L": "PNG TIFF GIF BMP JPEG WEBP",
    "LA": "PNG TIFF GIF WEBP",
    "P": "PNG TIFF GIF BMP WEBP",
    "RGB": "PNG TIFF GIF BMP JPEG WEBP",
    "RGBA": "PNG TIFF GIF WEBP",
    "I;16": "PNG TIFF",
    "CMYK": "TIFF JPEG",
    "YCbCr": "TIFF JPEG",
}


@pytest.mark.parametrize("mode", FORMATS)
@pytest.mark.parametrize("size", [(97, 61), (61, 97), (400, 3), (1, 1)])
def test_every_mode_and_format_gives_the_same_pixels(
    mode: str, size: tuple[int, int], decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the picture is converted in many small parts."""
    monkeypatch.setattr(pixels, "_PART", 700)
    random = np.random.default_rng(3)
    if mode == "I;16":
        source = Image.fromarray(random.integers(0, 65_536, size[::-1], np.uint16))
    else:
        noise = Image.fromarray(random.integers(0, 256, (size[1], size[0], 4), np.uint8))
        source = noise.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr") else noise.convert(mode)
    for format in FORMATS[mode].split():
        data = encoded(source, format)
        assert assert_same(data)
        if format != "JPEG":
            for smallest in (5, 13):
                reduced = decode_image(data).reduce(max(int(min(size) / (1.5 * smallest)), 1))
                assert np.array_equal(decode_pixels(data, smallest=smallest), np.asarray(reduced))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_and_crop(format: str, orientation: int, decoder: str, retail_catalog: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(photos(retail_catalog, 1)[0]).resize((64, 40)), format, exif=exif)
    upright = (40, 64, 3) if orientation < 5 else (64, 40, 3)
    assert decode_pixels(data).shape == upright
    assert assert_same(data)
    assert assert_same(data, crop=Crop(3, 5, 20, 10))
    assert not assert_same(data, crop=Crop(64, 64, 1, 1))
    assert decode_pixels(data, crop=Crop(0, 0, 30, 20), smallest=2).shape == (20, 30, 3)  # nothing is reduced
    small = decode_pixels(data, smallest=10)
    assert small.shape == (upright[0] // 2, upright[1] // 2, 3)
    whole = np.asarray(decode_image(data).reduce(2)).astype(int)
    assert np.abs(small - whole).mean() < 4  # the same way up


def test_orientation_that_only_xmp_tells(decoder: str) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(Image.new("RGB", (32, 16), "tan"), "JPEG", xmp=xmp)
    assert decode_pixels(data).shape == (32, 16, 3)
    assert assert_same(data)


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"keep_rgb": True}, {"quality": 20},
     {"restart_marker_rows": 1}, {"optimize": True, "quality": 100}],
)  # fmt: skip
def test_jpegs_decode_to_the_same_pixels(options: dict[str, Any], decoder: str, retail_catalog: Path) -> None:
    for photo in photos(retail_catalog, 3):
        assert assert_same(encoded(picture(photo), "JPEG", **options))
        assert assert_same(encoded(picture(photo).convert("L"), "JPEG", **options))


def test_real_photos(decoder: str, retail_catalog: Path, clothing_catalog: Path) -> None:
    for photo in photos(retail_catalog, 20) + photos(clothing_catalog, 40):
        assert assert_same(photo)


@pytest.mark.parametrize(
    "smallest", [1, 10, 64, 100, 133, 134, 200, 224, 266, 267, 384, 399, 400, 401, 10_000]
)
def test_the_short_side_stays_large_enough(smallest: int, decoder: str) -> None:
    """At least 1.5 times what was asked for, or all there is."""
    drawing = Image.effect_mandelbrot((601, 403), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    for format in ("JPEG", "PNG"):
        reduced = decode_pixels(encoded(drawing, format), smallest=smallest)
        assert short_side(reduced) >= min(403, 1.5 * smallest)
        assert reduced.shape[1] / reduced.shape[0] == pytest.approx(
            601 / 403, rel=0.2 if smallest < 10 else 0.02
        )
        if smallest <= 133:
            assert short_side(reduced) <= 202
        if smallest >= 267:
            assert reduced.shape == (403, 601, 3)


def test_both_decoders_reduce_a_jpeg_alike(retail_catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    for photo in photos(retail_catalog, 8):
        large = encoded(picture(photo).resize((1100, 900)), "JPEG", quality=90)
        fast = {smallest: decode_pixels(large, smallest=smallest) for smallest in (0, 224, 100, 60)}
        assert [short_side(array) for array in fast.values()] == [900, 450, 225, 113]
        with monkeypatch.context() as patch:
            patch.setattr(pixels, "_turbo", lambda *_: None)
            for smallest, array in fast.items():
                assert np.array_equal(decode_pixels(large, smallest=smallest), array)


def test_a_reduced_picture_looks_the_same_to_an_encoder(retail_catalog: Path) -> None:
    """Resized to 224, the mean difference is less than one of 255 steps: halved, and reduced by 4."""
    for side in (800, 1_600):
        for photo in photos(retail_catalog, 8):
            data = encoded(picture(photo).resize((side, side), Image.Resampling.LANCZOS), "JPEG", quality=90)
            small = decode_pixels(data, smallest=224)
            assert small.shape == (400, 400, 3)
            first, second = (
                np.asarray(Image.fromarray(array).resize((224, 224), Image.Resampling.BICUBIC)).astype(float)
                for array in (decode_pixels(data), small)
            )
            assert np.abs(first - second).mean() < 1
            assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9995


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Cut off, bits turned, bytes of the header overwritten, bytes lost, bytes added."""
    broken = bytearray(data)
    place = int(random.integers(3, len(data)))
    match random.integers(5):
        case 0:
            del broken[place:]
        case 1:
            broken[place] ^= 1 << int(random.integers(8))
        case 2:
            for place in random.integers(3, 700, 3):
                broken[place] = random.integers(256)
        case 3:
            del broken[place : place + int(random.integers(1, 9))]
        case _:
            broken[place:place] = random.bytes(int(random.integers(1, 9)))
    return bytes(broken)


@pytest.mark.filterwarnings("ignore")
def test_damaged_jpegs_are_refused_and_accepted_alike(clothing_catalog: Path) -> None:
    random = np.random.default_rng(11)
    accepted = 0
    for number, photo in enumerate(photos(clothing_catalog, 30)):
        small = picture(photo).resize((80, 64))
        options = {"progressive": number % 2, "subsampling": number % 3, "restart_marker_rows": number % 4}
        data = encoded(small.convert("L") if number % 7 == 3 else small, "JPEG", **options)
        for _ in range(60):
            broken = damaged(data, random)
            was_accepted = assert_same(broken, max_pixels=10**6)
            accepted += was_accepted
            assert (
                isinstance(answer(decode_pixels, broken, smallest=10, max_pixels=10**6), str) != was_accepted
            )
    assert 400 < accepted < 1_400  # of 1,800: both kinds were met


def test_every_place_where_a_jpeg_can_end(decoder: str) -> None:
    drawing = Image.effect_mandelbrot((60, 40), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    for progressive in (False, True):
        data = encoded(drawing, "JPEG", progressive=progressive, quality=40)
        assert not any(assert_same(data[:end]) for end in range(3, len(data) - 3))


def test_the_limit_of_pixels(decoder: str) -> None:
    for format in ("JPEG", "PNG"):
        data = encoded(Image.new("RGB", (100, 40), "tan"), format)
        assert decode_pixels(data, max_pixels=4_000).shape == (40, 100, 3)
        assert (
            answer(decode_pixels, data, max_pixels=3_999, smallest=4)
            == "decode: 100 x 40 pixels, more than 3999"
        )


def test_load_pixels_takes_every_kind_of_reference(tmp_path: Path) -> None:
    drawing = Image.effect_mandelbrot((90, 60), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    data = encoded(drawing, "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for reference in ("a.png", tmp_path / "a.png", data, drawing, Image.open(BytesIO(data))):
        assert np.array_equal(load_pixels(reference, base=tmp_path), np.asarray(drawing))
        part = load_pixels(reference, base=tmp_path, crop=Crop(10, 20, 30, 5), smallest=2)
        assert np.array_equal(part, np.asarray(drawing)[20:25, 10:40])
        assert part.flags.c_contiguous
        reduced = load_pixels(reference, base=tmp_path, smallest=20)
        assert np.array_equal(reduced, np.asarray(drawing.reduce(2)))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_pixels(Image.open(BytesIO(encoded(drawing, "JPEG", exif=exif)))).shape == (90, 60, 3)
    with MediaReader(MediaPolicy(max_pixels=5_000)) as reader:
        for reference in (data, drawing):
            with pytest.raises(MediaError, match="90 x 60 pixels, more than 5000"):
                load_pixels(reference, reader=reader)
    with pytest.raises(MediaError, match="no such file") as caught:
        load_pixels("b.png", base=tmp_path)
    assert caught.value.stage == "fetch"


def test_other_threads_run_while_a_jpeg_is_decoded(retail_catalog: Path) -> None:
    """One call of some 100 ms: were the GIL held, this thread would stand still until its end."""
    pytest.importorskip("simplejpeg")
    large = encoded(picture(photos(retail_catalog, 1)[0]).resize((5_000, 5_000)), "JPEG", quality=90)
    began = threading.Event()

    def decode() -> Pixels:
        began.set()
        return decode_pixels(large)

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(decode)
        began.wait()
        steps = 0
        while not pending.done():
            time.sleep(0.0001)  # leaves the GIL to the other thread, which is not to hold it
            steps += 1
        assert pending.result().shape == (5_000, 5_000, 3)
    assert steps > 20


def test_what_only_looks_like_a_bomb_is_decoded(retail_catalog: Path) -> None:
    """Marks of scans in a profile and behind the end (phones append a video), many segments, some junk between."""
    photo = picture(photos(retail_catalog, 1)[0])
    marks = b"\xff\xda" * 5_000
    for progressive in (False, True):
        plain = encoded(photo, "JPEG", progressive=progressive)
        expected = decode_pixels(plain)
        comment = b"\xff\xfe" + (len(marks) + 2).to_bytes(2, "big") + marks
        for data in (plain + marks, plain[:2] + comment + plain[2:], plain[:2] + b"\xff\xea\0\2" * 1_000 + plain[2:],
                     plain[:2] + b"\xff" * 1_000 + plain[2:]):  # fmt: skip
            assert assert_same(data)
            assert np.array_equal(decode_pixels(data), expected)
