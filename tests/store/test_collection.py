"""What a collection promises, on every backend alike."""

from __future__ import annotations

import numpy as np
import pytest

from mm_milvus.config import Settings
from mm_milvus.errors import (
    CollectionNotFound,
    ConfigError,
    FilterError,
    NotSupported,
    StoreError,
    UnknownField,
)
from mm_milvus.records import Field, FieldType, Schema
from mm_milvus.store import Collection, Store
from mm_milvus.store.filters import ids_filter

from .conftest import ids, row, stamp, unit

FULL = {
    "title": "Red shirt",
    "price": 10.0,
    "stock": 3,
    "featured": True,
    "sizes": ["S", "M"],
    "ratings": [4.5, 5.0],
    "specs": {"weight": 1.5, "parts": ["a", None, {"b": 1}]},
    "颜色": "红",
    "net weight": 0.25,
    "surprise": "not in the schema",
}


def test_a_row_comes_back_as_it_went_in(collection: Collection) -> None:
    collection.write([row("a", **FULL), row("b", title="bare")])
    full, bare = collection.get(["a", "b"])
    assert dict(full.attributes) == FULL
    assert list(full.attributes)[:3] == ["title", "price", "stock"]
    assert {name: type(value) for name, value in full.attributes.items()} == {
        name: type(value) for name, value in FULL.items()
    }
    assert dict(bare.attributes) == {"title": "bare"}


def test_an_integer_price_is_a_double_everywhere(collection: Collection) -> None:
    collection.write([row("a", price=10, ratings=[4, 5])])
    (hit,) = collection.get(["a"])
    assert hit.attributes == {"price": 10.0, "ratings": [4.0, 5.0]}
    assert isinstance(hit.attributes["price"], float)
    assert collection.count(collection.parse("price == 10 and price in [9.5, 10]")) == 1


def test_a_null_inside_json_is_a_missing_value(collection: Collection) -> None:
    collection.write([row("a", specs={"weight": None, "kg": 1}), row("b", specs={"weight": 2})])
    assert collection.get(["a"])[0].attributes == {"specs": {"kg": 1}}
    assert collection.count(collection.parse('exists specs["weight"]')) == 1


def test_a_write_replaces_the_whole_row(collection: Collection) -> None:
    collection.write([row("a", **FULL)])
    collection.write([row("a", title="Blue shirt", extra=1)])
    (hit,) = collection.get(["a"])
    assert dict(hit.attributes) == {"title": "Blue shirt", "extra": 1}
    assert collection.count() == 1


def test_search_ranks_by_inner_product(collection: Collection) -> None:
    collection.write(
        [
            row("near", unit(1, 0.1), title="near"),
            row("far", unit(0, 1), title="far"),
            row("opposite", unit(-1), title="opposite"),
        ]
    )
    hits = collection.search(unit(1), limit=10)
    assert ids(hits) == ["near", "far", "opposite"]
    assert [hit.score for hit in hits] == pytest.approx([1 / 1.01**0.5, 0.0, -1.0], abs=1e-6)
    assert hits[0].attributes == {"title": "near"}
    assert ids(collection.search(unit(1), limit=1, offset=1)) == ["far"]
    assert ids(collection.search(unit(1), limit=2, filter=collection.parse('title != "near"'))) == [
        "far",
        "opposite",
    ]
    assert collection.search(unit(1), filter=collection.parse('title == "none"')) == []


def test_search_returns_the_fields_asked_for(collection: Collection) -> None:
    collection.write([row("a", **FULL)])
    (hit,) = collection.search(unit(1), fields=["颜色", "price"])
    assert list(hit.attributes.items()) == [("颜色", "红"), ("price", 10.0)]


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (-1, 0), (1, -1), (16_384, 1)])
def test_an_impossible_window_is_refused(collection: Collection, limit: int, offset: int) -> None:
    with pytest.raises(ConfigError, match="16,384"):
        collection.search(unit(1), limit=limit, offset=offset)


def test_stored_vectors_come_back_bit_for_bit(collection: Collection) -> None:
    vector = np.random.default_rng(1).standard_normal(8).astype(np.float32)
    collection.write([row("a", vector, title="x")])
    found, has_image, has_text = collection.vectors(["a", "missing"])["a"]
    assert found.tobytes() == vector.tobytes()
    assert (has_image, has_text) == (True, True)


def test_hashes_are_the_journal(collection: Collection) -> None:
    collection.write([row("a", title="x")])
    stored = collection.stored(["a", "b", "a"])
    assert list(stored) == ["a"]
    assert (stored["a"].image_hash, stored["a"].text_hash, stored["a"].attributes_hash) == ("i", "t", "a")


HOSTILE = [
    "zzz'] or price >= 0 or id in ['zzz",
    'zzz"] or price >= 0 or id in ["zzz',
    "back\\slash",
    'quote"',
    "it's",
    "百分之百 % _ 😀",
    "a\u2028b",
    "{id}",
    " blanks ",
    "$meta",
]


def test_hostile_ids_touch_no_other_row(collection: Collection) -> None:
    everything = ["innocent", *HOSTILE]
    collection.write([row(id, title=id, price=1.0) for id in everything])
    for id in HOSTILE:
        (hit,) = collection.get([id])
        assert (hit.id, hit.attributes["title"]) == (id, id)
        assert collection.delete(ids_filter([id])) == 1
        assert collection.get([id]) == []
        everything.remove(id)
        assert collection.count() == len(everything)
    assert ids(collection.get(["innocent"])) == ["innocent"]


