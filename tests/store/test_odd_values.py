"""Odd values: each is stored and comes back as it was on every backend, or is refused on all with one reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mm_milvus.records import Row
from mm_milvus.store import Collection, Store

from .conftest import DIM, ids, row, stamp, unit

LONG = 65_535
OK = None  # accepted; anything else is what the reason must say


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def attributes(**values: Any) -> Row:
    return row("odd", **values)


def vector(*values: float) -> Row:
    return row("odd", np.array(values, np.float32))


ODD: dict[str, tuple[Row, str | None]] = {
    # strings
    "empty string": (attributes(title=""), OK),
    "blanks": (attributes(title="  \t "), OK),
    "line ends": (attributes(title="a\r\nb\n"), OK),
    "quotes": (attributes(title="""'"`"""), OK),
    "backslashes": (attributes(title="\\ \\n \\u0041"), OK),
    "chinese": (attributes(title="红色T恤" * 75), OK),
    "emoji": (attributes(title="👩‍👩‍👧‍👦🏳️‍🌈"), OK),
    "combining": (attributes(title="e\u0301"), OK),
    "right to left": (attributes(title="\u202eabc\u202c שלום"), OK),
    "line separators": (attributes(title="a\u2028b\u2029c\x85d"), OK),
    "byte order mark": (attributes(title="\ufeffa"), OK),
    "replacement character": (attributes(title="\ufffd"), OK),
    "noncharacter": (attributes(title="\uffff"), OK),
    "control characters": (attributes(title="\x01\x0b\x1f\x7f"), OK),
    "null word": (attributes(title="null"), OK),
    "json in a string": (attributes(title='{"a": [1, "\\""]}'), OK),
    "percent and braces": (attributes(title="100% {x} $y %s"), OK),
    "html": (attributes(title="<script>alert(1)</script>&amp;"), OK),
    "a long string": (attributes(title="x" * 64_000), OK),
    "NUL": (attributes(title="a\0b"), "title: holds a NUL character"),
    "lone surrogate": (attributes(title="\ud800"), "title: not valid Unicode"),
    "string over the limit": (attributes(title="x" * (LONG + 1)), "65,536 bytes of UTF-8"),
    "chinese over the limit in bytes": (attributes(title="红" * 30_000), "90,000 bytes of UTF-8"),
    "all attributes over the limit": (
        attributes(title="x" * 40_000, other="y" * 40_000),
        "the limit is 65,000",
    ),
    "number for a string": (attributes(title=5), "title: expected varchar, got 5 (int)"),
    "bytes for a string": (attributes(title=b"x"), "title: expected varchar"),
    # numbers
    "zero": (attributes(price=0.0), OK),
    "negative zero": (attributes(price=-0.0), OK),
    "an int for a double": (attributes(price=7), OK),
    "the largest double": (attributes(price=1.7976931348623157e308), OK),
    "the smallest double": (attributes(price=5e-324), OK),
    "tenth": (attributes(price=0.1), OK),
    "NaN": (attributes(price=float("nan")), "price: nan is not a finite number"),
    "infinity": (attributes(price=float("inf")), "price: inf is not a finite number"),
    "string for a double": (attributes(price="9.99"), "price: expected double, got '9.99' (str)"),
    "bool for a double": (attributes(price=True), "price: expected double, got True (bool)"),
    "list for a double": (attributes(price=[1.0]), "price: expected double"),
    "the largest int64": (attributes(stock=2**63 - 1), OK),
    "the smallest int64": (attributes(stock=-(2**63)), OK),
    "int over 2**53": (attributes(stock=2**53 + 1), OK),
    "over int64": (attributes(stock=2**63), "stock: 9223372036854775808 (int) does not fit 64 bits"),
    "double for an int64": (attributes(stock=1.5), "stock: expected int64, got 1.5 (float)"),
    "bool for an int64": (attributes(stock=False), "stock: expected int64"),
    # bools
    "true": (attributes(featured=True), OK),
    "false": (attributes(featured=False), OK),
    "int for a bool": (attributes(featured=1), "featured: expected bool, got 1 (int)"),
    "string for a bool": (attributes(featured="true"), "featured: expected bool"),
    # arrays
    "empty array": (attributes(sizes=[]), OK),
    "array of odd strings": (attributes(sizes=["", "'", '"', "红", "a\nb"]), OK),
    "array of 4,096": (attributes(ratings=[0.5] * 4_096), OK),
    "array over its capacity": (attributes(ratings=[0.5] * 4_097), "4,097 elements, the limit is 4,096"),
    "ints in an array of doubles": (attributes(ratings=[1, 2]), OK),
    "mixed array": (attributes(sizes=["S", 5]), "sizes[1]: expected varchar, got 5 (int)"),
    "null in an array": (attributes(sizes=["S", None]), "sizes[1]: expected varchar, got None"),
    "NaN in an array": (attributes(ratings=[float("nan")]), "ratings[0]: nan is not a finite number"),
    "scalar for an array": (attributes(sizes="S"), "sizes: expected a list of varchar"),
    "nested array": (attributes(sizes=[["S"]]), "sizes[0]: expected varchar"),
    # json and attributes that the schema does not know
    "json object": (attributes(specs={"a": {"b": [1, 2.5, "x", True, None]}}), OK),
    "empty object": (attributes(specs={}), OK),
    "json list": (attributes(specs=[1, "a", {"b": 2}]), OK),
    "json scalar": (attributes(specs="text"), "specs: expected json (an object or a list), got 'text' (str)"),
    "unicode keys": (attributes(specs={"重量": 1, "a b": 2, "quote\"'": 3}), OK),
    "big int in json": (attributes(specs={"n": 2**53 + 1}), OK),
    "int over 64 bits in json": (attributes(specs={"n": 2**70}), "does not fit 64 bits"),
    "NaN in json": (attributes(specs={"n": float("nan")}), "specs: nan is not a finite number"),
    "empty key in json": (attributes(specs={"": 1}), "an attribute name must be a string that is not empty"),
    "deep json": (attributes(specs=nested(40)), OK),
    "too deep json": (attributes(specs=nested(60)), "nested deeper than 50 levels"),
    "unknown attribute": (attributes(**{"never seen": [1, "a"]}), OK),
    "attribute with quotes": (attributes(**{"a\"b'c\\d": 1}), OK),
    "attribute named like a word": (attributes(**{"in": 1, "null": "x", "and": True}), OK),
    "emoji attribute": (attributes(**{"👟": 42}), OK),
    "long attribute name": (attributes(**{"n" * 256: 1}), "the name is longer than 255 bytes"),
    "empty attribute name": (attributes(**{"": 1}), "an attribute name must be a string that is not empty"),
    "control character in a name": (attributes(**{"a\nb": 1}), "contains the control character '\\n'"),
    "None": (attributes(title=None), "title: expected varchar, got None"),
    "None unknown": (attributes(foo=None), "foo: a missing value must be left out"),
    "a set": (attributes(foo={1}), "foo: {1} (set) cannot be stored"),
    # ids
    "long id": (row("i" * 512), OK),
    "chinese id": (row("商品-1"), OK),
    "id with quotes": (row("""a"b'c\\d"""), OK),
    "blank id": (row(" "), OK),
    "empty id": (row(""), "id: empty"),
    "id over the limit": (row("红" * 171), "id: 513 bytes, the limit is 512"),
    "control character in an id": (row("a\tb"), "id: contains the control character '\\t'"),
    "NUL in an id": (row("a\0"), "id: holds a NUL character"),
    # vectors
    "tiny vector": (vector(*([0.0] * (DIM - 1)), 1e-30), OK),
    "large vector": (vector(*([1e15] * DIM)), OK),
    "vector whose square overflows": (vector(*([1e30] * DIM)), OK),
    "zero vector": (vector(*([0.0] * DIM)), "the vector is zero"),
    "NaN vector": (vector(*([float("nan")] * DIM)), "not finite"),
    "infinite vector": (vector(*([1.0] * (DIM - 1)), float("inf")), "not finite"),
    "short vector": (vector(1.0, 0.0), "the shape (2,), expected (8,)"),
}


@pytest.fixture(scope="module")
def odd_collection(store: Store) -> Iterator[Collection]:
    name = f"odd_{id(store)}"
    yield store.create(name, stamp(store))
    store.drop(name)


def test_the_table_is_long_enough() -> None:
    assert len(ODD) >= 60


@pytest.mark.parametrize("case", ODD)
def test_an_odd_value_is_kept_or_refused(odd_collection: Collection, case: str) -> None:
    odd, reason = ODD[case]
    collection = odd_collection
    if reason is not OK:
        ((refused, told),) = collection.write([row("fine", title="fine"), odd])
        assert refused is odd
        assert reason in told
        assert "\n" not in told
        assert ids(collection.get(["fine"])) == ["fine"]  # the others are stored
        collection.delete_ids(["fine"])
        return
    assert collection.write([odd]) == []
    (found,) = collection.get([odd.id])
    assert found.id == odd.id
    assert dict(found.attributes) == dict(odd.attributes)
    stored, _, _ = collection.vectors([odd.id])[odd.id]
    assert stored.tobytes() == odd.fused.tobytes()
    assert [hit.id for hit in collection.search(unit(1), limit=10)].count(odd.id) == 1
