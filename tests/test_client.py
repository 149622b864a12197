"""The public face: what is refused before anything is opened or loaded, and what a page can do."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mm_milvus import Boost, Client, Crop, F, Facet, Page, Query, Signal, Sort
from mm_milvus.errors import (
    ConfigError,
    EncoderError,
    FilterError,
    MmMilvusError,
    ProductNotFound,
    StampMismatch,
    UnknownField,
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Three products without pictures."""
    folder = tmp_path_factory.mktemp("shop")
    titles = ("red shirt", "blue shirt", "green mug")
    rows = [{"id": str(n), "title": title, "price": float(n)} for n, title in enumerate(titles)]
    catalog = folder / "catalog.jsonl"
    catalog.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Client(folder / "shop.db") as client:
        client.ingest(catalog)
        yield client


def test_a_page_is_a_sequence_of_hits(shop: Client) -> None:
    page = shop.query("red shirt", limit=2)
    assert [hit.id for hit in page] == [page[0].id, page[1].id]
    assert (len(page), page[0].id, page.total) == (2, "0", 3)


def test_fields_choose_what_comes_back(shop: Client) -> None:
    assert dict(shop.query("red shirt", limit=1, fields="title")[0].attributes) == {"title": "red shirt"}
    both = shop.query("red shirt", limit=1, fields=["price", "text"])[0].attributes
    assert dict(both) == {"price": 0.0, "text": "red shirt"}
    assert dict(shop.query("red shirt", limit=1, fields="title, price")[0].attributes) == {
        "title": "red shirt",
        "price": 0.0,
    }
    assert dict(shop.query("red shirt", limit=1, fields=["id"])[0].attributes) == {}  # it is there unasked
    with pytest.raises(UnknownField, match="no attribute 'titel'"):
        shop.query("red shirt", fields=["titel"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "x", "limit": "5"}, "limit must be a whole number, got '5'"),
        ({"text": "x", "limit": 0}, "limit must be at least 1"),
        ({"text": "x", "offset": -1}, "offset at least 0"),
        ({"text": "x", "filter": {"price": 1}}, "filter must be an expression in a string"),
        ({"text": ""}, "text must be a string that is not empty"),
        ({"text": 5}, "text must be a string that is not empty, got 5"),
        ({"id": 1}, "id must be a string that is not empty, got 1"),
        ({"text": ("red", 0)}, "all signals of this query have the weight 0"),
        ({"text": {"red": 1e-50}}, "all signals of this query have the weight 0, or nearly"),
        ({"text": "x", "fields": 5}, "fields are names of attributes, got 5"),
        ({"text": "x", "fields": ["title", 5]}, "fields are names of attributes, got 5"),
        ({"image": "x.jpg", "crop": Crop(0.5, 0, 5.5, 5)}, "a crop is in whole pixels, got Crop"),  # type: ignore[arg-type]
        ({"text": "x", "facets": Facet(["price"])}, "cannot count the values of .'price'.: an attribute has"),  # type: ignore[arg-type]
        ({"text": "x", "sort": Sort(5)}, "cannot sort by 5: an attribute has a name"),  # type: ignore[arg-type]
        ({"text": ("red", 1, 2)}, "a weighted signal is a pair"),
        ({"text": [("red", 1.0), ("red", -1.0)]}, "cancel each other out"),
        ({}, "nothing to search for"),
        ({"image": "x.jpg", "crop": (1, 2, 3)}, "expected x,y,width,height in whole pixels, got '1,2,3'"),
        ({"image": "x.jpg", "crop": "1,2,3,0"}, "width and height must be at least 1"),
        ({"text": "x", "exclude": [5]}, "ids are strings, got 5"),
        ({"text": "x", "group_by": ["price"]}, "group_by is the name of one attribute"),
        ({"text": "x", "crop": (1, 2, 3, 4)}, "crop cuts the query picture; give an image, too"),
        ({"text": "x", "group_size": 3}, "give group_by, too"),
        ({"text": "x", "rerank_size": 10}, "give rerank, too"),
        ({"id": "0", "alpha": 0.8}, "alpha says how .* 'hybrid'; the mode of this query is vector"),
        (
            {"text": "x", "mode": "text", "alpha": 0.8},
            "alpha says how .* 'hybrid'; the mode of this query is text",
        ),
        ({"sort": "price", "combine": "rrf"}, "the mode of this query is none"),
        ({"id": "0", "combine": "rrf"}, "combine says how .* 'hybrid'; the mode of this query is vector"),
        ({"text": "x", "rrf_k": 10}, "rrf_k is the constant of reciprocal ranks; give combine='rrf'"),
        (
            {"text": "x", "combine": "rrf", "rrf_k": 0},
            "rrf_k must be a whole number between 1 and 1,000, got 0",
        ),
        (
            {"text": "x", "combine": "rrf", "rrf_k": 1.5},
            "rrf_k must be a whole number between 1 and 1,000, got 1.5",
        ),
        ({"id": "0", "bridge": 0.5}, "the bridge leads from a picture, or from words alone"),
        (
            {"text": "x", "mode": "text", "bridge": 0.5},
            "the bridge leads from a picture, or from words alone",
        ),
        ({"sort": "price", "bridge": 0.5}, "the bridge leads from a picture, or from words alone"),
    ],
)
def test_a_wrong_argument_is_one_line(shop: Client, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.query(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"facet": "price"}, "unknown option 'facet'; did you mean facets?"),
        ({"groupby": "price"}, "unknown option 'groupby'; did you mean group_by?"),
        ({"like": ["0"]}, "unknown option 'like'; use recommend()"),
        ({"unlike": "0"}, "unknown option 'unlike'; use recommend()"),
        ({"imge": "x.jpg"}, "unknown option 'imge'; did you mean image or bridge?"),
        ({"zzz": 1}, "unknown option 'zzz'; there are filter, limit, offset,"),
    ],
)
def test_an_unknown_option_names_those_it_is_like(
    shop: Client, arguments: dict[str, Any], message: str
) -> None:
    def refused(error: pytest.ExceptionInfo[ConfigError]) -> bool:
        return str(error.value).startswith(message) and "\n" not in str(error.value)

    with pytest.raises(ConfigError) as caught:
        shop.query("red", **arguments)
    assert refused(caught)
    if "like" in arguments or "unlike" in arguments:
        return
    with pytest.raises(ConfigError) as caught:
        shop.recommend("0", **arguments)
    assert refused(caught)
    with pytest.raises(ConfigError) as caught:
        shop.similar("0", **arguments)
    assert refused(caught)


