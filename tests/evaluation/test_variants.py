"""What a variant's text means, and which query it makes of a question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mm_milvus import Client
from mm_milvus.errors import CollectionNotFound, ConfigError
from mm_milvus.evaluation import Question, Variant, evaluate, parse_variant
from mm_milvus.records import Signal

WORDS = Question("1", (Signal("text", "red"),), {"a": 1}, "price < 9")
PICTURE = Question("2", (Signal("image", "a.png"),), {"a": 1})
MIXED = Question("3", (Signal("image", "a.png"), Signal("text", "red"), Signal("text", "long")), {"a": 1})
AWAY = Question("4", (Signal("image", "a.png"), Signal("text", "red", -0.4)), {"a": 1})


def query(text: str, question: Question) -> dict[str, Any]:
    """The fields of the query that differ from its defaults, and its signals as (kind, weight)."""
    asked = parse_variant(text).query(question, 20)
    assert (asked.limit, asked.filter) == (20, question.filter)
    told: dict[str, Any] = {"signals": [(s.kind, s.weight) for s in asked.signals]}
    return told | {
        name: value
        for name, value, default in (
            ("mode", asked.mode, "auto"),
            ("alpha", asked.alpha, 0.5),
            ("combine", asked.combine, "weighted"),
            ("rrf_k", asked.rrf_k, 60),
            ("composition", asked.composition, "sum"),
            ("bridge", asked.bridge, None),
        )
        if value != default
    }


def test_modes() -> None:
    words = [("text", None)]
    assert query("default", WORDS) == {"signals": words}
    assert query("vector", WORDS) == {"signals": words, "mode": "vector"}
    assert query("text", WORDS) == {"signals": words, "mode": "text"}
    assert query("hybrid", WORDS) == {"signals": words, "mode": "hybrid"}
    assert query("hybrid:rrf;rrf_k=20", WORDS) == {
        "signals": words, "mode": "hybrid", "combine": "rrf", "rrf_k": 20,
    }  # fmt: skip
    assert query("hybrid:rrf;rrf_k=20", PICTURE) == {"signals": [("image", None)], "mode": "vector"}
    assert query("hybrid:rrf", WORDS) == {"signals": words, "mode": "hybrid", "combine": "rrf"}
    assert query("alpha=.3", WORDS) == {"signals": words, "alpha": 0.3}
    assert query("blocks", WORDS) == {"signals": words}


def test_modes_of_questions_that_are_not_words_alone() -> None:
    assert query("hybrid", PICTURE) == {"signals": [("image", None)], "mode": "vector"}
    assert query("text", MIXED) == {"signals": [("text", None), ("text", None)], "mode": "text"}
    with pytest.raises(ConfigError, match="needs a text"):
        query("text", PICTURE)
    with pytest.raises(ConfigError, match="needs a text"):
        query("text", AWAY)


def test_weights_are_those_of_mixtures_and_shared_by_their_kind() -> None:
    weighted = "image=.7;text=.3"
    assert query(weighted, MIXED) == {"signals": [("image", 0.7), ("text", 0.15), ("text", 0.15)]}
    assert query(weighted, WORDS) == {"signals": [("text", None)]}
    assert query(weighted, AWAY) == {"signals": [("image", 0.7), ("text", -0.4)]}


def test_parts_add_up() -> None:
    assert query("vector; bridge=0 ;composition=product;image=1", MIXED) == {
        "signals": [("image", 1.0), ("text", None), ("text", None)],
        "mode": "vector",
        "bridge": 0.0,
        "composition": "product",
    }
    assert parse_variant("collection=clip;vector").collection == "clip"
    assert parse_variant("sum").fusion == "sum"


@pytest.mark.parametrize(
    "text", ["", ";", "vektor", "text:rrf", "hybrid:best", "colour=1", "vector;;text", "vector=1"]
)
def test_what_is_no_variant_is_told_with_all_that_there_are(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        parse_variant(text)
    for key in (
        "hybrid:rrf",
        "alpha=",
        "rrf_k=",
        "bridge=",
        "composition=",
        "rerank=",
        "rerank_size=",
        "heads/NAME",
    ):
        assert key in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((f"alpha={value}", "alpha is a number from 0 to 1, got") for value in ("2", "3", "x", "", "nan")),
        ("bridge=-1", "bridge is a number from 0 to 1, got '-1'"),
        *(
            (f"image={value}", "image is a weight, which is a number of at least 0")
            for value in ("-1", "inf")
        ),
        *(
            (f"rrf_k={value}", "rrf_k is a whole number from 1 to 1,000, got")
            for value in ("0", "1.5", "1001")
        ),
        ("rerank_size=0", "rerank_size is a whole number from 1 to 1,000, got '0'"),
        ("rerank=foo", "rerank is late-interaction, got 'foo'"),
        ("composition=mean", "composition is sum, product or slerp, got 'mean'"),
        ("collection=", "collection is the name of a collection, got ''"),
    ],
)
def test_a_bad_value_is_told_with_those_that_there_are(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_variant(text)


def test_the_products_that_are_compared_again_are_counted() -> None:
    asked = parse_variant("rerank=late-interaction;rerank_size=10").query(WORDS, 20)
    assert (asked.rerank, asked.rerank_size) == ("late-interaction", 10)


QUESTIONS = [
    Question("1", (Signal("text", "red running shoes"),), {"runners-red-1": 2, "runners-red-2": 1}),
    Question("2", (Signal("text", "a place to sit"),), {"chair-red-1": 1, "chair-grey-1": 1}),
]


def test_a_fusion_that_is_the_collections_own_is_the_collection(shop: Client) -> None:
    found = evaluate(shop, QUESTIONS, compare=["default", "blocks"], metrics=["AP"])
    assert [variant.collection for variant in found.variants] == ["products", "products"]
    assert found.variants[1].scores["AP"].difference == 0


def test_another_collection_answers_with_its_own_vectors(demo: Path, tmp_path: Path) -> None:
    """The other one lacks the chairs."""
    lines = (demo / "catalog.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    half = demo / "half.jsonl"  # beside the pictures
    half.write_text("".join(line for line in lines if '"chair-' not in line), encoding="utf-8")
    uri = tmp_path / "both.db"
    with Client(uri) as shop, Client(uri, collection="half") as other:
        shop.ingest(demo / "catalog.jsonl")
        other.ingest(half)
        both = evaluate(
            shop,
            QUESTIONS,
            compare=["default", "collection=half", "vector;collection=half"],
            metrics=["R@10"],
        )
        with pytest.raises(CollectionNotFound):
            evaluate(shop, QUESTIONS, compare=["collection=third"])
        assert shop.query("red").hits  # still open
    whole, halved, vector = both.variants
    assert (whole.collection, halved.collection, vector.collection) == ("products", "half", "half")
    assert (whole.products, halved.products) == (86, 81)
    assert (whole.index_bytes, halved.index_bytes) == (86 * 672 * 4, 81 * 672 * 4)
    assert [judged.values["default"]["R@10"] for judged in both.queries] == [1.0, 1.0]
    assert [judged.values["collection=half"]["R@10"] for judged in both.queries] == [1.0, 0.0]


def test_a_variant_can_be_made_in_python(shop: Client) -> None:
    picky = Variant("nearest", {"mode": "vector", "min_score": 0.99})
    found = evaluate(shop, QUESTIONS, compare=[picky], metrics=["MRR"])
    assert found.baseline.name == "nearest"
    assert found.baseline.scores["MRR"].value == 0.0


def test_an_option_that_says_nothing_to_a_question_is_none() -> None:
    assert query("hybrid:rrf", PICTURE) == {"signals": [("image", None)], "mode": "vector"}
    assert query("alpha=.3", PICTURE) == {"signals": [("image", None)]}
    product = Question("5", (Signal("id", "a"),), {"b": 1})
    assert query("bridge=0.5", product) == {"signals": [("id", None)]}
    assert query("bridge=0.5", PICTURE) == {"signals": [("image", None)], "bridge": 0.5}


@pytest.mark.parametrize(
    ("text", "suited"),
    [
        ("default", (WORDS, PICTURE, MIXED)),
        ("hybrid", (WORDS, PICTURE, MIXED)),
        ("composition=product", (MIXED,)),
        ("composition=slerp;vector", (MIXED,)),
        ("composition=sum", (WORDS, PICTURE, MIXED)),
        ("alpha=.3", (WORDS,)),
        ("hybrid:rrf", (WORDS, MIXED)),
        ("bridge=0", (WORDS, PICTURE, MIXED)),
        ("image=.7;text=.3", (MIXED,)),
        ("text", (WORDS, PICTURE, MIXED)),  # it cannot answer a picture, which is another matter
    ],
)
def test_what_a_variant_says_something_to(text: str, suited: tuple[Question, ...]) -> None:
    variant = parse_variant(text)
    assert [variant.suits(question) for question in (WORDS, PICTURE, MIXED)] == [
        question in suited for question in (WORDS, PICTURE, MIXED)
    ]


def test_where_a_composition_says_nothing_the_question_is_asked_without_it() -> None:
    assert query("composition=product", WORDS) == query("default", WORDS)
    assert query("composition=product;vector", WORDS) == query("vector", WORDS)
    assert query("composition=product", PICTURE) == query("default", PICTURE)
    assert query(
        "composition=slerp", Question("6", (Signal("id", "a"), Signal("text", "red")), {"b": 1})
    ) == {"signals": [("id", None), ("text", None)]}
    assert query("composition=product", MIXED)["composition"] == "product"


def test_two_fusions_are_no_variant() -> None:
    with pytest.raises(ConfigError, match="names two fusions"):
        parse_variant("heads/a;heads/b")
