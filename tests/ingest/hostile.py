"""The lines and the pictures of a catalog in which nearly everything is wrong, each with what must become of it."""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.media.web import RED_PNG, encoded


@dataclass(frozen=True)
class Case:
    """A line of the catalog and what must become of it."""

    line: bytes
    id: str | None
    stage: str = ""  # of its reject; "" where nothing is wrong
    reason: str = ""  # a piece of it
    stored: bool = True
    image: bool = False


def good(id: str, picture: Any = None, **values: Any) -> Case:
    record = {"id": id, "title": "plain shoe", **values} | ({"image": picture} if picture else {})
    return Case(encode(record), id, image=picture is not None)


def kept(id: str, stage: str, reason: str, picture: Any, *, image: bool = False) -> Case:
    """Stored without its picture, or without one of them."""
    return Case(encode({"id": id, "title": f"shoe {id}", "image": picture}), id, stage, reason, image=image)


def refused(id: str | None, stage: str, reason: str, line: bytes | dict[str, Any]) -> Case:
    return Case(encode(line) if isinstance(line, dict) else line, id, stage, reason, stored=False)


def encode(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace")


def wrong(id: str, **values: Any) -> dict[str, Any]:
    return {"id": id, "title": "shoe", **values}


EMOJI = "👟-👩‍👩‍👧-🇩🇪"
QUOTED = "it's \"quoted\" \\ and ' or 1 == 1 %s {x}"
INJECTION = "zzz'] or price >= 0 or id in ['zzz"
LONG = "x" * 70_000
CHINESE = "红色运动鞋" * 60
NAMES: dict[str, Any] = {
    "mm_tokens": "a", "text": "b", "fused": [1, 2], "id ": "c", "has_image": False, "$meta": "d", "mm_image": "e",
    "颜色": "红", "net weight": 1.5, "a.b": 1, 'q"uote': 2, "in": 3, "not": 4, "count(*)": 5,
}  # fmt: skip
RENAMED: dict[str, Any] = {
    "attr_mm_tokens": "a", "text_": "b", "fused_": [1.0, 2.0], "id ": "c", "has_image_": False, "attr_meta": "d",
    "attr_mm_image": "e", "颜色": "红", "net weight": 1.5, "a.b": 1.0, 'q"uote': 2.0, "in": 3.0, "not": 4.0,
    "count(*)": 5.0,
}  # fmt: skip

READ = [
    refused(None, "read", "not JSON", b'{"id": "unclosed", "title": "shoe"'),
    refused(None, "read", "not JSON", b"<html><body>sold out</body></html>"),
    refused(None, "read", "not JSON", b'{"id": "two"} {"id": "rows"}'),
    refused(None, "read", "not JSON", b'{"id": "nul"\x00, "title": "shoe"}'),
    refused(None, "read", "not JSON: Invalid control character", b'{"id": "raw", "title": "a\x01b"}'),
    refused(None, "read", "not valid UTF-8 at byte 10", b'{"id": "x\xff\xfe", "title": "shoe"}'),
    refused(None, "read", "not valid UTF-8", '{"id": "latin", "title": "Größe"}'.encode("latin-1")),
    refused(None, "read", "expected a JSON object", b'["id", "title"]'),
    refused(None, "read", "expected a JSON object", b"null"),
    refused(None, "read", "NaN is not a JSON number", b'{"id": "nan", "title": "shoe", "price": NaN}'),
    refused(None, "read", "-Infinity is not a JSON", b'{"id": "inf", "title": "shoe", "price": -Infinity}'),
    refused(None, "read", "1e999 is too large", b'{"id": "1e999", "title": "shoe", "price": 1e999}'),
    refused(
        None, "read", "thousands of digits", b'{"id": "digits", "title": "s", "stock": ' + b"9" * 5000 + b"}"
    ),
    refused(
        None, "read", "nested too deeply", b'{"id": "deep", "x": ' + b"[" * 99_999 + b"]" * 99_999 + b"}"
    ),
]

ROWS = [
    refused(None, "map", "no id", {"title": "no id at all"}),
    refused(None, "map", "no id", {"id": None, "title": "shoe"}),
    refused(None, "map", "the id is empty", wrong("   ")),
    refused(None, "map", "id: expected text or an integer", {"id": 1.5, "title": "shoe"}),
    refused(None, "map", "id: expected text or an integer", {"id": ["a"], "title": "shoe"}),
    refused(None, "map", "id: expected text or an integer", {"id": True, "title": "shoe"}),
    refused(None, "map", "id: holds a NUL", wrong("nul\0id")),
    refused(None, "map", "id: 'tab\\tid' (string) holds control characters", wrong("tab\tid")),
    refused(None, "map", "id: not valid Unicode (a lone surrogate)", b'{"id": "\\ud83d", "title": "shoe"}'),
    refused(None, "map", "id: 600 bytes of UTF-8, the limit is 512", wrong("号" * 200)),
    refused("plain", "map", "duplicate id 'plain'", wrong("plain", price=1.0)),
    refused(EMOJI, "map", "duplicate id", wrong(EMOJI)),
    refused("bare", "map", "neither text nor a picture", {"id": "bare", "price": 3.0}),
    refused("blank", "map", "neither text nor a picture", {"id": "blank", "title": " \u3000 "}),
    refused("name-empty", "map", "an attribute has an empty name", wrong("name-empty", **{"": 1})),
    refused("name-line", "map", "holds control characters", wrong("name-line", **{"a\nb": 1})),
    refused("name-long", "map", "is longer than 255 bytes", wrong("name-long", **{"x" * 300: 1})),
    refused("name-half", "map", "lone surrogate", b'{"id": "name-half", "title": "s", "\\udc00": 1}'),
    refused("text-half", "type", "title: not valid Unicode", b'{"id": "text-half", "title": "a\\ud800"}'),
    refused("text-nul", "type", "title: holds a NUL", wrong("text-nul") | {"title": "a\0b"}),
    refused("text-number", "type", "title: expected varchar, got 5", wrong("text-number") | {"title": 5}),
    refused("text-70k", "type", "title: 70,000 bytes", wrong("text-70k") | {"title": LONG}),
    refused("text-24k", "type", "title: 72,000 bytes", wrong("text-24k") | {"title": "鞋" * 24_000}),
    refused("notes-70k", "type", "notes: 70,000 bytes", wrong("notes-70k", notes=LONG)),
    refused("together", "write", "the attributes take 80,", wrong("together", n1="x" * 40_000, n2="x" * 40_000)),
    refused("price-words", "type", "price: expected double, got 'ask us'", wrong("price-words", price="ask us")),
    refused("price-list", "type", "price: expected double, got [1, 2]", wrong("price-list", price=[1, 2])),
    refused("price-flag", "type", "price: expected double, got True", wrong("price-flag", price=True)),
    refused("price-huge", "type", "price: a huge integer", wrong("price-huge", price=10**400)),
    refused("price-exact", "type", "does not fit a double exactly", wrong("price-exact", price=2**53 + 1)),
    refused("levels", "type", "nested deeper than 50", wrong("levels", specs={"a": json.loads("[" * 60 + "]" * 60)})),
    refused("specs-big", "type", "specs: 70,018 bytes", wrong("specs-big", specs=dict.fromkeys("ab", LONG[:35000]))),
    refused("specs-half", "type", "lone surrogate", b'{"id": "specs-half", "title": "s", "specs": {"a": "\\ud800"}}'),
    refused("specs-int", "type", "does not fit 64 bits", wrong("specs-int", specs={"a": 2**70})),
    refused("picture-number", "map", "image: expected a path", wrong("picture-number", image=7)),
    refused("picture-nul", "map", "image: holds a NUL", wrong("picture-nul", image="a\0.png")),
    refused("picture-half", "map", "image: not valid", b'{"id": "picture-half", "title": "s", "image": "\\ud800.png"}'),
    refused("picture-long", "type", "image: 70,004 bytes", wrong("picture-long", image=LONG + ".png")),
]  # fmt: skip

DATA_URI = "data:image/png;base64," + base64.b64encode(RED_PNG).decode()
FINE = [
    good("plain", price=10.0, stock=5, specs={"a": 1}, notes="none"),
    good("with-picture", "red.png", price=11.0),
    good("inline", DATA_URI, price=12.0),
    good("two-pictures", ["red.png", DATA_URI], price=13.0),
    good(EMOJI, price=1e-300),
    good(QUOTED, price=-0.0),
    good(INJECTION, price=1.7e308),
    good("号" * 170, title=CHINESE),
    good("names", **NAMES),
    good("brackets", title="🛍️ \u202eevil\u202c \u2028 line \x85 <script>alert(1)</script>", price="€ 1.299,00"),
    good("nulls", price=None, notes=None, specs=None),
    good("levels-40", specs={"a": json.loads("[" * 40 + "]" * 40)}),
    Case(b'{"id": 7, "title": "an id that is a number", "title": "and a key twice"}', "7"),
]  # fmt: skip

PICTURES = [
    kept("up", "fetch", "leaves the catalog's folder; use --allow-root", "../../../../../../etc/passwd"),
    kept("absolute", "fetch", "leaves the catalog's folder", "/etc/passwd"),
    kept("link", "fetch", "leaves the catalog's folder", "link.png"),
    kept("scheme", "fetch", "file: URLs are not accepted", "file:///etc/passwd"),
    kept("ftp", "fetch", "only http and https URLs are accepted", "ftp://host/a.png"),
    kept("missing", "fetch", "no such file: missing.png", "missing.png"),
    kept("folder", "fetch", "is a folder, not a file: folder", "folder"),
    kept("fifo", "fetch", "is not a regular file: fifo", "fifo"),
    kept("empty", "fetch", "the file is empty: empty.png", "empty.png"),
    kept("name-too-long", "fetch", "file name too long", "x" * 3_000 + ".png"),
    kept("no-base64", "fetch", "the data URI is not valid base64", "data:image/png;base64,@@@@"),
    kept("no-comma", "fetch", "the data URI has no comma", "data:image/png;base64"),
    kept("no-host", "fetch", "not a valid URL", "http://[::1"),
    kept("bomb", "decode", "9000 x 9000 pixels, more than 64000000", "bomb.png"),
    kept("cut", "decode", "the JPEG is damaged or cut off", "cut.jpg"),
    kept("page", "decode", "this is an HTML page", "page.jpg"),
    kept("drawing", "decode", "this is an SVG drawing", "drawing.svg"),
    kept("noise", "decode", "not a picture", "noise.png"),
    kept("inline-noise", "decode", "not a picture", "data:image/png;base64,AAAA"),
    kept("one-of-two", "fetch", "no such file: missing.png", ["red.png", "missing.png"], image=True),
    Case(
        encode({"id": "wordless-of-two", "image": ["red.png", "page.jpg"]}),
        "wordless-of-two", "decode", "this is an HTML page", image=True,
    ),
    refused("wordless", "decode", "and the row has no text", {"id": "wordless", "image": "page.jpg"}),
]  # fmt: skip


def web_cases(port: int) -> list[Case]:
    url = f"http://127.0.0.1:{port}"
    return [
        good("web-red", f"{url}/red"),
        kept("web-404", "fetch", f"404 Not Found: {url}/missing", f"{url}/missing"),
        kept("web-late", "fetch", "timed out", f"{url}/silent"),
        kept("web-page", "fetch", "the URL answered with an HTML page", f"{url}/html"),
        kept("web-nothing", "fetch", "the URL answered with nothing", f"{url}/empty"),
    ]


def draw(folder: Path) -> None:
    """The pictures, good and bad, that the catalog names."""
    (folder / "red.png").write_bytes(RED_PNG)
    (folder / "cut.jpg").write_bytes(encoded(Image.radial_gradient("L").convert("RGB"), "JPEG")[:2_000])
    (folder / "bomb.png").write_bytes(bomb(9_000))
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
    (folder / "drawing.svg").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "noise.png").write_bytes(bytes(range(256)))
    (folder / "empty.png").touch()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "link.png").symlink_to(Path("/etc/passwd"))


def bomb(side: int) -> bytes:
    """A PNG of a few kB that takes ``side`` x ``side`` bytes when it is decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