RED = Signal("text", "red shirt")


@pytest.mark.parametrize(
    ("odd", "options"),
    [
        (Query(RED), {}),  # type: ignore[arg-type]
        (Query([RED]), {}),  # type: ignore[arg-type]
        (Query(signal for signal in (RED,)), {}),  # type: ignore[arg-type]
        (Query((RED,), sort=None, boosts=None, facets=None, exclude=None), {}),  # type: ignore[arg-type]
        (
            Query((RED,), boosts=Boost("price", "add"), sort="-price"),  # type: ignore[arg-type]
            {"boosts": "add:price", "sort": "-price"},
        ),
        (Query((RED,), facets=["price"], fields="title, id"), {"facets": "price", "fields": ["title"]}),  # type: ignore[arg-type]
        (Query((RED,), exclude="0", limit=np.int64(2)), {"exclude": ["0"], "limit": 2}),  # type: ignore[arg-type]
        (
            Query((replace(RED, weight=np.float32(0.5)),), alpha=np.float32(0.25), min_score=np.float64(0.1)),
            {"alpha": 0.25, "min_score": 0.1},
        ),
        (
            Query(
                (RED,),
                boosts=(Boost("price", "add", np.float32(0.5)),),
                facets=(Facet("price", np.int64(1)), Facet("price", bounds=np.array([1, 2]))),  # type: ignore[arg-type]
            ),
            {"boosts": "add:price=0.5", "facets": [Facet("price", 1), "price=1,2"]},
        ),
        (Query(None, sort="price"), {"text": None, "sort": "price"}),  # type: ignore[arg-type]
    ],
)
def test_a_query_may_be_written_as_the_options_are(shop: Client, odd: Query, options: dict[str, Any]) -> None:
    expected = shop.query(**{"text": "red shirt", **options})
    found = shop.search(odd)
    json.dumps(found.to_dict())
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-6)
    unscored = [[replace(hit, score=0.0) for hit in page] for page in (found, expected)]
    assert unscored[0] == unscored[1]
    assert (found.total, found.facets, found.limit) == (expected.total, expected.facets, expected.limit)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query((replace(RED, crop=Crop(0, 0, 5, 5)),)), "crop cuts a query picture, .* of the kind 'text'"),
        (Query((RED,), group_by=3), "group_by is the name of one attribute, got 3"),  # type: ignore[arg-type]
        (Query(None), "nothing to search for"),  # type: ignore[arg-type]
        (Query((Signal("image", "x.jpg", crop=(0, 0, 5)),)), "expected x,y,width,height in whole pixels"),  # type: ignore[arg-type]
        (Query((RED,), facets=5), "a facet is a Facet, got 5"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_field_of_a_query_is_one_line(shop: Client, query: Query, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.search(query)


def test_the_crop_of_a_signal_may_be_written_as_the_option_is(shop: Client) -> None:
    picture = Image.new("RGB", (64, 64), "red")
    pages = [
        shop.search(Query((Signal("image", picture, crop=crop),)))  # type: ignore[arg-type]
        for crop in (Crop(0, 0, 10, 10), (0, 0, 10, 10), "0,0,10,10", np.array([0, 0, 10, 10]))
    ]
    assert all(page.hits == pages[0].hits for page in pages)


def test_recommendations_have_names_of_their_own_for_ids(shop: Client) -> None:
    with pytest.raises(ConfigError, match="^recommend takes ids as like and unlike$"):
        shop.recommend("0", id="1")  # type: ignore[call-arg]


def test_an_unknown_option_of_an_ingest_names_those_it_is_like(shop: Client, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "a", "title": "b"}\n', encoding="utf-8")
    for call in (shop.ingest, shop.preview, shop.verify):
        with pytest.raises(ConfigError, match=r"^unknown option 'maping'; did you mean mapping\?$"):
            call(tmp_path / "c.jsonl", maping={})  # type: ignore[operator]
        with pytest.raises(ConfigError, match=r"setting of the client: Client\(config=Settings\(encoder"):
            call(tmp_path / "c.jsonl", encoder="offline")  # type: ignore[operator]


def test_options_may_be_written_as_on_the_command_line(shop: Client) -> None:
    page = shop.query("shirt", facets="price=1,2", sort="-price", boosts="recency:price=30", explain=True)
    assert [hit.id for hit in page] == ["2", "1", "0"]
    assert page.facets[0].ranges == ((None, 1.0, 1), (1.0, 2.0, 1), (2.0, None, 1))
    several = shop.query("shirt", facets=["title", "price=2"], sort=["price"], boosts=["first:price"])
    assert [facet.field for facet in several.facets] == ["title", "price"]
    assert [hit.id for hit in shop.query("red shirt", boosts="first:price")][-1] == "0"
    assert shop.query("shirt", facets=None, sort=None, boosts=None).total == 3
    for arguments, message in (
        ({"facets": "price=a"}, "expected FIELD or FIELD=NUMBER,NUMBER,..., got 'price=a'"),
        ({"sort": "-"}, "expected the name of an attribute"),
        ({"boosts": "fist:price"}, "expected multiply, add, recency, first, then :FIELD"),
    ):
        with pytest.raises(ConfigError, match=message):
            shop.query("shirt", **arguments)  # type: ignore[arg-type]


def test_options_that_decide_something_are_taken(shop: Client) -> None:
    assert shop.query("red", alpha=0.8, bridge=0.5).hits
    assert shop.query("red", combine="rrf", alpha=0.5).hits
    assert shop.query(id="0", bridge=0, alpha=0.5).hits  # as they are without them
    assert shop.recommend("0", half_life=14, times={}).hits
    with pytest.raises(ConfigError, match="half_life .* give times, too"):
        shop.recommend("0", half_life=14)


def test_a_tuple_is_a_pair_where_a_number_ends_it_else_a_list(shop: Client) -> None:
    def scores(page: Page) -> dict[str, float]:
        return {hit.id: round(hit.score, 5) for hit in page}

    for several in (
        ("red", "mug"),
        ["red", "mug"],
        deque(["red", "mug"]),
        (("red", 1.0), ("mug", np.int64(1))),
    ):
        assert scores(shop.query(several)) == scores(shop.query({"red": 1.0, "mug": 1.0}))
    assert scores(shop.query(("red", np.float32(0.5)))) == scores(shop.query("red"))
    assert scores(shop.query(id=("0", "1"))) == scores(shop.query(id=["0", "1"]))
    liked = scores(shop.recommend({"0": 7}, unlike={"1": 0.25}))
    for unlike in (("1", 0.25), [("1", 0.25)], (("1", np.float32(0.25)),)):
        assert scores(shop.recommend(("0", 7), unlike)) == liked
    both = scores(shop.recommend(["0", "1"]))
    for like in (
        ("0", "1"),
        {"0", "1"},
        dict.fromkeys("01").keys(),
        np.array(["0", "1"]),
        {"0": None, "1": 1},
    ):
        assert scores(shop.recommend(like)) == both  # type: ignore[arg-type]
    for bad in (("red", 1, 2), {"red": "blue"}):
        with pytest.raises(ConfigError, match="a weighted signal is a pair"):
            shop.query(bad)  # type: ignore[arg-type]


def test_dislikes_alone_recommend_nothing(shop: Client) -> None:
    for like in (["gone"], {"gone": 1.0, "gone too": 2.0}):
        with pytest.raises(ProductNotFound, match="'gone'"):
            shop.recommend(like, unlike=["1"], skip_missing=True)  # type: ignore[arg-type]
    expected = [hit.id for hit in shop.recommend("0", unlike="1")]
    assert (
        [hit.id for hit in shop.recommend(["gone", "0"], ["1", "gone"], skip_missing=True)]
        == expected
        == ["2"]
    )
    long_ago = {"gone": "2026-11-20", "0": "1990-01-01"}  # the newest of those that are there counts in full
    assert shop.recommend(["gone", "0"], times=long_ago, half_life=1, skip_missing=True).hits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"facets": "prise"}, "cannot count the values of 'prise': 'products' has no such attribute"),
        ({"sort": "-Prices"}, "cannot sort by 'Prices': 'products' has no such attribute"),
        ({"group_by": "pric"}, "cannot group by 'pric': 'products' has no such attribute"),
        ({"boosts": "multiply:rpice"}, "cannot boost by 'rpice': 'products' has no such attribute"),
        ({"fields": "pirce"}, "'products' has no attribute 'pirce'"),
    ],
)
def test_a_misspelt_attribute_is_told_its_name(shop: Client, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MmMilvusError) as caught:
        shop.query("red", **options)
    assert str(caught.value) == f"{message}; did you mean 'price'?"


