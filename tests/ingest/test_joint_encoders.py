"""Encoders of the CLIP family in the whole flow: fusions, means that are estimated once, words on pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mm_milvus import Client
from mm_milvus.encoders import load_encoder
from mm_milvus.errors import EncoderError, StampMismatch
from mm_milvus.fusion import normalise

from ..encoders import tiny_models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights in a local folder."""
    return tiny_models.clip(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six products with text and picture, one with text only, one with a picture only."""
    folder = tmp_path_factory.mktemp("catalog")
    lines = []
    for index, (picture, text) in enumerate(zip(tiny_models.pictures(), tiny_models.TEXTS, strict=True)):
        picture.save(folder / f"{index}.png")
        row = {"id": str(index), "title": text or "plain", "image": f"{index}.png"}
        if index == 6:
            del row["image"]
        if index == 7:
            del row["title"]
        lines.append(json.dumps(row) + "\n")
    path = folder / "catalog.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def ingested(uri: Path, model: Path, catalog: Path, **options: str | float) -> Client:
    client = Client(uri, encoder=str(model), device="cpu")
    client.settings = client.settings.replace(dtype="float32")
    assert client.ingest(catalog, **options).written == 8
    return client


def test_the_means_are_those_of_the_first_rows(tmp_path: Path, model: Path, catalog: Path) -> None:
    encoder = load_encoder(str(model), device="cpu", dtype="float32")
    pictures = [picture for index, picture in enumerate(tiny_models.pictures()) if index != 6]
    with ingested(tmp_path / "a.db", model, catalog) as shop:
        stamp = shop._open().stamp
        expected = encoder.encode_image(pictures).numpy().mean(axis=0)
        assert stamp.image_mean == pytest.approx(expected, abs=1e-5)
        vector, has_image, _ = shop._open().vectors(["6"])["6"]
        assert not has_image
        assert vector[: len(expected)].tobytes() == stamp.image_mean.tobytes()


def test_sum_and_product_hold_what_their_formula_says(tmp_path: Path, model: Path, catalog: Path) -> None:
    encoder = load_encoder(str(model), device="cpu", dtype="float32")
    image = encoder.encode_image([tiny_models.pictures()[0]])[0].numpy()
    text = encoder.encode_text([tiny_models.TEXTS[0]])[0].numpy()
    with ingested(tmp_path / "s.db", model, catalog, fusion="sum", image_weight=0.2, text_weight=0.8) as shop:
        stored = shop._open().vectors(["0"])["0"][0]
        assert stored == pytest.approx(normalise(0.2 * image + 0.8 * text), abs=1e-5)
        hit = shop.query(image=catalog.parent / "0.png", limit=8).hits
        assert {h.id: h.score for h in hit}["0"] == pytest.approx(float(image @ stored), abs=1e-5)
    with ingested(tmp_path / "p.db", model, catalog, fusion="product") as shop:
        stored = shop._open().vectors(["0"])["0"][0]
        assert stored == pytest.approx(normalise(image * text), abs=1e-5)
        page = shop.query(image=catalog.parent / "0.png", text=tiny_models.TEXTS[0], limit=1)
        assert (page.hits[0].id, page.hits[0].score) == ("0", pytest.approx(1.0, abs=1e-4))
        heavy = shop.query(image=(catalog.parent / "0.png", 2.0), text=(tiny_models.TEXTS[0], 2.0), limit=1)
        assert heavy.hits[0].score == pytest.approx(1.0, abs=1e-4)


def test_words_meet_pictures_and_words_in_blocks(tmp_path: Path, model: Path, catalog: Path) -> None:
    encoder = load_encoder(str(model), device="cpu", dtype="float32")
    query = encoder.encode_query_text(["red shirt"])[0].numpy()
    with ingested(tmp_path / "b.db", model, catalog) as shop:
        vectors = shop._open().vectors([str(n) for n in range(8)])
        for hit in shop.query(text="red shirt", limit=8, mode="vector").hits:
            image, text = shop._open().stamp.vectors.split(vectors[hit.id][0])
            assert hit.score == pytest.approx(0.5 * query @ image + 0.5 * query @ text, abs=1e-5)


def test_a_fusion_is_kept_and_another_is_refused(tmp_path: Path, model: Path, catalog: Path) -> None:
    with ingested(tmp_path / "f.db", model, catalog, fusion="sum", image_weight=0.2, text_weight=0.8) as shop:
        assert shop.ingest(catalog).unchanged == 8
        with pytest.raises(StampMismatch, match="'sum'.*'product'"):
            shop.ingest(catalog, fusion="product")
        with pytest.raises(StampMismatch, match=r"image_weight = 0\.2"):
            shop.ingest(catalog, image_weight=0.3)


def test_a_query_finds_the_local_model_again(tmp_path: Path, model: Path, catalog: Path) -> None:
    own = shutil.copytree(model, tmp_path / "own" / "tiny-clip")
    ingested(tmp_path / "q.db", own, catalog).close()
    with Client(tmp_path / "q.db") as shop:
        assert len(shop.query(text="red", limit=3).hits) == 3
        assert shop.info().stamp["encoder"] == "tiny-clip"
    moved = own.rename(tmp_path / "moved")
    with Client(tmp_path / "q.db") as shop, pytest.raises(EncoderError, match="tiny-clip"):
        shop.query(text="red")
    with Client(
        tmp_path / "q.db", encoder=str(moved)
    ) as shop:  # the weights count, not the name of their folder
        assert len(shop.query(text="red", limit=3).hits) == 3


def test_another_encoder_is_refused_with_both_names(tmp_path: Path, model: Path, catalog: Path) -> None:
    ingested(tmp_path / "e.db", model, catalog).close()
    with Client(tmp_path / "e.db", encoder="offline") as shop:
        with pytest.raises(StampMismatch, match="tiny-clip@fp.*offline was asked for"):
            shop.query(text="red")
        with pytest.raises(StampMismatch, match="tiny-clip@fp.*offline was asked for"):
            shop.ingest(catalog)


def test_an_incremental_sum_equals_a_fresh_one(tmp_path: Path, model: Path, catalog: Path) -> None:
    changed = catalog.with_name("changed.jsonl")
    lines = catalog.read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[0]) | {"title": "green hat"}
    changed.write_text("\n".join([json.dumps(row), *lines[1:]]), encoding="utf-8")
    with ingested(tmp_path / "i.db", model, catalog, fusion="sum") as shop:
        report = shop.ingest(changed)
        assert (report.written, report.images_encoded, report.texts_encoded) == (1, 1, 1)
        incremental = shop._open().vectors(["0"])["0"][0]
    with ingested(tmp_path / "j.db", model, changed, fusion="sum") as fresh:
        assert np.allclose(incremental, fresh._open().vectors(["0"])["0"][0], atol=1e-5)
