"""Random catalogs against a plain dict, in every format."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mm_milvus.catalog import RejectsFile, open_catalog
from mm_milvus.catalog.seen import SeenIds
from mm_milvus.config import Settings
from mm_milvus.records import Product, Rejected

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
WORDS = TEXT.filter(str.strip)
IDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(str.strip)
VALUES = {
    "flag": st.booleans(),
    "number": st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)),
    "words": TEXT,
    "list": st.lists(TEXT, min_size=1, max_size=3),
    "颜色": st.sampled_from(["红", "blue"]),
    "object": st.fixed_dictionaries({"a": st.lists(st.one_of(st.none(), TEXT), max_size=2)}),
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": IDS, "title": WORDS}, optional={k: st.one_of(st.none(), v) for k, v in VALUES.items()}
    ),
    min_size=1,
    max_size=8,
)
GENTLE = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def products_and_rejects(path: Path) -> tuple[dict[str, Product], list[Rejected]]:
    rows = list(open_catalog(path, Settings()).products())
    rejects = [row for row in rows if isinstance(row, Rejected)]
    return {row.id: row for row in rows if isinstance(row, Product)}, rejects


def expected(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The first row of each id, without what is missing. Blanks around an id do not count."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["id"].strip(), {k: v for k, v in row.items() if k != "id" and v is not None})
    return first


@GENTLE
@given(ROWS, st.booleans())
@example([{"id": "a ", "title": "one"}, {"id": "\u3000a", "title": "two"}], True)
def test_json_lines(rows: list[dict[str, Any]], ascii_only: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.jsonl"
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
        path.write_text(text, encoding="utf-8", newline="")
        products, rejects = products_and_rejects(path)
    assert {name: dict(product.attributes) for name, product in products.items()} == expected(rows)
    assert [reject.reason for reject in rejects] == [
        f"duplicate id {row['id'].strip()!r}"
        for n, row in enumerate(rows)
        if row["id"].strip() in {r["id"].strip() for r in rows[:n]}
    ]


@GENTLE
@given(st.lists(st.tuples(IDS, WORDS, TEXT), min_size=1, max_size=8), st.sampled_from(",;\t|"), st.booleans())
@example([("0", ",", "TRUE"), (";", ", ,", "")], ",", False)
def test_csv(rows: list[tuple[str, str, str]], delimiter: str, quoted: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(
                file, delimiter=delimiter, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
            )
            writer.writerows([("id", "title", "code"), *rows])
        products, rejects = products_and_rejects(path)
    first = expected([{"id": i, "title": t, "code": c if c.strip() else None} for i, t, c in rows])
    assert {name: dict(product.attributes) for name, product in products.items()} == first
    assert len(rejects) == len(rows) - len(first)


@GENTLE
@given(st.binary(max_size=200), st.sampled_from(["jsonl", "csv"]))
def test_no_bytes_crash_the_reader_and_every_good_row_survives(noise: bytes, kind: str) -> None:
    good = b'{"id": "good", "title": "a"}' if kind == "jsonl" else b"good,a"
    header = b"" if kind == "jsonl" else b"id,title\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"shop.{kind}"
        path.write_bytes(header + b'{"id": 1}\n' * (kind == "jsonl") + noise + b"\n" + good + b"\n")
        products, rejects = products_and_rejects(path)
        with RejectsFile(Path(folder) / "rejects.jsonl") as file:
            for reject in rejects:
                file.write(reject)
        assert file.count == len(rejects)
        if rejects:
            lines = (Path(folder) / "rejects.jsonl").read_bytes().decode().removesuffix("\n").split("\n")
            assert [json.loads(line)["line"] for line in lines] == [reject.line for reject in rejects]
    assert products["good"].attributes["title"] == "a"


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=3), max_size=50))
def test_seen_ids_are_a_set(names: list[str]) -> None:
    seen = SeenIds()
    plain: set[str] = set()
    for name in names:
        assert seen.add(name) == (name not in plain)
        plain.add(name)
    assert len(seen) == len(plain)


def test_seen_ids_grow() -> None:
    seen = SeenIds()
    assert all(seen.add(str(n)) for n in range(20_000))
    assert not any(seen.add(str(n)) for n in range(20_000))
    assert len(seen) == 20_000