def test_an_attribute_like_no_other_is_told_all_of_them(shop: Client) -> None:
    with pytest.raises(UnknownField, match="no such attribute; it has title, price$"):
        shop.query("red", facets="xyz")


@pytest.mark.parametrize("bounds", [5, "50,100", None])
def test_bounds_of_a_facet_are_a_list(bounds: Any) -> None:
    with pytest.raises(ConfigError, match="the bounds of a facet are a list of numbers, not "):
        Facet("price", bounds=bounds)


def test_what_no_client_can_be_made_of_is_one_line() -> None:
    wrong: Any = 5
    with pytest.raises(
        ConfigError, match="^uri is the path of an embedded database or the URL of a server, not 5$"
    ):
        Client(wrong)
    with pytest.raises(ConfigError, match="^config is the path of a settings file, or Settings, not 5$"):
        Client(config=wrong)
    with pytest.raises(ConfigError, match="bad value for 'collection' in Settings"):
        Client(collection=wrong)


def test_a_search_takes_a_query(shop: Client) -> None:
    with pytest.raises(ConfigError, match=r"a Query is answered by search\(\); query\(\) takes words"):
        shop.query(Query((Signal("text", "red"),)))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"search\(\) takes a Query, got 'red'; query\(\) takes words"):
        shop.search("red")  # type: ignore[arg-type]


