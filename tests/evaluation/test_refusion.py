"""A fusion is compared without an ingest, and as the collection that an ingest with it would make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mm_milvus import Client, Settings
from mm_milvus.errors import ConfigError, FusionError
from mm_milvus.evaluation import Question, evaluate, parse_variant
from mm_milvus.evaluation.costs import index_bytes
from mm_milvus.evaluation.refusion import rounded
from mm_milvus.evaluation.run import ask, opened
from mm_milvus.fusion import Head, load_head
from mm_milvus.records import Signal

from ..encoders import tiny_models


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


@pytest.mark.parametrize("mix", ["linear", "gated", "attention"])
def test_what_a_product_lacks_its_copy_lacks(demo: Path, head: Path, mix: Any, tmp_path: Path) -> None:
    random = load_head(head)[0]
    config = replace(random.config, kind=mix)
    draw = np.random.default_rng(1)
    weights = {f"product.{n}": draw.normal(size=s).astype(np.float32) for n, s in config.shapes().items()}
    Head(config, weights, random.image_mean, random.text_mean, random.query_text_mean).save(tmp_path / "head")
    picture = str(demo / "images" / "runners-red-1.jpg")
    lines = [
        {"id": "both", "title": "red shoes", "image": picture},
        {"id": "picture", "image": picture},
        {"id": "text", "title": "red shoes"},
    ]
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with Client(tmp_path / "blocks.db") as shop, Client(tmp_path / "own.db") as ingested:
        for client, fusion in ((shop, "blocks"), (ingested, tmp_path / "head")):
            assert client.ingest(catalog, fusion=fusion, allow_root=[demo]).written == 3
        with opened([parse_variant(str(tmp_path / "head"))], shop) as [copy]:
            ids = [line["id"] for line in lines]
            made, own = (client._open().vectors(ids) for client in (copy.client, ingested))
            for id in ids:
                assert made[id][0] == pytest.approx(own[id][0], abs=1e-6)
                assert made[id][1:] == own[id][1:] == (id != "text", id != "picture")


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A shop of a small CLIP, fused by blocks; one product has no picture and one no text."""
    folder = tmp_path_factory.mktemp("joint")
    model = tiny_models.clip(folder / "tiny-clip")
    lines = []
    for index, (picture, words) in enumerate(zip(tiny_models.pictures(), tiny_models.TEXTS, strict=True)):
        picture.save(folder / f"{index}.png")
        row = {"id": str(index), "title": words or "plain", "image": f"{index}.png", "price": index}
        lines.append({k: v for k, v in row.items() if (index, k) not in ((5, "title"), (7, "image"))})
    (folder / "catalog.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    with Client(
        config=Settings(uri=str(folder / "b.db"), encoder=str(model), device="cpu", dtype="float32")
    ) as shop:
        assert shop.ingest(folder / "catalog.jsonl").written == 8
        yield shop


def asked_of(folder: Path) -> list[Question]:
    words, picture = Signal("text", "red shoes"), Signal("image", str(folder / "3.png"))
    return [
        Question("words", (words,), {"1": 1}),
        Question("picture", (picture,), {"3": 1}),
        Question("both", (picture, words), {"4": 1}, "price > 1"),
        Question("product", (Signal("id", "2"),), {"5": 1}),
    ]


@pytest.mark.parametrize("fusion", ["sum", "product"])
def test_an_untrained_fusion_is_what_an_ingest_with_it_would_make(
    joint: Client, fusion: str, tmp_path: Path
) -> None:
    folder = Path(joint.settings.uri).parent
    settings = joint.settings.model_copy(update={"uri": str(tmp_path / "own.db")})
    with Client(config=settings) as ingested:
        ingested.ingest(folder / "catalog.jsonl", fusion=fusion)
        variants = [parse_variant(fusion)]
        with opened(variants, ingested) as own, opened(variants, joint) as copies:
            assert own[0].client is ingested
            assert copies[0].client is not joint and copies[0].source is joint
            for question in asked_of(folder):
                pages = [pairs[0].client.search(variants[0].query(question, 8)) for pairs in (own, copies)]
                assert [hit.id for hit in pages[0].hits] == [hit.id for hit in pages[1].hits]
                scores = [[hit.score for hit in page.hits] for page in pages]
                assert scores[0] == pytest.approx(scores[1], abs=1e-6)
                assert len(set(scores[0])) > 4
    found = evaluate(joint, asked_of(folder), metrics=["MRR"], compare=["blocks", fusion])
    assert [variant.index_bytes for variant in found.variants] == [8 * 48 * 4, 8 * 24 * 4]
    assert joint.info().stamp["fusion"] == "blocks"


def test_fusions_of_one_space_say_why_two_spaces_are_not_for_them(demo: Path, shop: Client) -> None:
    for fusion in ("sum", "product"):
        with pytest.raises(
            FusionError, match=f"the fusion '{fusion}' needs pictures and texts in one space"
        ) as told:
            evaluate(shop, questions(demo), compare=["blocks", fusion])
        assert "\n" not in str(told.value)


def test_a_copy_is_rounded_as_the_collection(joint: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What half precision and bfloat16 leave of a number; nothing installable here stores either."""
    draw = np.random.default_rng(0).normal(size=(50, 24)).astype(np.float32)
    assert rounded(draw, "float32") is draw
    for dtype in ("float16", "bfloat16"):
        expected = torch.from_numpy(draw).to(getattr(torch, dtype)).float().numpy()
        assert rounded(draw, dtype).tobytes() == expected.tobytes() != draw.tobytes()
    collection = joint._open()
    monkeypatch.setattr(collection, "stamp", replace(collection.stamp, vector_dtype="float16"))
    with opened([parse_variant("sum")], joint) as [copy]:
        vectors = [vector for vector, _, _ in copy.client._open().vectors(["0", "5", "7"]).values()]
        assert len(vectors) == 3
        assert index_bytes(copy) == 8 * 24 * 2
        assert all(rounded(vector, "float16").tobytes() == vector.tobytes() for vector in vectors)


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
        with pytest.raises(ConfigError, match="fused by head, not by blocks: only of a collection"):
            evaluate(ingested, questions(demo), compare=["blocks"])
        Path(head.parent / "v2").mkdir()
        for file in head.iterdir():
            content = file.read_bytes()
            (head.parent / "v2" / file.name).write_bytes(content.replace(b'"version": 1', b'"version":  1'))
        with pytest.raises(ConfigError, match="fused by head, not by .*v2: only of a collection"):
            evaluate(ingested, questions(demo), compare=[str(head.parent / "v2")])
