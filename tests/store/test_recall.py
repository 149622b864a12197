"""Approximate search against exact search: no product that should be found is lost, filtered or not."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mm_milvus.config import Settings
from mm_milvus.encoders import load_encoder
from mm_milvus.records import Field, FieldType, Row, Schema
from mm_milvus.store import Collection, Stamp, Store, storable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def make(store: Store, fused: np.ndarray, image_dim: int, ranks: np.ndarray | None = None) -> Collection:
    """A collection of these vectors; the attribute ``rank`` of each row comes from ``ranks``."""
    schema = Schema((Field("rank", FieldType.INT64),))
    stamp = Stamp(
        encoder="test",
        revision="1",
        preprocessing="",
        fusion="blocks",
        image_mean=fused[:, :image_dim].mean(axis=0),
        text_mean=fused[:, image_dim:].mean(axis=0),
        joint=False,
        text_fields=(),
        max_chars=0,
        schema=storable(schema, store.capabilities, None),
    )
    collection = store.create(f"recall_{uuid.uuid4().hex[:12]}", stamp)
    for start in range(0, len(fused), 2_000):
        part = range(start, min(start + 2_000, len(fused)))
        collection.write(
            [
                Row(str(i), "", fused[i], True, True, {"rank": int(i if ranks is None else ranks[i])})
                for i in part
            ]
        )
    collection.flush()
    _wait_for_index(store, collection, len(fused))
    return collection


def _wait_for_index(store: Store, collection: Collection, rows: int) -> None:
    """Until the index covers every row and Bounded searches see them."""
    client = store._link.client
    for _ in range(600):
        index = client.describe_index(collection.name, "fused")
        done = int(index.get("indexed_rows", rows)) >= rows and not int(index.get("pending_index_rows", 0))
        if done and collection.count(consistency="Bounded") == rows:
            break
        time.sleep(0.5)
    client.release_collection(collection.name)
    client.load_collection(collection.name)


@pytest.fixture(scope="module")
def server(server_uri: str) -> Iterator[Store]:
    with Store(Settings(uri=server_uri, consistency="Bounded")) as store:
        yield store


@pytest.fixture(scope="module")
def shop_vectors(clothing_catalog: Path) -> tuple[np.ndarray, np.ndarray]:
    """(10,000, D_image) and (10,000, D_text): 1,000 real photos, each with ten short texts."""
    encoder = load_encoder("offline")
    rows = [json.loads(line) for line in clothing_catalog.read_text(encoding="utf-8").splitlines()[:1_000]]
    images = []
    for row in rows:
        with Image.open(clothing_catalog.parent / row["image"]) as picture:
            images.append(picture.convert("RGB"))
    image = np.concatenate([encoder.encode_image(images[i : i + 64]).numpy() for i in range(0, 1_000, 64)])
    words = "red blue green black white grey beige striped checked long short warm light sporty".split()
    random = np.random.default_rng(7)
    texts = [f"{row['label']}, {' '.join(random.choice(words, 2))}" for row in rows for _ in range(10)]
    distinct = sorted(set(texts))
    vectors = dict(zip(distinct, encoder.encode_text(distinct).numpy(), strict=True))
    return np.repeat(image, 10, axis=0), np.stack([vectors[text] for text in texts])


@pytest.mark.server
@pytest.mark.parametrize(
    ("image_weight", "text_weight"),
    [(1.0, 0.0), (0.0, 1.0), (0.3, 0.7), (1.0, -0.4)],
    ids=["picture", "text", "composed", "negative"],
)
def test_the_default_search_width_loses_nothing(
    hnsw: tuple[Collection, np.ndarray, int], image_weight: float, text_weight: float
) -> None:
    """Recall@10 >= 0.99 on 10,000 fused vectors of real photos; benchmarks/hnsw_recall.py has the whole table."""
    collection, stored, image_dim = hnsw
    random = np.random.default_rng(3)
    picked = random.permutation(len(stored))[:200]
    noise = random.normal(0, 0.02, (200, stored.shape[1])).astype(np.float32)
    pictures, words = stored[picked, :image_dim], stored[np.roll(picked, 1), image_dim:]
    queries = np.concatenate([image_weight * pictures, text_weight * words], axis=1) + noise
    # A tie with the tenth exact hit is as good as that hit: ten products share each picture.
    tenth = np.sort(queries @ stored.T, axis=1)[:, -10] - 1e-5
    found = [[hit.score for hit in collection.search(query, limit=10)] for query in queries]
    assert np.mean(np.array(found) >= tenth[:, None]) >= 0.99


@pytest.fixture(scope="module")
def hnsw(
    server: Store, shop_vectors: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[Collection, np.ndarray, int]]:
    image, text = shop_vectors
    fused = np.concatenate([image, text], axis=1)
    collection = make(server, fused, image.shape[1])
    yield collection, fused, image.shape[1]
    server.drop(collection.name)


ROWS = 50_000


@pytest.fixture(scope="module")
def clustered() -> tuple[np.ndarray, np.ndarray]:
    """50,000 clustered vectors of 32 + 32 dimensions, and a rank per row that has nothing to do with the clusters."""
    random = np.random.default_rng(11)
    centres = random.normal(size=(500, 64))
    points = centres[random.integers(0, 500, ROWS)] + 0.5 * random.normal(size=(ROWS, 64))
    blocks = points.reshape(ROWS, 2, 32)
    blocks /= np.linalg.norm(blocks, axis=2, keepdims=True)
    return blocks.reshape(ROWS, 64).astype(np.float32), random.permutation(ROWS)


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.server)])
def filtered(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    clustered: tuple[np.ndarray, np.ndarray],
) -> Iterator[Collection]:
    if request.param == "server":
        store = request.getfixturevalue("server")
        collection = make(store, clustered[0], 32, clustered[1])
        yield collection
        store.drop(collection.name)
        return
    with Store(Settings(uri=str(tmp_path_factory.mktemp("lite") / "shop.db")), create=True) as store:
        yield make(store, clustered[0], 32, clustered[1])


@pytest.mark.parametrize("passing", [5_000, 500, 50, 5], ids=["10%", "1%", "0.1%", "0.01%"])
def test_a_filter_loses_nothing(
    filtered: Collection, clustered: tuple[np.ndarray, np.ndarray], passing: int
) -> None:
    """Recall@10 >= 0.99 and exactly min(limit, matches) rows when few of 50,000 rows pass."""
    vectors, ranks = clustered
    allowed = np.flatnonzero(ranks < passing)
    wanted = filtered.parse(f"rank < {passing}")
    queries = vectors[np.random.default_rng(5).integers(0, ROWS, 20)]
    recalls = []
    for query in queries:
        exact = allowed[np.argsort(-(vectors[allowed] @ query))[:10]]
        hits = filtered.search(query, filter=wanted, limit=10)
        assert len(hits) == min(10, passing)
        recalls.append(len({int(hit.id) for hit in hits} & set(exact.tolist())) / len(exact))
    assert np.mean(recalls) >= 0.99
    assert len(filtered.search(queries[0], filter=wanted, limit=1_000)) == min(1_000, passing)
