"""A picture is also compared with what the products that look like it are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mm_milvus import Client
from mm_milvus.encoders.base import DefaultWeights
from mm_milvus.search.bridge import Bridge
from mm_milvus.store import Store
from tests.store.conftest import DIM, row, stamp

HALF = DIM // 2


class Spec:
    joint = False
    weights = DefaultWeights(bridge=0.3, text_bridge=0.02)


def halves(image: list[float], text: list[float]) -> np.ndarray:
    return np.array(image + text, np.float32)


def test_the_texts_of_the_nearest_pictures_by_hand(store: Store, name: str) -> None:
    collection = store.create(name, stamp(store))
    mean = collection.stamp.text_mean
    near, far = [1.0, 0, 0, 0], [0, 1.0, 0, 0]
    rows = [
        row("near", halves(near, [0, 0, 1.0, 0]), title="x"),
        row("less", halves([0.8, 0.6, 0, 0], [0, 0, 0, 1.0]), title="x"),
        replace(row("no text", halves(near, [9.0, 0, 0, 0])), has_text=False),
        replace(row("no picture", halves(near, [9.0, 0, 0, 0]), title="x"), has_image=False),
        *(row(f"far {n}", halves(far, [1.0, 0, 0, 0]), title="x") for n in range(4)),
    ]
    collection.write(rows)
    collection.flush()
    spec: Any = Spec
    bridge = Bridge(collection, spec)
    found = bridge.texts(np.array(near, np.float32))
    first, second = np.array([0, 0, 1.0, 0]) - mean, np.array([0, 0, 0, 1.0]) - mean
    expected = first + 0.8**3 * second
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert bridge.used == pytest.approx(0.3)
    assert Bridge(collection, spec, 0.0).texts(np.array(near, np.float32)) is None
    assert Bridge(collection, spec).share == pytest.approx(0.3)
    assert Bridge(collection, spec, 0.5).share == pytest.approx(0.5)
    collection.delete_ids([found.id for found in collection.scan() if found.has_text])
    bridge = Bridge(collection, spec)
    assert bridge.texts(np.array(near, np.float32)) is None
    assert bridge.used == 0


def test_the_pictures_of_the_nearest_texts_by_hand(store: Store, name: str) -> None:
    collection = store.create(name, stamp(store))
    mean = collection.stamp.image_mean
    words = [0, 0, 1.0, 0]
    rows = [
        row("near", halves([1.0, 0, 0, 0], words), title="x"),
        row("less", halves([0, 1.0, 0, 0], [0, 0, 0.6, 0.8]), title="x"),
        replace(row("no picture", halves([0, 0, 9.0, 0], words), title="x"), has_image=False),
        *(row(f"far {n}", halves([0, 0, 0, 1.0], [1.0, 0, 0, 0]), title="x") for n in range(4)),
    ]
    collection.write(rows)
    collection.flush()
    spec: Any = Spec
    asked = np.array(words, np.float32)
    assert Bridge(collection, spec).pictures(asked) is None  # every product has a text
    collection.write([row("no text", halves([0, 0, 0, 9.0], words))])
    collection.flush()
    found = Bridge(collection, spec).pictures(asked)
    first, second = np.array([1.0, 0, 0, 0]) - mean, np.array([0, 1.0, 0, 0]) - mean
    expected = first + 0.6**3 * second
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert Bridge(collection, spec, 0.0).pictures(asked) is None
    assert Bridge(collection, spec).text_share == pytest.approx(0.02)


def test_a_joint_space_needs_no_bridge(store: Store, name: str) -> None:
    class Joint(Spec):
        joint = True

    collection = store.create(name, stamp(store))
    spec: Any = Joint
    assert Bridge(collection, spec, 0.5).share == 0


def test_an_explanation_tells_the_share_that_was_used(store: Store, name: str, tmp_path: Path) -> None:
    Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(tmp_path / "a.png")
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "b.png")
    pictures = [{"id": id, "image": f"{id}.png"} for id in "ab"]
    (tmp_path / "pictures.jsonl").write_text("\n".join(map(json.dumps, pictures)), encoding="utf-8")
    (tmp_path / "titles.jsonl").write_text(json.dumps({**pictures[0], "title": "red mug"}), encoding="utf-8")
    shown = tmp_path / "b.png"
    with Client(store.settings.uri, collection=name) as shop:
        shop.ingest(tmp_path / "titles.jsonl")
        shop.ingest(tmp_path / "pictures.jsonl")  # the title of "a" is gone again

        def told(**query: Any) -> float:
            return float(shop.query(explain=True, **query).explain["bridge"])

        assert told(image=shown) == told(text="red mug") == 0  # nothing to go over
        shop.ingest(tmp_path / "titles.jsonl")
        assert told(image=shown) == pytest.approx(0.3)
        assert told(image=shown, bridge=0.5) == pytest.approx(0.5)
        assert told(image=shown, bridge=0.0) == told(image=(shown, -1.0), text="red mug") == 0
        assert told(text="red mug") == pytest.approx(0.01)
