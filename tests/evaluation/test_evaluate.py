"""An evaluation on a real collection: means, differences, slices, what is left out and what counts as nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mm_milvus import Client
from mm_milvus.errors import ConfigError
from mm_milvus.evaluation import Evaluation, Question, evaluate, load_queries
from mm_milvus.evaluation.measures import parse_metrics, values_of
from mm_milvus.records import Signal
from mm_milvus.training.significance import paired_p

COLORS = ("red", "blue", "green", "black", "white", "yellow")


def by_title(demo: Path) -> list[Question]:
    """Every product is asked for by its title."""
    rows = [json.loads(line) for line in (demo / "catalog.jsonl").read_text(encoding="utf-8").splitlines()]
    return [Question(row["id"], (Signal("text", row["title"]),), {row["id"]: 1}) for row in rows]


def text(
    qid: str, words: str, *relevant: str, filter: str | None = None, labels: tuple[str, ...] = ()
) -> Question:
    return Question(qid, (Signal("text", words),), dict.fromkeys(relevant, 1), filter, labels)


@pytest.fixture(scope="module")
def mixed(demo: Path) -> list[Question]:
    picture = Signal("image", str(demo / "images" / "runners-white-1.jpg"))
    return [
        text("words", "red running shoes", "runners-red-1", "runners-red-2", labels=("head",)),
        text("cheap", "shoes", "sneakers-red-1", filter="price < 100"),
        Question("picture", (picture,), {"runners-white-1": 1}),
        Question("both", (picture, Signal("text", "red")), {"runners-red-1": 1, "nowhere": 1}),
        Question("like", (Signal("id", "teapot-blue-1"),), {"teapot-red-1": 1}, None, ("head",)),
    ]


@pytest.fixture(scope="module")
def found(shop: Client, mixed: list[Question]) -> Evaluation:
    return evaluate(shop, mixed, metrics=["nDCG@10", "MRR"], compare=["hybrid", "vector", "text"])


def test_values_are_those_of_the_pages(shop: Client, demo: Path) -> None:
    asked = by_title(demo)
    found = evaluate(shop, asked, metrics=["MRR", "R@5"], compare=["default", "text"])
    pages = [[hit.id for hit in shop.query(q.signals[0].value, limit=100)] for q in asked]
    values = values_of(parse_metrics(["MRR", "R@5"]), asked, pages)
    for metric in ("MRR", "R@5"):
        assert found.baseline.scores[metric].value == pytest.approx(sum(values[metric]) / len(asked))
        assert [judged.values["default"][metric] for judged in found.queries] == values[metric]
    assert found.baseline.scores["MRR"].value > 0.9
    assert [list(judged.found["default"]) for judged in found.queries] == pages


def test_differences_are_to_the_first_variant(found: Evaluation) -> None:
    assert found.baseline.name == "hybrid"
    own = [judged.values["hybrid"]["MRR"] for judged in found.queries]
    for variant in found.variants[1:]:
        values = [judged.values[variant.name]["MRR"] for judged in found.queries]
        score = variant.scores["MRR"]
        assert score.difference == pytest.approx(sum(values) / 5 - sum(own) / 5)
        assert score.p == paired_p(values, own)
        assert score.p_holm is not None and score.p <= score.p_holm <= 1
    assert (found.baseline.scores["MRR"].difference, found.baseline.scores["MRR"].p) == (None, None)


def test_what_a_variant_cannot_answer_counts_as_nothing_and_is_told(found: Evaluation) -> None:
    by_words = found.variants[2]
    assert by_words.unanswered == 2
    assert by_words.problem is not None and "needs a text" in by_words.problem
    unanswered = [judged for judged in found.queries if judged.question.kind in ("image", "id")]
    assert [judged.values["text"] for judged in unanswered] == [{"nDCG@10": 0.0, "MRR": 0.0}] * 2
    assert all(judged.found["text"] == () for judged in unanswered)
    assert len(found.queries) == 5 and found.rejected == ()


def test_slices(found: Evaluation) -> None:
    slices = {part.name: part for part in found.slices}
    assert {name: part.queries for name, part in slices.items()} == {
        "text": 2, "image": 1, "id": 1, "composed": 1, "filtered": 1, "slice head": 2,
    }  # fmt: skip
    assert list(slices) == ["text", "image", "id", "composed", "filtered", "slice head"]
    by_id = {judged.question.qid: judged.values for judged in found.queries}
    expected = (by_id["words"]["vector"]["MRR"] + by_id["like"]["vector"]["MRR"]) / 2
    assert slices["slice head"].values["vector"]["MRR"] == pytest.approx(expected)


def test_costs(found: Evaluation) -> None:
    for variant in found.variants:
        assert variant.median_ms is not None and variant.p95_ms is not None
        assert 0 < variant.median_ms <= variant.p95_ms < 10_000
        assert variant.times_of == "collection"
    hybrid, vector, text = found.variants
    assert hybrid.index_bytes == vector.index_bytes == 86 * 672 * 4
    assert hybrid.encode_ms is not None and hybrid.encode_ms == vector.encode_ms
    assert (text.index_bytes, text.encode_ms) == (0, None)  # by letter no vector is made or compared


def test_relevant_products_that_are_not_stored_are_told(found: Evaluation) -> None:
    assert found.missing_relevant == ("nowhere",)


def test_a_filter_is_kept(found: Evaluation, shop: Client) -> None:
    cheap = next(judged for judged in found.queries if judged.question.qid == "cheap")
    prices = [hit.attributes["price"] for hit in shop.get(list(cheap.found["vector"]))]
    assert prices and max(prices) < 100


def test_queries_that_are_wrong_in_themselves_are_left_out(shop: Client, demo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    wrong = [
        text("good", "red shoes", "runners-red-1"),
        text("field", "red", "runners-red-1", filter="colour == 'red'"),
        text("filter", "red", "runners-red-1", filter="price <"),
        Question("id", (Signal("id", "nowhere"),), {"runners-red-1": 1}, line=4),
        Question("picture", (Signal("image", str(broken)),), {"runners-red-1": 1}, line=5),
    ]
    found = evaluate(shop, wrong, compare=["vector", "text"])
    assert [judged.question.qid for judged in found.queries] == ["good"]
    assert [(bad.line, bad.id, bad.stage) for bad in found.rejected] == [
        (0, "field", "query"), (0, "filter", "query"), (4, "id", "query"), (5, "picture", "query"),
    ]  # fmt: skip
    assert "colour" in found.rejected[0].reason and "nowhere" in found.rejected[2].reason
    with pytest.raises(ConfigError, match="no query can be asked; line 4: .*nowhere"):
        evaluate(shop, wrong[3:])


def test_a_variant_that_answers_nothing_is_an_error(shop: Client, mixed: list[Question]) -> None:
    with pytest.raises(ConfigError, match="the variant 'text' answers no query: .*needs a text"):
        evaluate(shop, [mixed[2]], compare=["default", "text"])
    with pytest.raises(ConfigError, match="there is no query"):
        evaluate(shop, [])
    with pytest.raises(ConfigError, match="at least one variant"):
        evaluate(shop, mixed, compare=[])
    with pytest.raises(ConfigError, match="'text' is given twice"):
        evaluate(shop, mixed, compare=["text", "text"])


def test_queries_that_a_variant_is_not_for_do_not_hide_that_it_answers_no_other(
    shop: Client, mixed: list[Question]
) -> None:
    message = "the variant 'composition=slerp' answers none of the queries that it is for: .*a joint space"
    with pytest.raises(ConfigError, match=message):
        evaluate(shop, mixed, compare=["default", "composition=slerp"])
    found = evaluate(shop, mixed[:3], compare=["default", "composition=slerp"])
    assert (found.variants[1].not_applicable, found.variants[1].unanswered) == (3, 0)


def test_the_depth_is_what_the_metrics_need(shop: Client, mixed: list[Question]) -> None:
    asked = mixed[:1]
    assert evaluate(shop, asked, metrics=["R@50"]).depth == 100
    assert evaluate(shop, asked, metrics=["R@300"]).depth == 300
    assert evaluate(shop, asked, metrics=["MRR"], depth=5).depth == 5
    assert len(evaluate(shop, asked, metrics=["MRR"], depth=5).queries[0].found["default"]) == 5
    with pytest.raises(ConfigError, match=r"got 5, and R@50 needs 50"):
        evaluate(shop, asked, metrics=["R@50", "P@5"], depth=5)
    with pytest.raises(ConfigError, match="from 1 to 1,000"):
        evaluate(shop, asked, metrics=["R@5000"])


def test_products_that_lack_something_are_a_slice(demo: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.jsonl"
    images = demo / "images"
    rows = [
        {"id": "whole", "title": "red shirt", "image": str(images / "tshirt-red-1.jpg")},
        {"id": "wordless", "image": str(images / "mug-red-1.jpg")},
        {"id": "blind", "title": "blue mug"},
    ]
    catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with Client(tmp_path / "shop.db") as shop:
        shop.ingest(catalog, allow_root=[demo])
        asked = [
            text("1", "red shirt", "whole"),
            text("2", "mug", "wordless"),
            text("3", "mug", "blind", "whole"),
            text("4", "blue mug", "blind"),
        ]
        found = evaluate(shop, asked, metrics=["R@1"])
    assert {part.name: part.queries for part in found.slices} == {
        "relevant without text": 1,
        "relevant without picture": 2,
    }


def test_odd_queries(shop: Client) -> None:
    asked = [
        text("chinese", "红色T恤", "tshirt-red-1", "tshirt-red-2"),
        text("emoji", "👠", "pumps-red-1"),
        text("quotes", "it's a \"red\" \\ shirt'; drop --", "shirt-red-1"),
        text("long", "red shoes " * 5_000, "runners-red-1"),
        text("marks", "!?", "shirt-red-1"),
    ]
    found = evaluate(shop, asked, metrics=["R@50"], compare=["default", "hybrid", "vector", "text"])
    assert len(found.queries) == 5 and found.rejected == ()
    assert [v.unanswered for v in found.variants] == [0, 0, 0, 2]  # emoji and marks have no words
    assert found.queries[0].values["default"]["R@50"] == 1.0


def test_progress_counts_the_questions(shop: Client, mixed: list[Question]) -> None:
    told: list[int] = []
    evaluate(shop, mixed[:3], progress=told.append, compare=["default", "vector"])
    assert told == [1, 2, 3]


def test_the_worst_come_first_and_everything_is_json(found: Evaluation) -> None:
    values = [judged.values["hybrid"]["nDCG@10"] for judged in found.worst(3)]
    assert values == sorted(judged.values["hybrid"]["nDCG@10"] for judged in found.queries)[:3]
    assert json.loads(json.dumps(found.to_dict(), ensure_ascii=False))["baseline"] == "hybrid"


def test_a_file_is_enough(shop: Client, write: Callable[..., Path]) -> None:
    file = write('{"query": "red running shoes", "relevant": ["runners-red-1"]}', "{")
    found = evaluate(shop, file, metrics=["MRR"])
    assert (
        found.baseline.scores["MRR"].value
        == evaluate(shop, load_queries(file), metrics=["MRR"]).baseline.scores["MRR"].value
    )
    assert [bad.line for bad in found.rejected] == [2]
