"""The rejects file, and that it is a catalog itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mm_milvus.catalog import RejectsFile, default_rejects_path, open_catalog
from mm_milvus.config import Settings
from mm_milvus.errors import CatalogError, ConfigError
from mm_milvus.records import Product, Rejected


def test_where_it_lies(tmp_path: Path) -> None:
    assert default_rejects_path("shop/catalog.jsonl") == Path("shop/catalog.rejects.jsonl")
    assert default_rejects_path("shop/my.catalog.csv.gz") == Path("shop/my.catalog.rejects.jsonl")
    assert default_rejects_path("artikel.csv") == Path("artikel.rejects.jsonl")
    assert default_rejects_path(tmp_path) == tmp_path / f"{tmp_path.name}.rejects.jsonl"


def test_those_of_a_directory_lead_to_its_pictures(tmp_path: Path) -> None:
    picture = tmp_path / "Taschen" / "x.jpg"
    picture.parent.mkdir()
    picture.write_bytes(b"not a picture")
    (product,) = open_catalog(tmp_path, Settings()).products()
    assert isinstance(product, Product)
    path = default_rejects_path(tmp_path)
    with RejectsFile(path) as rejects:
        rejects.write(Rejected(1, product.id, "decode", "broken", product.record))
    assert [row.id for row in open_catalog(tmp_path, Settings()).products()] == ["Taschen/x.jpg"]
    catalog = open_catalog(path, Settings())
    assert list(catalog.products()) == [product]
    assert (catalog.root / product.images[0]).samefile(picture)


def test_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "shop.rejects.jsonl"
    with RejectsFile(path) as rejects:
        assert not path.exists()
        rejects.write(
            Rejected(3, "é", "type", "price: expected\ndouble", {"title": "红\ud800", "x": float("nan")})
        )
        rejects.write(Rejected(4, None, "fetch", "no such file", "text", kept=True))
        assert rejects.count == 2
    assert path.read_text(encoding="utf-8").splitlines() == [
        '{"line": 3, "id": "é", "stage": "type", "reason": "price: expected double",'
        ' "record": {"title": "红\\ud800", "x": "nan"}}',
        '{"line": 4, "id": null, "stage": "fetch", "reason": "no such file", "record": "text", "kept": true}',
    ]
    with RejectsFile(path) as rejects:
        assert not path.exists()
    assert rejects.count == 0


def test_it_never_replaces_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "catalog.jsonl"
    path.write_text('{"id": 1, "title": "a"}\n')
    with pytest.raises(CatalogError, match="is not a rejects file, it is not overwritten"), RejectsFile(path):
        pass
    assert path.read_text() == '{"id": 1, "title": "a"}\n'


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/x.jsonl", "No such file or directory"),
        ("file/x.jsonl", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("link.jsonl", "No such file or directory"),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_bytes(b"a file")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "none" / "x.jsonl")
    rejects = RejectsFile(tmp_path / name)
    with pytest.raises(
        ConfigError, match=f"the rejects file .* cannot be made: {reason}; say with --rejects"
    ):
        rejects.check()
    with pytest.raises(ConfigError, match=reason), rejects:
        pass
    assert sorted(os.listdir(tmp_path)) == ["file", "link.jsonl"]


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    path, link = tmp_path / "shop.rejects.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(path)
    for one in (path, link):
        RejectsFile(one).check()
        with RejectsFile(one):
            pass
        assert os.listdir(tmp_path) == ["link.jsonl"]
    with RejectsFile(path) as rejects:
        rejects.write(Rejected(1, None, "read", "broken"))
    held = path.read_bytes()
    RejectsFile(path).check()
    assert (sorted(os.listdir(tmp_path)), path.read_bytes()) == (["link.jsonl", path.name], held)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_it_can_be_repaired_and_read_again(tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"shop.{kind}"
    if kind == "csv":
        source.write_text('id,title,price,stock\n1,a,1.5,2\n2,b,2.5,3\n3,c,2.5,3\n4,d,cheap,1\n5,"e" e,7,1\n')
    else:
        rows = [{"id": n, "title": "t", "price": n / 2, "stock": 2 if n < 4 else "many"} for n in range(1, 5)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    catalog = open_catalog(source, Settings())
    path = default_rejects_path(source)
    with RejectsFile(path) as rejects:
        for row in catalog.products():
            if isinstance(row, Rejected):
                rejects.write(row)
    assert rejects.count == 2
    again = list(open_catalog(path, Settings(), schema=catalog.schema).products())
    assert [(r.line, r.id, type(r)) for r in again] == [(1, "4", Rejected), (2, None, Rejected)]
    repaired = path.read_text().replace("cheap", "9.5").replace('"many"', "7")
    path.write_text(
        repaired.replace('"5,\\"e\\" e,7,1"', '{"id": "5", "title": "e"}').replace(
            "{broken", '{\\"id\\": 5, \\"title\\": \\"e\\"}'
        )
    )
    fixed = list(open_catalog(path, Settings(), schema=catalog.schema).products())
    assert [row.id for row in fixed if isinstance(row, Product)] == ["4", "5"]
    assert isinstance(fixed[0], Product)
    assert fixed[0].attributes["price"] == (9.5 if kind == "csv" else 2.0)
    assert fixed[0].attributes["stock"] == (1.0 if kind == "csv" else 7.0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    os.symlink("/dev/full", tmp_path / "x")
    rejects = RejectsFile(tmp_path / "x")
    with pytest.raises(CatalogError, match="No space left"):
        rejects.write(Rejected(1, None, "read", "broken"))


def test_what_was_not_repaired_is_refused_again(tmp_path: Path) -> None:
    """Alone, the second row of an id and a line of replaced bytes would look like good products."""
    catalog = tmp_path / "shop.jsonl"
    catalog.write_bytes(
        b'{"id": "a", "title": "one"}\n{"id": "a", "title": "two"}\n{"id": "b", "title": "caf\xe9"}\n'
    )
    path = tmp_path / "shop.rejects.jsonl"
    with RejectsFile(path) as rejects:
        for row in open_catalog(catalog, Settings()).products():
            if isinstance(row, Rejected):
                rejects.write(row)
    assert rejects.count == 2
    with path.open("a", encoding="utf-8") as file:
        file.write('{"id": "z", "title": "a row of its own"}\n')
    again = list(open_catalog(path, Settings()).products())
    assert [(row.id, row.stage) for row in again if isinstance(row, Rejected)] == [
        ("a", "map"),
        (None, "read"),
    ]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"record": {"id": "a"', '"record": {"id": "c"').replace("\ufffd", "é"))
    assert [row.id for row in open_catalog(path, Settings()).products()] == ["c", "b", "z"]