def test_delete_by_filter_says_how_many(collection: Collection) -> None:
    collection.write([row(str(n), title="x", price=float(n)) for n in range(20)])
    assert collection.delete(collection.parse("price >= 15")) == 5
    assert collection.delete(collection.parse("price >= 15")) == 0
    assert collection.count() == 15


def test_filters_speak_of_our_own_fields_too(collection: Collection) -> None:
    collection.write([row("a", title="Red shirt"), row("b", price=1.0)])
    assert ids(collection.search(unit(1), filter=collection.parse("not has_text"))) == ["b"]
    assert collection.count(collection.parse('id in ["a", "c"]')) == 1


def test_a_bad_filter_never_reaches_milvus(collection: Collection) -> None:
    with pytest.raises(UnknownField, match="pricee.*price"):
        collection.parse("pricee < 5")
    with pytest.raises(FilterError):
        collection.parse("price <")


def test_a_batch_over_the_request_size_is_split(collection: Collection) -> None:
    rows = [row(str(n), title="x" * 60_000) for n in range(300)]  # about 36 MB on the wire
    collection.write(rows)
    assert collection.count() == 300


def test_the_stamp_survives_and_can_change(store: Store, name: str) -> None:
    created = store.create(name, stamp(store))
    again = store.open(name)
    assert again.stamp.describe() == created.stamp.describe()
    assert again.stamp.image_mean.tobytes() == created.stamp.image_mean.tobytes()
    assert again.stamp.schema == created.stamp.schema
    more = Schema((*created.stamp.schema.fields, Field("later", FieldType.INT64, typed=False)))
    store.restamp(name, stamp(store, schema=more))
    changed = store.open(name)
    changed.write([row("a", later=7), row("b", title="x")])
    assert changed.count(changed.parse("later > 6")) == 1


def test_a_partition_key_is_a_column(store: Store, name: str) -> None:
    if not store.capabilities.partition_keys:
        with pytest.raises(NotSupported, match="partition key"):
            stamp(store, partition_key="title")
        return
    keyed = store.create(name, stamp(store, partition_key="title"))
    keyed.write([row(str(n), title=f"brand {n % 3}") for n in range(9)])
    hits = keyed.search(unit(1), filter=keyed.parse('title == "brand 1"'))
    assert sorted(ids(hits)) == ["1", "4", "7"]
    assert keyed.count(keyed.parse('title != "brand 1"')) == 6
    ((_, reason),) = keyed.write([row("x", price=1.0)])
    assert reason == "title: the partition key may not be missing"
    with pytest.raises(ConfigError, match="'price'"):
        stamp(store, partition_key="price")


def test_missing_and_foreign_collections(store: Store, name: str) -> None:
    with pytest.raises(CollectionNotFound, match=name):
        store.open(name)
    with pytest.raises(CollectionNotFound, match=name):
        store.drop(name)
    store._link.client.create_collection(name, dimension=4)
    with pytest.raises(StoreError, match="not made by mm-milvus"):
        store.open(name)


def test_collections_are_listed_and_dropped(store: Store, name: str) -> None:
    store.create(name, stamp(store))
    assert name in store.collections()
    store.drop(name)
    assert name not in store.collections()


def test_the_index_fits_the_backend(collection: Collection, store: Store) -> None:
    index = collection.describe_index()
    expected = "FLAT" if store.capabilities.lite else "HNSW"
    assert (index["index_type"], index["metric_type"]) == (expected, "IP")


def test_capabilities_are_those_that_were_measured(store: Store) -> None:
    can = store.capabilities
    assert can.nullable is can.bm25 is can.hybrid_search is can.insert_replaces is can.lite
    assert not (can.filter_templates or can.float16_vectors or can.order_by)


def test_float16_is_refused_in_words(store: Store, name: str) -> None:
    with pytest.raises(NotSupported, match="no float16 vectors"):
        store.create(name, stamp(store, vector_dtype="float16"))


def test_a_lite_file_opens_again_with_everything(lite_uri: str) -> None:
    settings = Settings(uri=lite_uri)
    with Store(settings, create=True) as first:
        first.create("shop", stamp(first)).write([row("a", **FULL)])
    with Store(settings) as second:
        opened = second.open("shop")
        assert dict(opened.get(["a"])[0].attributes) == FULL
        assert opened.count(opened.parse('颜色 == "红" and `net weight` < 1')) == 1


def test_a_total_is_exact_or_says_that_it_is_not(collection: Collection) -> None:
    collection.write([row(str(n), title="x", price=float(n)) for n in range(1_200)])
    assert collection.total(None) == (1_200, True)
    assert collection.total(collection.parse("price < 1000")) == (1_000, True)
    assert collection.total(collection.parse("price < 5000")) == (
        (1_000, False) if collection.capabilities.lite else (1_200, True)
    )
    collection.flush()  # Milvus Lite has them in a file now
    assert collection.total(collection.parse("price < 5000")) == (1_200, True)
    assert collection.total(collection.parse("price < 1100 and stock is null")) == (1_100, True)