def test_count(shop: Client) -> None:
    assert (shop.count(), shop.count("price >= 1"), shop.count("price > 9")) == (3, 2, 0)
    assert shop.count("") == shop.count(" ") == shop.query("red", filter=" ").total == 3
    with pytest.raises(FilterError, match="the filter is empty"):
        shop.delete(filter=" ")


def test_a_flag_is_a_filter_as_it_stands(shop: Client) -> None:
    assert (shop.count(F.has_text), shop.count(~F.has_text), shop.count(F.has_text & (F.price < 1))) == (
        3,
        0,
        1,
    )
    assert shop.query("red shirt", filter=F.has_text, limit=1).total == 3
    assert shop.delete(filter=F.has_image) == 0
    with pytest.raises(FilterError, match="^price is a double and needs a comparison, like price > 0$"):
        shop.count(F.price)


def test_ids_are_strings(shop: Client) -> None:
    with pytest.raises(ConfigError, match="ids are strings, got 3"):
        shop.get(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ids are strings, got 3"):
        shop.delete(["0", 3])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="either ids or a filter"):
        shop.delete()
    with pytest.raises(ProductNotFound, match="'nosuch'"):
        shop.query(id="nosuch")


def test_another_encoder_is_refused_before_it_is_loaded(shop: Client) -> None:
    other = Client(config=shop.settings.replace(encoder="google/siglip2-base-patch16-224"))
    with other, pytest.raises(StampMismatch, match="offline@.*google/siglip2-base-patch16-224"):
        other.query("red")


