"""The layout shows the data flow: a room imports only from rooms above it, and only `store/` knows pymilvus."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mm_milvus"
# `records` holds the attribute types that `config` needs; both are below nothing but the errors.
ORDER = [
    "errors",
    "files",
    "texts",
    "records",
    "config",
    "catalog",
    "media",
    "encoders",
    "fusion",
    "store",
    "ingest",
    "search",
    "late",
    "training",
    "arguments",
    "client",
    "evaluation",
    "async_client",
    "doctor",
]
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Imported modules at any depth, but for those that only the type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_readme_names_the_rooms_in_their_order() -> None:
    layout = (PACKAGE.parent / "README.md").read_text(encoding="utf-8").split("## Layout")[1]
    rooms = layout.split("`doctor.py`")[0] + "`doctor.py`"
    assert re.findall(r"`(\w+)(?:/|\.py)`", rooms)[1:] == ORDER  # after that of the package


def test_every_room_is_in_the_order() -> None:
    assert {room_of(path) for path in FILES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_above_it(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports(path):
        if name.startswith("mm_milvus.") and name != "mm_milvus.__version__":
            assert ORDER.index(name.split(".")[1]) <= ORDER.index(room), f"{room} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_store_knows_milvus(path: Path) -> None:
    if room_of(path) != "store":
        assert not [
            name for name in imports(path) if name.split(".")[0] in ("pymilvus", "milvus_lite", "grpc")
        ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420
