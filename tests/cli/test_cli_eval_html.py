"""The web page of an evaluation: self-contained, nothing foreign becomes markup, the right products are marked."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from mm_milvus_cli.eval_html import products_shown, render_report
from PIL import Image

from mm_milvus.evaluation import (
    Evaluation,
    Judged,
    Question,
    Score,
    Slice,
    Tuned,
    Tuning,
    VariantResult,
)
from mm_milvus.records import Hit, Rejected, Signal
from tests.cli.test_cli_html import HOSTILE, Parsed, _parsed


def evaluation(*queries: Judged, metric: str = "MRR") -> Evaluation:
    base = VariantResult("base", "products", {metric: Score(0.5)}, 12.4, 15.0, 4.26, 86, 231_168)
    other = VariantResult(
        f"other {HOSTILE}",
        "products",
        {metric: Score(0.75, 0.25, 0.0002, 0.0004)},
        None,
        None,
        None,
        86,
        0,
        "embedded copy",
        1,
        HOSTILE,
    )
    values = {"base": {metric: 0.5}, other.name: {metric: 0.75}}
    tuned = Tuned("alpha", "words alone", "alpha=0.8", "--alpha 0.8", 20, 20, 0.4, 0.6, 0.4, 0.7, 0.01)
    return Evaluation(
        (metric,),
        100,
        (base, other),
        (Slice(HOSTILE, 2, values),),
        queries,
        (Rejected(3, None, "read", HOSTILE),),
        (HOSTILE,),
        (HOSTILE,),
        Tuning(metric, 0.5, 0, (tuned, Tuned("weights", "mixtures", None))),
    )  # fmt: skip


def judged(value: float, *signals: Signal, qid: str = "q", found: tuple[str, ...] = ("x", "good")) -> Judged:
    question = Question(qid, signals or (Signal("text", "red"),), {"good": 1, "gone": 1}, "price < 9")
    return Judged(question, {"base": {"MRR": value}}, {"base": found})


@pytest.fixture
def products(tmp_path: Path) -> dict[str, Hit]:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "good.png")
    return {
        "good": Hit("good", 1.0, {"title": "A good one"}, str(tmp_path / "good.png")),
        "x": Hit("x", 1.0, {"title": HOSTILE}),
    }


def page(found: Evaluation, products: dict[str, Hit]) -> Parsed:
    return _parsed(render_report(found, f"queries {HOSTILE}", products, date(2026, 3, 1)))


def test_nothing_foreign_becomes_markup(products: dict[str, Hit]) -> None:
    hostile = judged(0.1, Signal("text", HOSTILE), Signal("id", HOSTILE), qid=HOSTILE, found=(HOSTILE, "x"))
    parsed = page(evaluation(hostile), products)
    assert not parsed.all("script")
    assert all(image.attributes["src"] != "x" for image in parsed.all("img"))
    assert len(parsed.all("style")) == 1


def test_the_page_loads_nothing(products: dict[str, Hit]) -> None:
    parsed = page(evaluation(judged(0.5)), products)
    assert not parsed.all("link")
    sources = {image.attributes["src"] or "" for image in parsed.all("img")}
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_right_products_are_marked_and_ranked(products: dict[str, Hit]) -> None:
    parsed = page(evaluation(judged(0.5)), products)
    strips = parsed.all("ul", **{"class": "strip"})
    assert len(strips) == 2
    right = [item.text.strip() for item in parsed.all("li", **{"class": "right"})]
    assert right == ["A good one", "gone: not stored", "2A good one"]
    assert [rank.text for rank in parsed.all("span", **{"class": "rank"})] == ["1", "2"]


def test_the_worst_queries_come_first_and_not_all(products: dict[str, Hit]) -> None:
    found = evaluation(*(judged(n / 21, qid=f"query {n}") for n in reversed(range(20))))
    articles = page(found, products).all("article")
    assert len(articles) == 12
    assert [f"query {n}" in article.text for n, article in enumerate(articles)] == [True] * 12


def test_tables_and_lines(products: dict[str, Hit]) -> None:
    parsed = page(evaluation(judged(0.5, found=())), products)
    cells = [cell.text for cell in parsed.all("td")]
    assert cells[:5] == ["0.500", "0.2 MB", "4.3 ms", "12 ms, 15 ms", "0.750+0.250, p <.001"]
    assert cells[5:8] == ["none", "none", ""]
    assert [small.attributes["class"] for small in parsed.all("small")] == ["better"]
    lines = "\n".join(paragraph.text for paragraph in parsed.all("p", **{"class": "lines"}))
    assert "words alone: alpha=0.8 makes 0.400 into 0.700 (+0.300, p .010)" in lines
    assert "use --alpha 0.8" in lines
    assert "are of an embedded copy, not of the server" in lines
    assert "too few queries" in lines and "1 line left out" in lines
    assert [none.text for none in parsed.all("p", **{"class": "none"})] == ["nothing"]


def test_products_shown_are_those_of_the_worst() -> None:
    assert products_shown(evaluation(judged(0.5))) == ["good", "gone", "x"]


def test_what_is_found_as_it_should_be_is_not_among_the_worst(products: dict[str, Hit]) -> None:
    found = evaluation(judged(0.5, qid="half"), judged(1.0, qid="whole", found=("good", "gone")))
    assert [article.text for article in page(found, products).all("article") if "whole" in article.text] == []
    assert len(page(found, products).all("article")) == 1
    right = evaluation(judged(1.0))
    assert page(right, products).all("article") == [] and products_shown(right) == []
    assert "all queries are at 1.000" in [
        none.text for none in page(right, products).all("p", **{"class": "none"})
    ]


def test_the_page_names_encoders_and_its_day(products: dict[str, Hit]) -> None:
    found = evaluation(judged(0.5))
    variants = [replace(variant, encoder="offline") for variant in found.variants]

    def header(*variants: VariantResult) -> str:
        return page(replace(found, variants=variants), products).all("header")[0].text

    assert "encoder offline" in header(*variants) and "2026-03-01" in header(*variants)
    other = replace(variants[1], collection="clip", encoder="tiny-clip")
    assert "encoder of products: offline · encoder of clip: tiny-clip" in header(variants[0], other)
