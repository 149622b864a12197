"""Metrics against arithmetic that is written out, and against ir-measures itself."""

from __future__ import annotations

import random
import sys
from math import log2

import ir_measures
import pytest

from mm_milvus.errors import ConfigError, MissingDependency
from mm_milvus.evaluation import Question
from mm_milvus.evaluation.measures import parse_metrics, values_of
from mm_milvus.records import Signal


def question(relevant: dict[str, int], qid: str = "q") -> Question:
    return Question(qid, (Signal("text", "red shoe"),), relevant)


def value(metric: str, relevant: dict[str, int], found: list[str]) -> float:
    return values_of(parse_metrics([metric]), [question(relevant)], [found])[metric][0]


RELEVANT = {"a": 3, "b": 1, "c": 0, "d": 1}
FOUND = ["x", "b", "c", "a", "y"]  # d is not found


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("nDCG@10", (1 / log2(3) + 3 / log2(5)) / (3 / log2(2) + 1 / log2(3) + 1 / log2(4))),
        ("nDCG@2", (1 / log2(3)) / (3 / log2(2) + 1 / log2(3))),
        ("MRR", 1 / 2),
        ("RR", 1 / 2),
        ("MRR@1", 0.0),
        ("RR@2", 1 / 2),
        ("R@2", 1 / 3),
        ("Recall@50", 2 / 3),
        ("recall@4", 2 / 3),
        ("P@4", 2 / 4),
        ("precision@10", 2 / 10),
        ("AP", (1 / 2 + 2 / 4) / 3),
        ("MAP", (1 / 2 + 2 / 4) / 3),
        ("map@2", (1 / 2) / 3),
        ("Success@1", 0.0),
        ("hit@2", 1.0),
        ("P(rel=3)@4", 1 / 4),
        ("ndcg@10", (1 / log2(3) + 3 / log2(5)) / (3 / log2(2) + 1 / log2(3) + 1 / log2(4))),
    ],
)
def test_a_value_is_the_written_out_one(metric: str, expected: float) -> None:
    assert value(metric, RELEVANT, FOUND) == pytest.approx(expected, abs=1e-6)


def test_a_query_that_found_nothing_counts_as_nothing() -> None:
    metrics = parse_metrics(["nDCG@10", "MRR", "MRR@10", "R@50", "AP"])
    asked = [question({"a": 1}, "1"), question({"b": 1}, "2"), question({"c": 1}, "3")]
    values = values_of(metrics, asked, [["a"], [], ["x"]])
    assert values == {metric.name: [1.0, 0.0, 0.0] for metric in metrics}
    assert values_of(metrics, asked, [[], [], []]) == {metric.name: [0.0] * 3 for metric in metrics}


def test_all_values_are_those_of_ir_measures() -> None:
    chance = random.Random(7)
    ids = [f"d{place}" for place in range(60)]
    asked, found = [], []
    for place in range(40):
        relevant = {id: chance.randint(0, 3) for id in chance.sample(ids, 8)} | {"always": 1}
        asked.append(question(relevant, str(place)))
        found.append(chance.sample([*ids, "always"], chance.randint(1, 50)))
    names = ["nDCG@10", "RR", "RR@10", "R@50", "P@10", "AP", "Success@5", "Rprec", "ERR@10", "nDCG"]
    supported = [n for n in names if ir_measures.DefaultPipeline.supports(ir_measures.parse_measure(n))]
    values = values_of(parse_metrics(supported), asked, found)
    qrels = {q.qid: dict(q.relevant) for q in asked}
    run = {
        q.qid: {id: 1 / (1 + rank) for rank, id in enumerate(ids)}
        for q, ids in zip(asked, found, strict=True)
    }
    theirs = {
        (str(v.measure), v.query_id): v.value
        for v in ir_measures.iter_calc([ir_measures.parse_measure(n) for n in supported], qrels, run)
    }
    assert len(supported) >= 8
    for name in supported:
        for place in range(40):
            assert values[name][place] == pytest.approx(theirs[name, str(place)])


def test_ids_may_be_anything() -> None:
    odd = ["红色 T恤", "👠", 'a "quoted" \\ id', "with\ttab and\nline", "nul\0byte", "\ud800", " "]
    relevant = dict.fromkeys(odd, 1)
    assert value("R@50", relevant, odd) == 1.0
    assert value("AP", relevant, list(reversed(odd))) == 1.0


@pytest.mark.parametrize(
    "name", ["foo", "foo@10", "nDCG@", "P", "nDCG@ten", "P@0", "R@-1", "1+1", "@10", "nDCG @ 10 @ 2", "NumQ"]
)
def test_what_is_no_metric_is_told_in_a_line_with_examples(name: str) -> None:
    with pytest.raises(ConfigError, match=r"nDCG@10|write P@10|write R@10") as told:
        parse_metrics([name])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["AP(rel=0)", "P(rel=99999999999)@10", f"Success(rel={400 * '9'})@5"])
def test_a_grade_that_no_product_can_have_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is a grade from 1 to 1,000") as told:
        parse_metrics([name])
    assert len(str(told.value)) < 160


def test_metrics_are_named_at_all_and_once() -> None:
    with pytest.raises(ConfigError, match="at least one metric"):
        parse_metrics([" "])
    assert [metric.name for metric in parse_metrics(["MRR", "MRR", " P@5 "])] == ["MRR", "P@5"]


def test_without_the_library_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingDependency, match=r'pip install "mm-milvus\[evaluation\]"'):
        parse_metrics(["MRR"])