def test_a_misspelt_encoder_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text('{"id": "a", "title": "b"}', encoding="utf-8")
    misspelt = pytest.raises(EncoderError, match="'offlin'; did you mean 'offline'")
    with Client(tmp_path / "shop.db", encoder="offlin") as shop, misspelt:
        shop.ingest(catalog)


def test_a_dry_run_stores_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "a", "title": "b"}\n')
    with Client(tmp_path / "x.db") as shop, pytest.raises(ConfigError, match=r"preview\(\)"):
        shop.ingest(tmp_path / "c.jsonl", dry_run=True)
    assert not (tmp_path / "x.db").exists()


def test_a_closed_client_stays_closed(tmp_path: Path) -> None:
    (tmp_path / "catalog.jsonl").write_text('{"id": "a", "title": "red"}', encoding="utf-8")
    shop = Client(tmp_path / "shop.db")
    with shop:
        shop.ingest(tmp_path / "catalog.jsonl")
        with pytest.raises(ConfigError, match="entered already"), shop:
            pass
        assert shop.count() == 1
    calls: tuple[Callable[[], object], ...] = (
        lambda: shop.query("red"),
        lambda: shop.get("a"),
        shop.count,
        shop.info,
        shop.collections,
        lambda: shop.ingest(tmp_path / "catalog.jsonl"),
        lambda: shop.preview(tmp_path / "catalog.jsonl"),
        shop.__enter__,
    )
    for call in calls:
        with pytest.raises(ConfigError, match=r"^this client is closed; make another one$"):
            call()
    shop.close()  # again does no harm


def test_an_attribute_called_score_can_be_sorted_by(tmp_path: Path) -> None:
    rows = [
        {"id": id, "title": f"{id} mug", "score": score}
        for id, score in (("red", 2), ("blue", 9), ("old", 5))
    ]
    (tmp_path / "catalog.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with Client(tmp_path / "shop.db") as shop:
        shop.ingest(tmp_path / "catalog.jsonl")
        for signals in ({}, {"text": "red mug"}):
            assert [hit.id for hit in shop.query(sort="-score", **signals)] == ["blue", "old", "red"]
        assert [hit.id for hit in shop.query(sort="score", filter="score > 2")] == ["old", "blue"]
        assert shop.query("red mug")[0].id == "red"
