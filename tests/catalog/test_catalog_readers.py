"""Files and folders of every kind -> products with line numbers; what is broken is rejected, the rest goes on."""

from __future__ import annotations

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mm_milvus.catalog import open_catalog, readers, tables
from mm_milvus.config import Settings
from mm_milvus.errors import CatalogError
from mm_milvus.records import FieldType, Product, Rejected


def read(path: Path, **settings: Any) -> list[Product | Rejected]:
    return list(open_catalog(path, Settings(**settings)).products())


def brief(rows: list[Product | Rejected]) -> list[tuple[Any, ...]]:
    return [(r.line, r.id) if isinstance(r, Product) else (r.line, r.id, r.stage, r.reason) for r in rows]


def test_json_lines_skip_only_what_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "shop.jsonl"
    lines = [
        b'\xef\xbb\xbf{"id": "1", "title": "one\xe2\x80\xa8line"}\r',
        b"",
        b'{"id": "2", "title": "\xff"}',
        b"[1, 2]",
        b'{"id": "3", "title": ',
        b'{"id": "4", "title": "four", "price": NaN}',
        b'{"id": "5", "title": "five", "price": 1e999}',
        b'{"id": "6", "title": "six", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"id": "7", "title": "\\ud800"}',
        b'{"id": "8", "title": "a\\u0000b"}',
        b'{"id": "9", "title": "nine", "title": "last wins"}',
        b'{"id": "10", "title": "ten", "price": ' + b"9" * 5000 + b"}",
    ]
    path.write_bytes(b"\n".join(lines))
    rows = read(path)
    assert brief(rows) == [
        (1, "1"),
        (3, None, "read", "not valid UTF-8 at byte 23 of the line; save the file as UTF-8"),
        (4, None, "read", "expected a JSON object, got [1, 2]"),
        (5, None, "read", "not JSON: Expecting value at character 23 of the line"),
        (6, None, "read", "not usable JSON: NaN is not a JSON number"),
        (7, None, "read", "not usable JSON: the number 1e999 is too large"),
        (8, None, "read", "not usable JSON: nested too deeply"),
        (9, "7", "type", "title: not valid Unicode (a lone surrogate)"),
        (10, "8", "type", "title: holds a NUL character"),
        (11, "9"),
        (12, None, "read", "not usable JSON: a number has thousands of digits"),
    ]
    assert rows[0].attributes == {"title": "one\u2028line"}  # type: ignore[union-attr]
    assert rows[1].record == '{"id": "2", "title": "\ufffd"}'
    assert len(rows[6].record) == 4096
    assert rows[9].attributes == {"title": "last wins"}  # type: ignore[union-attr]


def test_a_giant_line_is_rejected_and_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LINE_LIMIT", 1 << 20)
    giant = '{"id": "2", "title": "' + "x" * (3 << 20) + '"}'
    jsonl = tmp_path / "shop.jsonl"
    jsonl.write_text('{"id": "1", "title": "a"}\n' + giant + '\n{"id": "3", "title": "c"}\n')
    assert brief(read(jsonl)) == [(1, "1"), (2, None, "read", "the line is longer than 1 MiB"), (3, "3")]
    csv = tmp_path / "shop.csv"
    csv.write_text("id,title\n1,a\n2," + "x" * (3 << 20) + "\n3,c\n")
    assert brief(read(csv)) == [
        (2, "1"),
        (3, None, "read", "the line is longer than 1 MiB"),
        (4, "3"),
    ]


def test_a_truncated_gzip_gives_the_rows_before_the_damage(tmp_path: Path) -> None:
    text = "".join(json.dumps({"id": str(n), "title": f"product {n * 7919}"}) + "\n" for n in range(2000))
    path = tmp_path / "shop.jsonl"  # gzip is recognised by its first bytes
    path.write_bytes(gzip.compress(text.encode())[:-3000])
    *rows, last = read(path)
    assert [row.id for row in rows] == [str(n) for n in range(len(rows))]
    assert 1000 < len(rows) < 2000
    assert (last.line, last.id) == (len(rows) + 1, None)
    assert isinstance(last, Rejected)
    assert last.stage == "read"
    assert last.reason.startswith("the file is damaged, nothing after this point was read: ")


