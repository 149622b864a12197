"""A trained fusion is compared without an ingest, and as the collection that an ingest with it would make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mm_milvus import Client
from mm_milvus.encoders import load_encoder
from mm_milvus.errors import ConfigError, FusionError
from mm_milvus.evaluation import Question, evaluate, parse_variant
from mm_milvus.evaluation.run import ask, opened
from mm_milvus.fusion import Head, HeadConfig
from mm_milvus.records import Signal


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random projections, which keep much of what is near."""
    spec = load_encoder("offline").spec
    config = HeadConfig("linear", 96, spec.image_dim, spec.text_dim, True, spec.name, spec.revision)
    draw = np.random.default_rng(0)
    weights = {f"product.{n}": draw.normal(size=s).astype(np.float32) for n, s in config.shapes().items()}
    means = [np.array(mean, np.float32) for mean in (spec.image_mean, spec.text_mean, spec.query_text_mean)]
    folder = tmp_path_factory.mktemp("heads") / "v1"
    Head(config, weights, *means).save(folder)
    return folder


def questions(demo: Path) -> list[Question]:
    picture = Signal("image", str(demo / "images" / "runners-red-1.jpg"))
    return [
        Question("words", (Signal("text", "red running shoes"),), {"runners-red-1": 1}),
        Question("picture", (picture,), {"runners-red-1": 1}),
        Question("both", (picture, Signal("text", "blue")), {"runners-blue-1": 1}, "price < 120"),
    ]


def test_it_answers_as_a_collection_that_was_ingested_with_it(
    demo: Path, shop: Client, head: Path, tmp_path: Path
) -> None:
    with Client(tmp_path / "v1.db") as ingested:
        ingested.ingest(demo / "catalog.jsonl", fusion=head)
        with (
            opened([parse_variant(str(head))], ingested) as own,
            opened([parse_variant(str(head))], shop) as copies,
        ):
            assert own[0].client is ingested
            assert copies[0].client is not shop
            folder = Path(copies[0].client.settings.uri).parent
            for question in questions(demo):
                answers = [ask(pairs[0], question, 20) for pairs in (own, copies)]
                assert answers[0].problem is None
                assert answers[0].ids == answers[1].ids
        assert not folder.exists()


def test_it_is_compared_with_what_is_stored(demo: Path, shop: Client, head: Path) -> None:
    found = evaluate(
        shop, questions(demo), metrics=["nDCG@10"], compare=["blocks", str(head), f"vector;{head}"]
    )
    assert [variant.name for variant in found.variants] == ["blocks", str(head), f"vector;{head}"]
    scores = [variant.scores["nDCG@10"].value for variant in found.variants]
    assert scores[0] == pytest.approx(1.0)
    assert scores[1] > 0.1  # random projections lose something, and not all
    assert found.variants[1].index_bytes == found.variants[0].products * 96 * 4
    assert shop.info().stamp["fusion"] == "blocks"


def test_what_cannot_be(shop: Client, demo: Path, head: Path, tmp_path: Path) -> None:
    with pytest.raises(FusionError, match="no trained fusion in"):
        evaluate(shop, questions(demo), compare=["blocks", str(tmp_path / "nothing")])
    (tmp_path / "other").mkdir()
    for file in head.iterdir():
        content = file.read_bytes().replace(b'"encoder": "offline"', b'"encoder": "another"')
        (tmp_path / "other" / file.name).write_bytes(content)
    with pytest.raises(
        FusionError,
        match=r"trained on the encoder another, .* first ingest .* --encoder another .*collection=NAME",
    ):
        evaluate(shop, questions(demo), compare=["blocks", str(tmp_path / "other")])
    with Client(tmp_path / "v1.db") as ingested:
        ingested.ingest(demo / "catalog.jsonl", fusion=head)
        with pytest.raises(ConfigError, match="fused by head, not by blocks"):
            evaluate(ingested, questions(demo), compare=["blocks"])
        Path(head.parent / "v2").mkdir()
        for file in head.iterdir():
            content = file.read_bytes()
            (head.parent / "v2" / file.name).write_bytes(content.replace(b'"version": 1', b'"version":  1'))
        with pytest.raises(ConfigError, match="only of a collection of the fusion blocks"):
            evaluate(ingested, questions(demo), compare=[str(head.parent / "v2")])
