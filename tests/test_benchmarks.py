"""The benchmark of the ingest runs from end to end, and its table says what it should. No speed is tested here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "benchmarks" / "ingest.py")]


@pytest.mark.slow
@pytest.mark.server
def test_every_row_of_the_table_is_measured(
    tmp_path: Path, server_uri: str, clothing_catalog: Path, retail_catalog: Path
) -> None:
    table = tmp_path / "benchmarks.md"
    data = str(clothing_catalog.parents[1])
    arguments = ["--quick", "--data", data, "--uri", server_uri, "--table", str(table)]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cpu, gpu = (_rows(table, title) for title in ("CPU", "GPU"))
    assert len(cpu) == 23
    for cells in cpu:
        assert re.match(r"\d+\.\d+", cells[2]), cells
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", cells[4]), cells
    assert len(gpu) == 10
    assert {cells[2] for cells in gpu} == {"not measured"}
    assert "--quick" in table.read_text(encoding="utf-8")


@pytest.mark.slow
def test_measuring_one_thing_keeps_the_other_values(
    tmp_path: Path, clothing_catalog: Path, retail_catalog: Path
) -> None:
    table = tmp_path / "benchmarks.md"
    data = str(clothing_catalog.parents[1])
    for name in ("packing", "decode"):
        arguments = ["--quick", "--only", name, "--data", data, "--table", str(table)]
        subprocess.run([*COMMAND, *arguments], capture_output=True, check=True, cwd=tmp_path)
    measured = {cells[0]: cells[2] for cells in _rows(table, "CPU") if cells[2] != "not measured"}
    assert [name.partition(":")[0].partition(" /")[0] for name in measured] == [
        "decode + resize per core",
        "decode + resize per core",
        "decode + resize per core",
        "CPU of packing rows without text",
        "CPU of packing rows with text",
        "CPU of packing rows with text",
    ]


def test_the_committed_table_has_all_rows() -> None:
    goals = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert goals.count("| ≥ ") + goals.count("| ≤ ") + goals.count("| reported |") == 33


def _rows(table: Path, title: str) -> list[list[str]]:
    """The cells of the rows under one title."""
    section = table.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
