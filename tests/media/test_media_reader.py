"""Local files, data URIs and bytes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mm_milvus.errors import MediaError
from mm_milvus.media import MediaPolicy, MediaReader

PIXEL = b"GIF89a\1\0\1\0\x80\0\0\xff\0\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """shop/ is the catalog's folder; outside/ is not."""
    for name in ("shop/images", "outside"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "red.gif").write_bytes(PIXEL)
    return tmp_path / "shop"


def refusal(reference: str | bytes | os.PathLike[str], base: Path | None = None, **policy: object) -> str:
    with pytest.raises(MediaError) as caught:
        MediaReader(MediaPolicy(**policy)).read(reference, base=base)  # type: ignore[arg-type]
    assert caught.value.stage == "fetch"
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_paths_inside_the_catalogs_folder(folder: Path) -> None:
    (folder / "red:1?#%20é.gif").write_bytes(PIXEL)
    (folder / "images\\back.gif").write_bytes(PIXEL)
    (folder / "link.gif").symlink_to("images/red.gif")
    reader = MediaReader(MediaPolicy(roots=(folder,)))
    for name in ("images/red.gif", "images/../images/red.gif", "red:1?#%20é.gif", "images\\back.gif", "link.gif",
                 folder / "images/red.gif", str(folder / "images/red.gif"), Path("images/red.gif")):  # fmt: skip
        assert reader.read(name, base=folder) == PIXEL


def test_paths_that_leave_it(folder: Path) -> None:
    outside = folder.parent / "outside"
    (folder / "link.gif").symlink_to(outside / "red.gif")
    (folder / "door").symlink_to(outside)
    twin = folder.parent / "shop2"
    twin.mkdir()
    for name in ("../outside/red.gif", "../outside/missing.gif", "link.gif", "door/red.gif",
                 str(outside / "red.gif"), "/etc/passwd", "../shop2"):  # fmt: skip
        expected = f"leaves the catalog's folder; use --allow-root: {name}"
        assert refusal(name, folder, roots=(folder,)) == expected
    reader = MediaReader(MediaPolicy(roots=(folder, outside)))
    assert reader.read("link.gif", base=folder) == PIXEL
    assert MediaReader(MediaPolicy()).read("../outside/red.gif", base=folder) == PIXEL


def test_roots_may_be_links_themselves(folder: Path) -> None:
    alias = folder.parent / "alias"
    alias.symlink_to(folder)
    assert MediaReader(MediaPolicy(roots=(alias,))).read("images/red.gif", base=alias) == PIXEL


def test_what_is_not_a_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe.gif")
    (folder / "loop.gif").symlink_to("loop.gif")
    (folder / "empty.gif").touch()
    assert refusal("pipe.gif", folder) == "is not a regular file: pipe.gif"
    assert refusal("/dev/zero", folder) == "is not a regular file: /dev/zero"
    assert refusal("images", folder) == "is a folder, not a file: images"
    assert refusal("empty.gif", folder) == "the file is empty: empty.gif"
    assert refusal("gone.gif", folder) == "no such file: gone.gif"
    assert refusal("~/red.gif", folder) == "no such file: ~/red.gif"
    assert refusal("images/red.gif/x", folder) == "no such file: images/red.gif/x"
    assert refusal("a\0b.gif", folder) == r"the path contains a NUL character: a\x00b.gif"
    assert refusal("a\nb\ud800.gif", folder) == r"no such file: a\nb\ud800.gif"
    assert refusal("loop.gif", folder).startswith("cannot read the file (too many levels of symbolic links)")
    assert refusal("n" * 300, folder).startswith("cannot read the file (file name too long): nnn")
    assert refusal("  ", folder) == "the reference to the picture is empty"


def test_sizes(folder: Path) -> None:
    size = len(PIXEL)
    assert MediaReader(MediaPolicy(max_bytes=size)).read("images/red.gif", base=folder) == PIXEL
    assert refusal("images/red.gif", folder, max_bytes=size - 1) == (
        f"{size} bytes, larger than {size - 1}: images/red.gif"
    )
    assert refusal(PIXEL, max_bytes=size - 1) == f"{size} bytes, larger than {size - 1}"
    assert refusal(b"") == "the picture is empty (0 bytes)"
    # A file whose recorded size is wrong (0) is cut by what is read.
    assert refusal("/proc/self/maps", max_bytes=100) == "larger than 100 bytes: /proc/self/maps"


BASE64 = base64.b64encode(PIXEL).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/gif;base64,{BASE64}",
        f"DATA:;charset=utf-8;BASE64,{BASE64}",
        f"data:text/plain;base64,{BASE64[:8]}\n  {BASE64[8:]}\n",
        "data:image/gif;base64," + BASE64.rstrip("="),
        "data:image/gif;base64," + BASE64.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
        "data:image/gif;base64," + BASE64.replace("+", "-").replace("/", "_"),
        " data:image/gif," + "".join(f"%{byte:02x}" for byte in PIXEL),
    ],
)
def test_data_uris(uri: str) -> None:
    assert MediaReader(MediaPolicy(max_bytes=len(PIXEL))).read(uri) == PIXEL


def test_data_uris_that_are_refused() -> None:
    assert (
        refusal("data:image/gif;base64") == "the data URI has no comma before its data: data:image/gif;base64"
    )
    assert refusal("data:image/gif;base64,") == "the data URI is empty: data:image/gif;base64,"
    assert refusal("data:;base64,ab!d") == "the data URI is not valid base64: data:;base64,ab!d"
    assert refusal("data:;base64,abcde") == "the data URI is not valid base64: data:;base64,abcde"
    long = "data:image/gif;base64," + "A" * 5000
    assert refusal(long, max_bytes=100) == (
        "larger than 100 bytes: data:image/gif;base64,AAAAAAAAAA... (5022 characters)"
    )
    assert refusal("data:," + "a" * 101, max_bytes=100).startswith("larger than 100 bytes")


def test_locate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    reader = MediaReader()
    assert reader.locate("images/./x.gif", base=Path()) == str(folder / "images/x.gif")
    assert reader.locate("../x.gif", base=folder) == str(folder.parent / "x.gif")
    assert reader.locate(Path("/a/b.gif")) == "/a/b.gif"
    assert reader.locate(" https://user:pass@a.example/b.gif?c=d@e ") == "https://a.example/b.gif?c=d@e"
    assert reader.locate(os.fsdecode(b"/a/\xff.gif")) == "/a/?.gif"
    for nothing in (PIXEL, "data:image/gif;base64,AAAA", "ftp://a.example/x", ""):
        assert reader.locate(nothing) == ""


def test_the_room_is_light_to_import() -> None:
    code = (
        "import json, sys, mm_milvus.media\n"
        "print(json.dumps([name for name in ('PIL', 'httpx', 'httpcore', 'numpy', 'torch') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