def test_csv_of_any_delimiter_with_physical_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv.gz"
    text = (
        "\ufeffid;title;description;price;ean;kids\r\n"
        '1;"Shirt; red";"two\r\nlines, ""quoted""";9.99;4006381333931;true\r\n'
        "\r\n"
        "2;Hat;;5;0012345678905;FALSE\r\n"
        "3;Bag;too;many;values;here;now\r\n"
        "4;Cap\r\n"
        "5;Tie;;12E4;1;true\r\n"
        ";;;;;\r\n"
        "6;Sock;;-1;1;maybe\r\n"
    )
    path.write_bytes(gzip.compress(text.encode()))
    rows = read(path)
    assert brief(rows) == [
        (2, "1"),
        (5, "2"),
        (6, None, "read", "7 values for 6 columns"),
        (7, "4"),
        (8, "5", "type", "price: expected double, got '12E4' (string)"),
        (10, "6"),
    ]
    assert rows[0].attributes == {  # type: ignore[union-attr]
        "title": "Shirt; red",
        "description": 'two\r\nlines, "quoted"',
        "price": 9.99,
        "ean": "4006381333931",
        "kids": "true",  # "maybe" says that it is no flag
    }
    assert rows[1].record["ean"] == "0012345678905"
    assert rows[2].record == "3;Bag;too;many;values;here;now"
    assert rows[3].attributes == {"title": "Cap"}  # type: ignore[union-attr]


