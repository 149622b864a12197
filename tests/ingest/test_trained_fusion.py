"""A collection whose vectors come from a trained head: ingested, changed and asked, on Milvus Lite."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mm_milvus import Client
from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.base import EncoderSpec
from mm_milvus.errors import ConfigError, FusionError, StampMismatch
from mm_milvus.fusion import Head, HeadConfig, load_head, normalise

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}


@pytest.fixture(scope="module")
def spec() -> EncoderSpec:
    return load_encoder("offline").spec


def head_for(spec: EncoderSpec, *, seed: int = 0, revision: str | None = None) -> Head:
    config = HeadConfig(
        "attention", 64, spec.image_dim, spec.text_dim, True, spec.name, revision or spec.revision
    )
    draw = np.random.default_rng(seed)
    weights = {
        f"product.{n}": 0.05 * draw.normal(size=s).astype(np.float32) for n, s in config.shapes().items()
    }
    means = [np.array(mean, np.float32) for mean in (spec.image_mean, spec.text_mean, spec.query_text_mean)]
    return Head(config, weights, *means)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Three products with both, one without text and one without a picture."""
    rows = []
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
        rows.append({"id": name, "title": f"{name} shirt", "image": f"{name}.png", "price": 10})
    rows += [{"id": "silent", "image": "red.png"}, {"id": "unseen", "title": "yellow lamp"}]
    path = tmp_path / "catalog.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def heads(tmp_path: Path, spec: EncoderSpec) -> Path:
    head_for(spec).save(tmp_path / "heads" / "v1")
    return tmp_path / "heads" / "v1"


def test_products_and_queries_go_through_the_head(tmp_path: Path, catalog: Path, heads: Path) -> None:
    encoder, head = load_encoder("offline"), load_head(heads)[0]
    spec = encoder.spec
    with Client(tmp_path / "a.db") as shop:
        assert shop.ingest(catalog, fusion=str(heads)).written == 5
        info = shop.info().stamp
        assert (info["fusion"], info["head"], info["dim"]) == ("head", str(heads), 64)
        text = encoder.encode_text(["yellow lamp"]).numpy()
        nothing = np.zeros((1, spec.image_dim), np.float32)
        stored = shop._open().vectors(["unseen"])["unseen"][0]
        assert stored == pytest.approx(head.products(nothing, text, [False], [True])[0], abs=1e-5)
        asked = encoder.encode_query_text(["green"]).numpy()[0]
        expected = head.query(None, normalise(asked - head.query_text_mean))
        page = shop.query(text="green", mode="vector", limit=5)
        for hit in page.hits:
            vector = shop._open().vectors([hit.id])[hit.id][0]
            assert hit.score == pytest.approx(float(expected @ vector), abs=1e-4)
        page = shop.query(image=catalog.parent / "blue.png", limit=1, explain=True)
        assert page.hits[0].score <= 1.0001
        assert len(shop.query(text="red", image=catalog.parent / "blue.png", limit=5).hits) == 5
        assert "red" not in {hit.id for hit in shop.similar("red", limit=5).hits}
        assert shop.query(text="shirt", limit=3).hits[0].attributes["title"].endswith("shirt")  # hybrid
        with pytest.raises(ConfigError, match="slerp"):
            shop.query(text="red", image=catalog.parent / "blue.png", composition="slerp")
        with pytest.raises(ConfigError, match="composition 'product'"):
            shop.query(text="red", image=catalog.parent / "blue.png", composition="product")


def test_a_second_ingest_encodes_nothing_and_a_changed_text_both(
    tmp_path: Path, catalog: Path, heads: Path
) -> None:
    with Client(tmp_path / "a.db") as shop:
        shop.ingest(catalog, fusion=str(heads))
        assert shop.ingest(catalog).unchanged == 5
        before = shop._open().vectors(["red", "blue"])
        catalog.write_text(catalog.read_text().replace("red shirt", "crimson shirt"), encoding="utf-8")
        report = shop.ingest(catalog, fusion=heads)
        assert (report.written, report.unchanged, report.images_encoded, report.texts_encoded) == (1, 4, 1, 1)
        after = shop._open().vectors(["red", "blue"])
        assert after["blue"][0].tobytes() == before["blue"][0].tobytes()
        assert after["red"][0].tobytes() != before["red"][0].tobytes()
    with Client(tmp_path / "b.db") as fresh:
        fresh.ingest(catalog, fusion=str(heads))
        assert fresh._open().vectors(["red"])["red"][0] == pytest.approx(after["red"][0], abs=1e-5)


def test_a_head_that_moved_or_changed(
    tmp_path: Path, catalog: Path, heads: Path, spec: EncoderSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = tmp_path / "a.db"
    with Client(uri) as shop:
        shop.ingest(catalog, fusion=str(heads))
    moved = tmp_path / "elsewhere"
    shutil.move(heads, moved)
    with Client(uri) as shop:
        assert shop.info().stamp["dim"] == 64  # what needs no vectors goes on
        with pytest.raises(StampMismatch, match="MM_MILVUS_FUSION"):
            shop.query(text="red")
    monkeypatch.setenv("MM_MILVUS_FUSION", str(moved))
    with Client(uri) as shop:
        assert shop.query(text="red", limit=3).hits
        assert shop.ingest(catalog).unchanged == 5
    monkeypatch.delenv("MM_MILVUS_FUSION")
    head_for(spec, seed=7).save(heads)
    with Client(uri) as shop:
        with pytest.raises(StampMismatch, match="were made with fp:"):
            shop.query(text="red")
        with pytest.raises(StampMismatch, match="another --collection"):
            shop.ingest(catalog, fusion=str(heads))
        with pytest.raises(StampMismatch, match="'blocks' was asked for"):
            shop.ingest(catalog, fusion="blocks")


def test_what_is_refused(tmp_path: Path, catalog: Path, heads: Path, spec: EncoderSpec) -> None:
    with Client(tmp_path / "a.db") as shop:
        with pytest.raises(
            ConfigError, match="folder of a trained fusion .mm-milvus train., got 'attention'"
        ):
            shop.ingest(catalog, fusion="attention")
        with pytest.raises(FusionError, match="no trained fusion in"):
            shop.ingest(catalog, fusion="heads/of-nobody")
        head_for(spec, revision="another").save(tmp_path / "strange")
        with pytest.raises(FusionError, match="trained on the encoder offline@another"):
            shop.ingest(catalog, fusion=str(tmp_path / "strange"))
        assert shop.collections() == []
        shop.ingest(catalog, fusion=str(heads))
        with pytest.raises(ConfigError, match="learnt from queries itself"):
            shop.calibrate([f"a query number {n}" for n in range(30)])
        with pytest.raises(StampMismatch, match="blocks|fused with"):
            shop.ingest(catalog, fusion="sum")
