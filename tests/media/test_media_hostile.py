"""Pictures made to do harm cost little, and paths made to leave a folder stay in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mm_milvus.errors import MediaError
from mm_milvus.media import MediaPolicy, MediaReader

from . import hostile_jpeg, hostile_tiff  # noqa: F401 - they add to the builders
from .hostile import BUILDERS

pytestmark = pytest.mark.alone

MEGABYTE = 1 << 20
DAMAGED = "the {} is damaged or cut off"
TOO_MUCH = "the JPEG has too much in front of its pixels"
# What each picture becomes: the shape for an encoder of 224 pixels, or how its refusal begins.
ANSWERS: dict[str, list[int] | str] = {
    "png_of_196_megapixels": "14000 x 14000 pixels, more than 64000000",
    "png_at_the_limit": [348, 348, 3],
    "png_at_the_limit_interlaced": [348, 348, 3],
    "png_of_36_megapixels_with_16_bits_and_alpha": [353, 353, 3],
    "png_header_of_the_largest_number": "2147483647 x 2147483647 pixels, more than 64000000",
    "png_of_no_width": DAMAGED.format("PNG"),
    "png_line_of_64_megapixels": [1, 64_000_000, 3],
    "png_profile_that_unpacks_to_a_gigabyte": DAMAGED.format("PNG"),
    "png_text_that_unpacks_to_a_gigabyte": DAMAGED.format("PNG"),
    "png_international_text_that_unpacks_to_a_gigabyte": DAMAGED.format("PNG"),
    "png_thousand_texts": DAMAGED.format("PNG"),
    "png_million_chunks": "the PNG has more than 65536 chunks",
    "png_million_empty_bodies": "the PNG has more than 65536 chunks",
    "png_wrong_checksum": DAMAGED.format("PNG"),
    "png_million_frames": [8, 8, 3],
    "jpeg_header_of_65500_pixels": "65500 x 65500 pixels, more than 64000000",
    "jpeg_of_no_height": DAMAGED.format("JPEG"),
    "jpeg_progressive_at_the_limit": [1000, 1000, 3],
    "jpeg_of_5000_scans": "the JPEG has more than 100 scans of 2000 x 2000 pixels",
    "jpeg_of_scans_behind_a_mark_without_length": "the JPEG has more than 100 scans of 2000 x 2000 pixels",
    "jpeg_of_400_scans_at_the_limit": "the JPEG has more than 15 scans of 8000 x 8000 pixels",
    "jpeg_cut_off_in_a_huge_picture": [
        1000,
        1000,
        3,
    ],  # it has an end mark: the rest is grey, as in any viewer
    "jpeg_of_16_megabytes_of_padding": TOO_MUCH,
    "jpeg_of_16_megabytes_of_junk": TOO_MUCH,
    "jpeg_million_segments": TOO_MUCH,
    "jpeg_of_extensions_that_hide_padding": TOO_MUCH,
    "jpeg_exif_that_repeats_itself": TOO_MUCH,
    "jpeg_profile_of_garbage": [48, 64, 3],
    "jpeg_of_12_bits": DAMAGED.format("JPEG"),
    "jpeg_lossless": DAMAGED.format("JPEG"),
    "jpeg_arithmetic_at_the_limit": [1000, 1000, 3],
    "jpeg_directory_of_pictures_that_are_not_there": [48, 64, 3],
    "gif_canvas_of_65535_pixels": "65535 x 65535 pixels, more than 64000000",
    "gif_thousands_of_frames_on_a_huge_canvas": [348, 348, 3],
    "gif_frame_that_leaves_the_canvas": DAMAGED.format("GIF"),
    "gif_of_16_megabytes_of_comments": "the GIF has more than 65536 blocks in front of its pixels",
    "gif_of_16_megabytes_of_junk": "the GIF has more than 65536 blocks in front of its pixels",
    "gif_million_empty_extensions": "the GIF has more than 65536 blocks in front of its pixels",
    "gif_million_extensions": "the GIF has more than 65536 blocks in front of its pixels",
    "webp_at_the_limit": "8000 x 8000 pixels, more than 25000000",
    "webp_canvas_of_16383_pixels": DAMAGED.format("WEBP"),
    "webp_animation_of_many_frames": [500, 500, 3],
    "webp_cut_off": DAMAGED.format("WEBP"),
    "avif_whose_sizes_are_wrong": DAMAGED.format("AVIF"),
    "tiff_directory_that_follows_itself": [8, 8, 3],
    "tiff_million_directories": [8, 8, 3],
    "tiff_tags_that_repeat_the_file": DAMAGED.format("TIFF"),
    "tiff_seven_million_strips": "the TIFF has a list of more than 262144 numbers",
    "tiff_seven_million_tiles": "the TIFF has a list of more than 262144 numbers",
    "tiff_fewer_strips_than_rows": [8, 8, 3],
    "tiff_at_the_limit": [348, 348, 3],
    "tiff_colour_at_the_limit": "the TIFF has strips or tiles of more than 134217728 numbers",
    "tiff_tile_of_a_gigabyte": "the TIFF has strips or tiles of more than 134217728 numbers",
    "bigtiff_of_endless_tags": "the TIFF has more than 65536 tags",
    "bmp_of_two_billion_rows": "2147483647 x 2147483649 pixels, more than 64000000",
    "bmp_at_the_limit_without_pixels": DAMAGED.format("BMP"),
    "bmp_of_eight_million_runs": "the BMP has more than 4194304 bytes of runs",
    "bmp_that_jumps_to_the_end": [348, 348, 3],
    "html_page_called_a_jpeg": DAMAGED.format("JPEG"),
    "zip_behind_a_png": [8, 8, 3],
    "script_that_is_a_gif": DAMAGED.format("GIF"),
    "postscript_behind_a_bitmap": DAMAGED.format("BMP"),
    "icon_of_a_picture": "this is an icon file",
}

# Runs on its own, as memory that a process once used cannot be told from what a picture needs. Memory is what the
# kernel saw at most since the counter was reset; time is that of the processor, as machines of tests are busy.
MEASURE = """
import json, resource, sys, time, warnings
import numpy, PIL.Image
from mm_milvus.errors import MediaError
from mm_milvus.media import decode_image, decode_pixels
from tests.media import hostile_jpeg, hostile_tiff
from tests.media.hostile import BUILDERS, png

warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, resource.RLIM_INFINITY))

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

def answer(decode, *args, **options):
    try:
        return list(decode(*args, **options).shape)
    except MediaError as error:
        return str(error)

decode_pixels(png(8, 8))
for name in sys.argv[1:]:
    data = BUILDERS[name]()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, start = memory("VmRSS"), time.process_time()
    given = answer(decode_pixels, data, smallest=224)
    seconds, peak = time.process_time() - start, memory("VmHWM") - before
    same = answer(lambda data: numpy.asarray(decode_image(data)), data) if isinstance(given, str) else given
    print(json.dumps([name, len(data), given, same, seconds, peak]), flush=True)
"""


@pytest.fixture(scope="module")
def measured() -> dict[str, list[Any]]:
    """Name -> [bytes, answer, answer of decode_image where it is a refusal, seconds, bytes of memory at most]."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system does not tell how much memory a process has used at most")
    names = list(BUILDERS)

    def run(names: list[str]) -> list[list[Any]]:
        root = Path(__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *names], capture_output=True, text=True, cwd=root, check=False
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    with ThreadPoolExecutor(2) as pool:
        rows = [row for rows in pool.map(run, (names[::2], names[1::2])) for row in rows]
    return {name: rest for name, *rest in rows}


def test_there_are_enough_of_them() -> None:
    assert set(ANSWERS) == set(BUILDERS)
    assert len(ANSWERS) >= 40


@pytest.mark.parametrize("name", ANSWERS)
def test_hostile_pictures_cost_little(name: str, measured: dict[str, list[Any]]) -> None:
    size, answer, same, seconds, memory = measured[name]
    expected = ANSWERS[name]
    assert size < 32 * MEGABYTE
    if isinstance(expected, str):
        assert answer.startswith(expected) and answer.isprintable()
    else:
        assert answer == expected
    assert same == answer
    assert seconds < 2
    assert memory < 400 * MEGABYTE


# Paths -------------------------------------------------------------------------------------------------------

