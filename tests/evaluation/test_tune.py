"""Tuning: the best setting is found, on queries that have no say in what it is said to gain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mm_milvus import Client
from mm_milvus.errors import ConfigError
from mm_milvus.evaluation import Question, Tuned, tune
from mm_milvus.records import Hit, Page, Query, Signal


class Planned:
    """A shop whose ranking depends on the settings alone: the right product stands the lower the further they are from
    the best ones."""

    def __init__(self, alpha: float, text: float, rrf: int = 50, k: int = 60) -> None:
        self._alpha, self._text, self._rrf, self._k = alpha, text, rrf, k
        self.asked: list[Query] = []

    def search(self, query: Query) -> Page:
        self.asked.append(query)
        weights = {signal.kind: signal.weight for signal in query.signals}
        if len(weights) > 1:
            above = round(50 * abs((0.5 if weights["text"] is None else weights["text"]) - self._text))
        else:
            ranked = self._rrf + abs(query.rrf_k - self._k) // 5
            above = ranked if query.combine == "rrf" else round(50 * abs(query.alpha - self._alpha))
        ids = [*(f"wrong{place}" for place in range(above)), "right"][: query.limit]
        return Page(tuple(Hit(id, 1.0, {}) for id in ids), len(ids), 0.0)


def words(count: int, relevant: str = "right") -> list[Question]:
    return [Question(f"w{n}", (Signal("text", f"shoe {n}"),), {relevant: 1}) for n in range(count)]


def mixtures(count: int, weight: float | None = None) -> list[Question]:
    signals = (Signal("image", "a.png", weight), Signal("text", "red", weight))
    return [Question(f"m{n}", signals, {"right": 1}) for n in range(count)]


def run(shop: Any, questions: list[Question], **options: Any) -> dict[str, Tuned]:
    return {tuned.setting: tuned for tuned in tune(shop, questions, metric="MRR", **options).settings}


@pytest.mark.parametrize(("alpha", "text"), [(0.32, 0.78), (0.0, 1.0), (1.0, 0.0), (0.86, 0.04)])
def test_the_best_settings_are_found(alpha: float, text: float) -> None:
    found = run(Planned(alpha, text), words(30) + mixtures(24))
    by_words, by_weights = found["alpha"], found["weights"]
    assert (by_words.choice, by_words.options) == (f"alpha={alpha:g}", f"--alpha {alpha:g}")
    image = round(1 - text, 2)
    assert by_weights.choice == f"text={text:g};image={image:g};id={image:g}"
    assert by_weights.options == f'--text "WORDS^{text:g}" --image "PICTURE^{image:g}"'
    assert (by_words.dev_queries, by_words.test_queries) == (15, 15)
    assert (by_weights.dev_queries, by_weights.test_queries) == (12, 12)
    above = round(50 * abs(0.5 - alpha))
    assert (by_words.test_default, by_words.test_tuned) == pytest.approx((1 / (above + 1), 1.0))
    assert by_words.gained and by_weights.gained


def test_reciprocal_ranks_are_tried_too() -> None:
    found = run(Planned(0.9, 0.5, rrf=0), words(20) + mixtures(4))["alpha"]
    assert found.choice == "alpha=0.9"  # no better than the best alpha
    best = run(Planned(2.0, 0.5, rrf=0), words(20))["alpha"]
    assert (best.choice, best.options) == ("hybrid:rrf", "--combine rrf")
    steep = run(Planned(2.0, 0.5, rrf=0, k=20), words(20))["alpha"]
    assert (steep.choice, steep.options) == ("hybrid:rrf;rrf_k=20", "--combine rrf --rrf-k 20")


def test_no_gain_is_claimed_where_the_defaults_are_best() -> None:
    found = run(Planned(0.5, 0.5), words(20) + mixtures(20))
    assert [(t.choice, t.gained, t.p) for t in found.values()] == [
        ("alpha=0.5", False, 1.0),
        ("text=0.5;image=0.5;id=0.5", False, 1.0),
    ]
    flat = run(Planned(0.3, 0.5), words(20, relevant="never found"))["alpha"]
    assert (flat.choice, flat.gained, flat.test_tuned) == ("alpha=0.5", False, 0.0)


def test_no_gain_is_claimed_that_only_the_choosing_queries_have() -> None:
    """One half wants a high alpha and the other a low one: what suits the first is measured on the second."""

    class Divided(Planned):
        def search(self, query: Query) -> Page:
            self._alpha = 0.9 if query.signals[0].value in self.choosing else 0.4
            return super().search(query)

    asked = words(40)
    watched = Planned(0.5, 0.5)
    tune(watched, asked, metric="MRR", seed=3)  # type: ignore[arg-type]
    shop = Divided(0.5, 0.5)
    shop.choosing = {query.signals[0].value for query in watched.asked[:20]}  # type: ignore[attr-defined]
    found = run(shop, asked, seed=3)["alpha"]
    assert found.choice == "alpha=0.9"
    assert found.dev_tuned > found.dev_default
    assert found.test_tuned < found.test_default
    assert not found.gained


def test_a_gain_of_few_queries_may_be_chance() -> None:
    found = run(Planned(0.8, 0.5), words(8))["alpha"]
    assert found.test_tuned > found.test_default
    assert found.p == 2 / 2**4
    assert not found.gained


def test_queries_that_choose_do_not_test() -> None:
    shop = Planned(0.2, 0.5)
    found = run(shop, words(20), dev_share=0.25, seed=1)["alpha"]
    assert (found.dev_queries, found.test_queries) == (5, 15)
    tried = [query for query in shop.asked if query.alpha not in (0.5, 0.2)]
    last = shop.asked[-30:]  # by default and as tuned
    assert not {q.signals[0].value for q in tried} & {q.signals[0].value for q in last}


def test_what_cannot_be_tuned_is_left_alone() -> None:
    few = run(Planned(0.2, 0.2), words(3) + mixtures(10, weight=0.5))
    assert [(t.choice, t.gained, t.p) for t in few.values()] == [(None, False, None)] * 2
    with pytest.raises(ConfigError, match="between 0 and 1"):
        run(Planned(0.2, 0.2), words(9), dev_share=1.0)
    with pytest.raises(ConfigError, match="from 1 to 1,000, got 0"):
        run(Planned(0.2, 0.2), words(9), depth=0)


def test_as_many_products_are_asked_for_as_by_an_evaluation() -> None:
    for given, depth in ((None, 100), (3, 3)):
        shop = Planned(0.2, 0.5)
        run(shop, words(9), depth=given)
        assert {query.limit for query in shop.asked} == {depth}


def test_the_seed_decides_who_chooses() -> None:
    first, again, other = Planned(0.2, 0.5), Planned(0.2, 0.5), Planned(0.2, 0.5)
    for shop, seed in ((first, 1), (again, 1), (other, 2)):
        run(shop, words(20), seed=seed)
    assert first.asked == again.asked
    assert first.asked != other.asked


# --- a real collection -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Parts with a code each, which is all that the queries have in common with them, and shoes."""
    folder = tmp_path_factory.mktemp("coded")
    rows = [{"id": f"part-{n}", "title": f"gasket for dishwashers zq{n}x"} for n in range(20)]
    rows += [{"id": f"shoe-{n}", "title": "red running shoes"} for n in range(20)]
    catalog = folder / "catalog.jsonl"
    catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with Client(folder / "shop.db") as shop:
        shop.ingest(catalog)
        yield shop


def test_where_only_the_letters_are_right_alpha_goes_down(coded: Client) -> None:
    asked = [
        Question(f"q{n}", (Signal("text", f"red running shoes zq{n}x"),), {f"part-{n}": 1}) for n in range(20)
    ]
    found = run(coded, asked)["alpha"]
    assert found.choice is not None and float(found.choice.removeprefix("alpha=")) < 0.5
    assert found.test_default < 0.5
    assert found.test_tuned == 1.0
    assert found.gained
