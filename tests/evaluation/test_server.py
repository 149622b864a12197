"""An evaluation on the real server that pip can install: means, a trained fusion in the comparison, and tuning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mm_milvus_cli.eval_table import summary_lines

from mm_milvus import Client
from mm_milvus.evaluation import Evaluation, evaluate, tune
from tests.evaluation.test_evaluate import by_title


@pytest.fixture(scope="module")
def remote(server_uri: str, demo: Path) -> Iterator[Client]:
    with Client(server_uri, collection="evaluated") as shop:
        shop.ingest(demo / "catalog.jsonl")
        yield shop
        shop.drop()


def told(found: Evaluation) -> list[dict[str, Any]]:
    """What does not depend on the machine."""
    return [
        {name: value for name, value in variant.to_dict().items() if not name.endswith("_ms")}
        | {"collection": ""}
        for variant in found.variants
    ]


def test_a_server_is_evaluated_as_the_embedded_one(remote: Client, shop: Client, demo: Path) -> None:
    """It has no search by words of its own, and 2.3.5 answers by an index: the scores are the same all the same."""
    asked = by_title(demo)[::4]
    options: dict[str, Any] = {
        "metrics": ["nDCG@10", "MRR"],
        "compare": ["hybrid", "vector", "text", "hybrid:rrf"],
    }
    here, there = evaluate(shop, asked, **options), evaluate(remote, asked, **options)
    assert here.baseline.scores["MRR"].value > 0.9
    for ours, theirs in zip(told(here), told(there), strict=True):
        assert theirs["scores"] == {
            metric: pytest.approx(score, abs=1e-6) for metric, score in ours["scores"].items()
        }
        assert (theirs["products"], theirs["unanswered"]) == (86, 0)


def test_what_is_asked_of_a_copy_is_told(remote: Client, demo: Path, head: Path) -> None:
    found = evaluate(remote, by_title(demo)[::20], metrics=["MRR"], compare=["blocks", "vector", str(head)])
    assert [variant.times_of for variant in found.variants] == ["collection", "collection", "embedded copy"]
    assert found.variants[2].index_bytes == 86 * 96 * 4
    assert found.to_dict()["variants"][2]["times_of"] == "embedded copy"
    assert f"the milliseconds of {head} are of an embedded copy, not of the server" in summary_lines(
        found, "q"
    )


def test_a_server_is_tuned(remote: Client, shop: Client, demo: Path) -> None:
    asked = by_title(demo)[::8]
    here, there = (tune(one, asked, metric="MRR") for one in (shop, remote))
    assert here.settings[0].choice is not None
    assert here == there