def test_csv_with_a_stray_quote_a_huge_field_or_bad_bytes(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes(
        b'id,title\n1,"5" pipe\n2,two\n3,'
        + b"x" * 140_000
        + b'\n4,\xff\n5,five\n6,a\x00b\n7,"open\n8,eight\n'
    )
    rows = read(path)
    assert [(row.line, row.id) for row in rows] == [
        (2, None), (3, "2"), (4, None), (5, None), (6, "5"), (7, "6"), (8, None), (9, "8"),
    ]  # fmt: skip
    reasons = [row.reason for row in rows if isinstance(row, Rejected)]
    assert reasons[0].startswith("not CSV: ")
    assert reasons[1].startswith("not CSV: field larger than field limit")
    assert reasons[2:4] == ["not valid UTF-8; save the file as UTF-8", "title: holds a NUL character"]
    assert reasons[-1] == "not CSV: a quote that is never closed"
    assert rows[-2].record == '7,"open'


def shop_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "shop.csv"
    path.write_text("id,title,brand\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


WRONG = "not CSV: a quote that is not closed properly"


NEXT_QUOTE = f"{WRONG} (line 101: ',' expected after '\"')"


@pytest.mark.parametrize(
    ("later", "reason", "others"),
    [
        ("60,Hat,Fenn", NEXT_QUOTE, []),
        ('60,"",Fenn', NEXT_QUOTE, []),
        ('60,"Hat, red",Fenn', f"{WRONG} (line 61: ',' expected after '\"')", []),
        ('60,",a,b', f"{WRONG} (lines 41 to 61 are 4 values for 3 columns with it)", [61]),
        ('60,Hat"', f"{WRONG} (lines 41 to 61 are 2 values for 3 columns with it)", [61]),
        (f"60,{'x' * 140_000},Fenn", f"{WRONG} (line 61: field larger than field limit (131072))", [61]),
    ],
    ids=["next", "empty", "quoted", "too many", "too few", "too large"],
)
def test_a_quote_that_is_not_closed_costs_its_own_line(
    tmp_path: Path, later: str, reason: str, others: list[int]
) -> None:
    lines = [f"{n},shirt {n},Fenn" for n in range(1, 301)]
    lines[39] = '40,"shirt 40,Fenn'
    lines[59] = later
    lines[99] = '100,"two\nlines, ""quoted""",Fenn'  # a row after it that spans lines for good reasons
    rows = {row.line: row for row in read(shop_of(tmp_path, *lines))}
    rejected = [row for row in rows.values() if isinstance(row, Rejected)]
    assert (rejected[0].line, rejected[0].reason, rejected[0].record) == (41, reason, '40,"shirt 40,Fenn')
    assert [row.line for row in rejected[1:]] == others
    assert sorted(rows) == [n for n in range(2, 303) if n != 102]
    assert [rows[n].id for n in (42, 60, 62, 101, 103, 302)] == ["41", "59", "61", "100", "101", "300"]
    assert rows[101].attributes["title"] == 'two\nlines, "quoted"'  # type: ignore[union-attr]


def test_lines_of_a_text_with_wrong_quotes_are_no_short_rows(tmp_path: Path) -> None:
    path = shop_of(
        tmp_path,
        '1,"Shirt\nsoft, warm\nof wool" x,Fenn',
        "2,Hat",
        '3,"Bag\nof felt",Fenn',
        '4,"Tie\nof silk"',
        '5,"Sock\nred, or blue"',
        "6,Cap,Fenn",
    )
    after = "values for 3 columns, in a line that a wrong quote before it reaches"
    assert brief(read(path)) == [
        (2, None, "read", f"{WRONG} (line 4: ',' expected after '\"')"),
        (3, None, "read", f"2 {after}"),
        (4, None, "read", f"2 {after}"),
        (5, "2"),
        (6, "3"),
        (8, "4"),  # no line of its text can be a row
        (10, None, "read", f"{WRONG} (lines 10 to 11 are 2 values for 3 columns with it)"),
        (11, None, "read", f"2 {after}"),
        (12, "6"),
    ]


def test_a_line_that_cannot_be_read_within_quotes_is_a_reject_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "LINE_LIMIT", 1 << 20)
    path = shop_of(tmp_path, '1,"Shirt,Fenn', "2,Hat,Fenn", "3," + "x" * (3 << 20), "4,Tie,Fenn")
    giant = "the line is longer than 1 MiB"
    assert brief(read(path)) == [
        (2, None, "read", f"{WRONG} (line 4: {giant})"),
        (3, "2"),
        (4, None, "read", giant),
        (5, "4"),
    ]
    text = 'id,title\n1,one\n2,"two\n' + "".join(f"{n},product {n * 7919}\n" for n in range(3, 2000))
    path.write_bytes(gzip.compress(text.encode())[:-3000])
    rows = read(path)
    assert [row.line for row in rows] == list(range(2, len(rows) + 2))
    assert [row.line for row in rows if isinstance(row, Rejected)] == [3, len(rows) + 1]
    assert [row.last for row in rows if isinstance(row, Rejected)] == [False, True]


@pytest.mark.parametrize("line", ['a","b', 'a","b,' + "x" * 1000])
def test_a_file_of_wrong_quotes_is_not_read_once_per_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """Within the quotes of the line before, each of these lines closes them and opens others: no row ever ends."""
    given = 0
    plain = tables._TextLines.__next__

    def counted(lines: tables._TextLines) -> str:
        nonlocal given
        given += 1
        return plain(lines)

    monkeypatch.setattr(tables, "LINE_LIMIT", 1 << 20)
    monkeypatch.setattr(tables._TextLines, "__next__", counted)
    path = shop_of(tmp_path, *[line] * 20_000, "good,Hat,Fenn")
    *rejected, good = tables.DelimitedText(path).rows()
    assert len(rejected) == 20_000
    assert isinstance(good, readers.RawRow)
    assert given < 100 * 20_000


def test_a_row_may_be_long_after_many_that_were_wrong(tmp_path: Path) -> None:
    path = shop_of(
        tmp_path, *['a","b'] * 20_000, *["1,Hat,Fenn"] * 20_000, '2,"' + "long\n" * 9_000 + '",Fenn'
    )
    *_, last = tables.DelimitedText(path).rows()
    assert isinstance(last, readers.RawRow)
    assert (last.line, last.values["title"]) == (40_002, "long\n" * 9_000)


def test_a_last_row_that_was_cut_off_is_a_reject(tmp_path: Path) -> None:
    path = shop_of(tmp_path, "1,Hat", "2,Tie,Fenn")
    cut = "the file ends within this row"
    for end, last in [
        ("3,Bag", (4, None, "read", f"{cut}: 2 values for 3 columns")),
        ("3", (4, None, "read", f"{cut}: 1 values for 3 columns")),
        ("3,Bag,Fe", (4, "3")),
        ("3,Bag\n", (4, "3")),
        ("3,Bag\r\n", (4, "3")),
        ('3,"Bag', (4, None, "read", "not CSV: a quote that is never closed")),
        ("3,Bag\n  ", (4, "3")),
    ]:
        path.write_text("id,title,brand\n1,Hat\n2,Tie,Fenn\n" + end, encoding="utf-8", newline="")
        assert brief(read(path)) == [(2, "1"), (3, "2"), last]


def test_tsv_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\ttitle\n1\tRed, blue\n")
    (tmp_path / "b.csv").write_text("id|title\n1|Red, blue\n")
    for name in ("a.tsv", "b.csv"):
        (product,) = read(tmp_path / name)
        assert (product.id, product.attributes) == ("1", {"title": "Red, blue"})  # type: ignore[union-attr]


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    png = b"\x89PNG\r\n\x1a\n" + bytes(100)
    table = pa.table(
        {
            "sku": [1, 2, 3, None],
            "name": ["a", "b", "c", "d"],
            "picture": [{"bytes": png, "path": "a.png"}, {"bytes": None, "path": "b.png"}, None, None],
            "price": pa.array([Decimal("9.99"), Decimal("1.50"), None, None], pa.decimal128(6, 2)),
            "since": [date(2024, 2, 29), None, None, None],
            "sizes": [[36, 37], [], None, None],
            "score": [1.5, float("nan"), 2.5, 0.0],
        }
    )
    path = tmp_path / "shop.parquet"
    parquet.write_table(table, path)
    catalog = open_catalog(path, Settings())
    assert catalog.mapping == {"id": "sku", "title": "name", "image": "picture"}
    assert catalog.schema.types() == {
        "title": FieldType.VARCHAR,
        "image": FieldType.VARCHAR,
        "price": FieldType.DOUBLE,
        "since": FieldType.VARCHAR,
        "sizes": FieldType.ARRAY_DOUBLE,
        "score": FieldType.DOUBLE,
    }
    first, *others = catalog.products()
    assert isinstance(first, Product)
    assert first.images[0].startswith("data:image/png;base64,iVBORw0KGgo")
    assert first.attributes == {
        "title": "a", "price": 9.99, "since": "2024-02-29", "sizes": [36.0, 37.0], "score": 1.5,
    }  # fmt: skip
    assert brief(others) == [
        (2, "2", "type", "score: nan is not a finite number"),
        (3, "3"),
        (4, None, "map", "no id"),
    ]
    path.write_bytes(path.read_bytes()[:-200])  # the index of a Parquet file is at its end
    with pytest.raises(CatalogError, match="cannot read"):
        open_catalog(path, Settings())


def test_damage_inside_a_parquet_file_ends_it_with_a_reject(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "shop.parquet"
    titles = [f"product {n * 7919}" for n in range(5000)]
    parquet.write_table(pa.table({"id": list(range(5000)), "title": titles}), path, row_group_size=1000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(data)
    *rows, last = read(path)
    assert [row.id for row in rows] == [str(n) for n in range(len(rows))]
    assert 1000 < len(rows) < 5000
    assert isinstance(last, Rejected)
    assert (last.line, last.stage) == (len(rows) + 1, "read")
    assert last.reason.startswith("the file is damaged, nothing after this row was read: ")


def test_a_directory_of_pictures(tmp_path: Path) -> None:
    names = ["red_shirt-01.jpg", "IMG_1234.JPG", "hats/bed.png", "hats/bed.webp", "hats/0a1b2c3d4e5f.png"]
    for name in [*names, ".hidden.jpg", "notes.txt", ".git/x.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    catalog = open_catalog(tmp_path, Settings())
    assert (catalog.kind, catalog.root) == ("directory", tmp_path)
    products = [row for row in catalog.products() if isinstance(row, Product)]
    assert [(p.line, p.id, p.images, dict(p.attributes)) for p in products] == [
        (1, "IMG_1234.JPG", ("IMG_1234.JPG",), {"image": "IMG_1234.JPG"}),
        (
            2,
            "hats/0a1b2c3d4e5f.png",
            ("hats/0a1b2c3d4e5f.png",),
            {"category": "hats", "image": "hats/0a1b2c3d4e5f.png"},
        ),
        (3, "hats/bed.png", ("hats/bed.png",), {"title": "bed", "category": "hats", "image": "hats/bed.png"}),
        (
            4,
            "hats/bed.webp",
            ("hats/bed.webp",),
            {"title": "bed", "category": "hats", "image": "hats/bed.webp"},
        ),
        (
            5,
            "red_shirt-01.jpg",
            ("red_shirt-01.jpg",),
            {"title": "red shirt 01", "image": "red_shirt-01.jpg"},
        ),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "there is no catalog at"),
        ("shop.xlsx", b"PK", "is of no kind that can be read"),
        ("shop.jsonl", b"\n\n", "is empty"),
        ("shop.csv", b"", "is empty"),
        ("shop.csv", b"id,title\n", "holds no rows"),
        ("shop.csv", b"id,title\r1,2\r", "cannot read the header of .*new-line character"),
        ("shop.csv", b"id,title,id\n1,2,3\n", "two columns called 'id'"),
        ("shop.csv", b"id,t\xe9\n1,2\n", "not valid UTF-8"),
        ("shop.csv", "id,title\n1,2\n".encode("utf-16"), "UTF-16; save the file as UTF-8"),
        (
            "shop.csv",
            b"id,title\n1,\xe9\n",
            "the first problem is on line 2: not valid UTF-8; save the file as UTF-8",
        ),
        ("shop.json", b'[{"id": 1},\n {"id": 2}]', "is one JSON array; write one object per line"),
        ("shop.jsonl", b"[\n", "is one JSON array; write one object per line"),
        ("shop.jsonl", b'{\n "id": 1\n}', "the first problem is on line 1: not JSON"),
        (
            "shop.jsonl",
            b'{"colour": "red", "cost": 1}',
            "no column that can be the id; it has colour, cost: say",
        ),
        ("shop.parquet", b"PAR1", "cannot read"),
    ],
)
def test_what_cannot_be_a_catalog_at_all(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogError, match=message) as caught:
        open_catalog(tmp_path / name, Settings())
    assert "\n" not in str(caught.value)


def test_an_empty_directory_is_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="holds no pictures"):
        open_catalog(tmp_path, Settings())


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_blanks_around_an_id_do_not_make_it_another(kind: str, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    ids = ["A17 ", " \u00a0", "A17", "\u3000B-2\t", "C 3"]
    path = tmp_path / f"shop.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.table({"sku": ids, "title": ["t"] * len(ids)}), path)
    elif kind == "csv":
        path.write_text("sku,title\n" + "".join(f"{id},t\n" for id in ids), encoding="utf-8")
    else:
        rows = [{"sku": id, "title": "t"} for id in ids]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    first = 2 if kind == "csv" else 1
    empty = "no id" if kind == "csv" else "the id is empty"
    assert brief(read(path)) == [
        (first, "A17"),
        (first + 1, None, "map", empty),
        (first + 2, "A17", "map", "duplicate id 'A17'"),
        (first + 3, "B-2"),
        (first + 4, "C 3"),
    ]