CANARY = b"GIF89a the canary sings"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """shop/ may be read; secret.gif beside it may not, whichever links lead there."""
    folder = tmp_path / "shop"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "red.gif").write_bytes(b"GIF89a red")
    secret = tmp_path / "secret.gif"
    secret.write_bytes(CANARY)
    (tmp_path / "shop2").mkdir()
    (tmp_path / "shop2" / "secret.gif").write_bytes(CANARY)
    (folder / "link.gif").symlink_to(secret)
    (folder / "far.gif").symlink_to("../secret.gif")
    (folder / "chain.gif").symlink_to("link.gif")
    (folder / "door").symlink_to(tmp_path)
    (folder / "images" / "up").symlink_to("..")
    (folder / "root").symlink_to("/")
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


# {top} is the folder around the shop, {fd} an open file descriptor of the secret.
PATHS = [
    "../secret.gif",
    "images/../../secret.gif",
    "./././../secret.gif",
    "..//secret.gif",
    "../shop/../secret.gif",
    "../shop2/secret.gif",  # a name that begins like the shop's
    "{top}/secret.gif",
    "{top}/shop/../secret.gif",
    "///{top}/secret.gif",
    "link.gif",
    "far.gif",
    "chain.gif",
    "door/secret.gif",
    "images/up/../secret.gif",  # ".." after a link
    "root{top}/secret.gif",
    "/proc/self/root{top}/secret.gif",
    "/proc/self/cwd/../secret.gif",
    "/proc/self/fd/{fd}",
    "/dev/fd/{fd}",
    "../secret.gif\0.png",
    "images/red.gif\0/../../../secret.gif",
    "%2e%2e/secret.gif",
    "..%2fsecret.gif",
    "%252e%252e%252fsecret.gif",
    "..\\secret.gif",
    "images\\..\\..\\secret.gif",
    "../secret.gif ",
    " ../secret.gif",
    "../secret.gif/.",
    "../secret.gif::$DATA",
    "\u2024\u2024/secret.gif",  # one dot leaders
    "\uff0e\uff0e\uff0fsecret.gif",  # full-width
    "..\u2215secret.gif",  # division slash
    "~/secret.gif",
    "$HOME/secret.gif",
    "file://{top}/secret.gif",
    "FILE:{top}/secret.gif",
    "file://localhost{top}/secret.gif",
    "//localhost{top}/secret.gif",
    "data:text/plain,../secret.gif",
    "http://127.0.0.1:9/../secret.gif",
    "images/" + "../" * 500 + "{top}/secret.gif",
    "a/" * 3_000 + "../secret.gif",
]


@pytest.mark.parametrize("spelling", PATHS, ids=range(len(PATHS)))
@pytest.mark.parametrize("as_path", [False, True])
def test_no_spelling_of_a_path_leaves_the_folder(
    spelling: str, as_path: bool, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    with (shop.parent / "secret.gif").open("rb") as secret, MediaReader(MediaPolicy(roots=(shop,))) as reader:
        name = spelling.format(top=shop.parent, fd=secret.fileno())
        found = outcome(reader, Path(name) if as_path else name, shop)
    if spelling.startswith("data:") and not as_path:
        assert found == b"../secret.gif"  # what it says, not what it names
    else:
        assert isinstance(found, MediaError)
        assert found.stage == "fetch"
        assert str(found).isprintable()


def outcome(reader: MediaReader, name: str | Path, base: Path) -> bytes | MediaError:
    try:
        return reader.read(name, base=base)
    except MediaError as error:
        return error


def test_the_same_paths_are_read_where_any_folder_is_allowed(shop: Path) -> None:
    """The canary is alive: most of the spellings do lead to it."""
    reader = MediaReader(MediaPolicy())
    for name in ("../secret.gif", "images/../../secret.gif", "link.gif", "chain.gif", "door/secret.gif",
                 f"{shop.parent}/secret.gif", f"root{shop.parent}/secret.gif", "images/up/../secret.gif"):  # fmt: skip
        assert reader.read(name, base=shop) == CANARY


def test_hard_links_are_the_file_itself(shop: Path) -> None:
    """A second name of a file, made by somebody who may write to the folder, cannot be told from the first."""
    os.link(shop.parent / "secret.gif", shop / "hard.gif")
    assert MediaReader(MediaPolicy(roots=(shop,))).read("hard.gif", base=shop) == CANARY
