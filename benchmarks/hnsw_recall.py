"""Recall of a server's HNSW index against exact search, for the queries that blocks make possible.

    python benchmarks/hnsw_recall.py --uri http://localhost:19530 --data ../shared/data/clothing/catalog.jsonl

Vectors are real: pictures of the catalog through the offline encoder, each photo also mirrored to double their number,
and short texts of label and colour words. Queries are held out, of one block, of both, and with a negative weight. The
default search width (`DEFAULT_EF` of the store) follows from this table.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mm_milvus.config import Settings
from mm_milvus.encoders import load_encoder
from mm_milvus.records import Row, Schema
from mm_milvus.store import Stamp, Store

WORDS = "red blue green black white grey beige striped checked long short warm light sporty".split()
MIXTURES = {
    "picture only": (1.0, 0.0),
    "text only": (0.0, 1.0),
    "composed .3 / .7": (0.3, 0.7),
    "composed .5 / .5": (0.5, 0.5),
    "negative text 1 / -.4": (1.0, -0.4),
}


def embed(catalog: Path, count: int, cache: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """(N, D_image) and (N, D_text) unit vectors of ``count`` products and 200 held-out queries, in random order."""
    if cache and cache.exists():
        with np.load(cache) as stored:
            return stored["image"], stored["text"]
    encoder = load_encoder("offline")
    rows = [json.loads(line) for line in catalog.read_text(encoding="utf-8").splitlines()]
    random = np.random.default_rng(7)
    images, texts = [], []
    for index in range(count + 200):
        row = rows[index % len(rows)]
        with Image.open(catalog.parent / row["image"]) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        images.append(picture if index < len(rows) else ImageOps.mirror(picture))
        texts.append(f"{row['label']}, {' '.join(random.choice(WORDS, 2))}")
    image = np.concatenate(
        [encoder.encode_image(images[i : i + 64]).numpy() for i in range(0, len(images), 64)]
    )
    text = encoder.encode_text(texts).numpy()
    order = random.permutation(len(image))
    image, text = image[order], text[order]
    if cache:
        np.savez(cache, image=image, text=text)
    return image, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--efs", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512])
    parser.add_argument("--cache", type=Path, help="keep the vectors in this .npz file between runs")
    options = parser.parse_args()
    image, text = embed(options.data, options.count, options.cache)
    stored = np.concatenate([image, text], axis=1)[: options.count]
    name = f"recall_{uuid.uuid4().hex[:8]}"
    with Store(Settings(uri=options.uri)) as store:
        stamp = Stamp(
            encoder="offline",
            revision="benchmark",
            preprocessing="",
            fusion="blocks",
            image_mean=image.mean(axis=0),
            text_mean=text.mean(axis=0),
            joint=False,
            text_fields=(),
            max_chars=0,
            schema=Schema(),
        )
        collection = store.create(name, stamp)
        try:
            for start in range(0, len(stored), 1000):
                part = stored[start : start + 1000]
                collection.write([Row(str(start + i), "", v, True, True, {}) for i, v in enumerate(part)])
            collection.flush()
            wait_for_index(store, name, len(stored))
            print(f"{len(stored):,} vectors of {stored.shape[1]} dimensions, {store.capabilities.version}")
            report(store, name, stored, image[options.count :], text[options.count :], options)
        finally:
            store.drop(name)


def wait_for_index(store: Store, name: str, rows: int) -> None:
    for _ in range(600):
        state = store._link.client.describe_index(name, "fused")
        if int(state.get("indexed_rows", 0)) >= rows and not int(state.get("pending_index_rows", 0)):
            break
        time.sleep(0.5)
    store._link.client.release_collection(name)
    store._link.client.load_collection(name)


def report(
    store: Store,
    name: str,
    stored: np.ndarray,
    image: np.ndarray,
    text: np.ndarray,
    options: argparse.Namespace,
) -> None:
    print("| query | " + " | ".join(f"ef {ef}" for ef in options.efs) + " |")
    print("|---|" + "---|" * len(options.efs))
    for label, (a, b) in MIXTURES.items():
        # The words of another query: a picture and a wish that do not belong together, as users ask.
        queries = np.concatenate([a * image, b * np.roll(text, 1, axis=0)], axis=1)[: options.queries]
        # A tie with the tenth exact hit is as good as that hit: many products share their text to the letter.
        tenth = np.sort(queries @ stored.T, axis=1)[:, -10] - 1e-5
        cells = []
        for ef in options.efs:
            opened = Store(Settings(uri=options.uri, ef=ef, consistency="Bounded"))
            collection = opened.open(name)
            scores = [
                [hit.score for hit in collection.search(q.astype(np.float32), limit=10)] for q in queries
            ]
            opened.close()
            cells.append(np.mean([np.sum(s >= t) / 10 for s, t in zip(np.array(scores), tenth, strict=True)]))
        print(f"| {label} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
