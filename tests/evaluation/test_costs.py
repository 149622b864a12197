"""What a variant costs: bytes of vectors and of tokens, and the time of encoding, which no cache shortens."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from mm_milvus import Client, Query
from mm_milvus.evaluation import Question, evaluate
from mm_milvus.evaluation.costs import MOST_ENCODED, EncodeTimes
from mm_milvus.evaluation.records import Answer
from mm_milvus.evaluation.run import opened
from mm_milvus.evaluation.variants import parse_variant
from mm_milvus.late import make_tokens
from mm_milvus.records import Signal

from ..encoders import tiny_models
from ..late import shops

WORDS = " ".join(f"word{n} blue green" for n in range(100))


def asked(*signals: Signal, filter: str | None = None) -> Question:
    return Question("q", signals, {"mug-red-1": 1}, filter)


def encode_ms(shop: Client, variant: str, *questions: Question) -> float | None:
    with opened([parse_variant(variant)], shop) as [pair]:
        return EncodeTimes().median(pair, questions, [Answer(("x",))] * len(questions))


def test_encoding_is_timed_though_the_vectors_are_known(shop: Client) -> None:
    """A text of hundreds of words takes as long as the first time, and much longer than one word."""
    shop.search(Query((Signal("text", WORDS),)))
    started = time.perf_counter()
    shop.search(Query((Signal("text", WORDS),)))
    known = (time.perf_counter() - started) * 1000
    long, short = (encode_ms(shop, "vector", asked(Signal("text", words))) for words in (WORDS, "red"))
    assert long is not None and short is not None
    assert long > 5 * short
    assert long > known / 2  # of which it was no part


def test_what_is_encoded_is_what_the_variant_asks_with(shop: Client, demo: Path) -> None:
    picture = Signal("image", str(demo / "images" / "mug-red-1.jpg"))
    words, product = Signal("text", "red"), Signal("id", "mug-red-1")
    assert encode_ms(shop, "text", asked(words)) is None
    assert encode_ms(shop, "default", asked(product)) is None
    alone, mixed = encode_ms(shop, "default", asked(words)), encode_ms(shop, "default", asked(picture, words))
    assert alone is not None and mixed is not None
    assert mixed > alone
    with opened([parse_variant("default")], shop) as [pair]:
        refused = [Answer(problem=ValueError("no"))]
        assert EncodeTimes().median(pair, [asked(words)], refused) is None


def test_fifty_queries_are_enough_and_variants_of_one_encoder_share_them(
    shop: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [asked(Signal("text", f"mug {n}")) for n in range(MOST_ENCODED + 5)]
    times = EncodeTimes()
    with opened([parse_variant("vector"), parse_variant("hybrid")], shop) as pairs:
        first = times.median(pairs[0], many, [Answer(("x",))] * len(many))
        assert len(times._known) == MOST_ENCODED
        assert times.median(pairs[1], many, [Answer(("x",))] * len(many)) == first
        assert len(times._known) == MOST_ENCODED


def test_token_vectors_belong_to_the_size(tmp_path: Path) -> None:
    encoder = f"towers:{tiny_models.vit(tmp_path / 'vit')}+{tiny_models.bert(tmp_path / 'bert')}"
    settings = shops.ingested(tmp_path, encoder)
    shops.projection(encoder).save(tmp_path / "v1")
    make_tokens(tmp_path / "v1", settings)
    [build] = (tmp_path / "shop.db.tokens" / "products").glob("*/")
    tokens = sum(file.stat().st_size for file in build.glob("*.bin"))
    assert tokens > 0
    question = Question("q", (Signal("text", "green tea"),), {"tea": 1})
    with Client(config=settings) as shop:
        compare = ["vector", "rerank=late-interaction", "rerank=late-interaction;text"]
        found = evaluate(shop, [question], metrics=["MRR"], compare=compare)
        dense = 6 * shop.info().stamp["dim"] * 4
    assert [variant.index_bytes for variant in found.variants] == [dense, dense + tokens, tokens]
    assert all(variant.encode_ms is not None for variant in found.variants)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_number_has_the_bytes_of_the_collections_own(
    shop: Client, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Nothing installable here stores either; the stamp of an open collection says what it is made of."""
    collection = shop._open()
    monkeypatch.setattr(collection, "stamp", replace(collection.stamp, vector_dtype=dtype))
    monkeypatch.setattr(collection._packer, "query_vector", lambda vector: vector)
    found = evaluate(shop, [asked(Signal("text", "red mug"))], metrics=["MRR"])
    assert found.baseline.index_bytes == 86 * 672 * 2
