"""`make demo` does what it says: its own recipe is run, and what it shows a newcomer is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mm_milvus import Client, Hit

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Demo:
    folder: Path
    printed: str

    @property
    def products(self) -> list[dict[str, Any]]:
        lines = (self.folder / "demo" / "catalog.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The recipe of `make demo` in an empty folder, with the commands of this environment."""
    if not shutil.which("make") or not (BIN / "mm-milvus").exists():
        pytest.skip("needs make, and mm-milvus installed beside the interpreter")
    folder = tmp_path_factory.mktemp("newcomer")
    # -o install: the environment that runs the tests is the one that would be installed.
    command = ["make", "-f", str(ROOT / "Makefile"), "-C", str(folder), "-o", "install", "demo", f"BIN={BIN}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "MM_MILVUS_"))}
    environment |= {"COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return Demo(folder, done.stdout)


@pytest.fixture(scope="module")
def shop(demo: Demo) -> Iterator[Client]:
    with Client(demo.folder / "demo" / "demo.db") as shop:
        yield shop


def tables(printed: str) -> list[list[str]]:
    """Ids of the hits, table by table."""
    found = re.split(r"^\$ .*$", printed, flags=re.MULTILINE)[1:]
    return [re.findall(r"^\d+  [\d.]+  (\S+)", part, flags=re.MULTILINE) for part in found]


def is_red_shoe(hit: Hit) -> bool:
    return (hit.attributes["color"], hit.attributes["category"]) == ("red", "shoes")


def test_the_demo_shows_three_tables_that_answer_their_questions(demo: Demo) -> None:
    assert "86 read · 86 written · 0 unchanged · 0 rejected · 0 kept, a picture missing" in demo.printed
    words, picture, mixed = tables(demo.printed)
    assert all(id.startswith("backpack-") for id in words)
    assert picture[0] == "runners-white-1"
    assert all(id.startswith("runners-") for id in picture)
    assert sorted(mixed[:2]) == ["runners-red-1", "runners-red-2"]
    assert [len(ids) for ids in (words, picture, mixed)] == [5, 5, 5]


def test_the_demo_fits_a_terminal_and_says_what_is_next(demo: Demo) -> None:
    rows = [line for line in demo.printed.splitlines() if re.match(r"#|\d+  ", line)]
    assert len(rows) == 18
    assert max(map(len, rows)) <= 100
    following = next(line for line in demo.printed.splitlines() if line.startswith("Next: "))
    section = re.search(r'README\.md, "([^"]+)"', following)
    assert section is not None
    assert f"\n## {section[1]}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_the_demo_prints_can_be_typed(demo: Demo) -> None:
    """Quotes and all: `make` runs what it prints."""
    shown = re.findall(r"^\$ (.*)$", demo.printed, flags=re.MULTILINE)
    start = [str(BIN / "mm-milvus"), "query", "--uri", "demo/demo.db"]
    picture = ["--image", "demo/images/runners-white-1.jpg"]
    assert [shlex.split(command) for command in shown] == [
        [*start, "--text", "leather backpack", "--limit", "5"],
        [*start, *picture, "--limit", "5"],
        [*start, *picture, "--text", "red", "--filter", "price < 120", "--limit", "5"],
    ]


def test_the_same_catalog_again_encodes_nothing(demo: Demo, shop: Client) -> None:
    report = shop.ingest(demo.folder / "demo" / "catalog.jsonl")
    assert (report.read, report.unchanged, report.written) == (86, 86, 0)
    assert (report.images_encoded, report.texts_encoded) == (0, 0)


def test_red_t_shirts_in_chinese(shop: Client) -> None:
    hits = shop.query("红色T恤", limit=86, fields=["color", "category"]).hits
    red = {h.id for h in hits if (h.attributes["color"], h.attributes["category"]) == ("red", "t-shirts")}
    assert len(red) == 2
    assert {hit.id for hit in hits[: len(red)]} == red


def test_a_shoe_and_red_shoes_find_a_red_shoe(demo: Demo, shop: Client) -> None:
    """At default weights; .92 of the 26 shoes were measured."""
    shoes = [product for product in demo.products if product["category"] == "shoes"]
    firsts = [
        shop.query(image=demo.folder / "demo" / shoe["image"], text="red shoes", limit=1).hits[0]
        for shoe in shoes
    ]
    assert len(shoes) == 26
    assert sum(map(is_red_shoe, firsts)) / len(shoes) >= 0.8
