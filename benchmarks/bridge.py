"""What the texts of the nearest pictures are worth to a query picture, with the encoder `offline`.

    python benchmarks/bridge.py --data ../shared/data

Prints P@10, the share of the same class among the ten nearest products, by the share of the picture that goes to the
texts (``--bridge``). Of groceries every fourth photo asks among the others, whose text is the description of their
class; of garments the photos of senders with an odd number ask among those with an even one, whose text is the label.
Texts that name the class so well are an upper bound. Takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mm_milvus.encoders import Encoder, load_encoder
from mm_milvus.fusion import normalise
from mm_milvus.media import decode_pixels
from mm_milvus.search import bridge

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/ and grocery/")
    data = parser.parse_args().data
    encoder = load_encoder("offline", device="cpu")
    groceries = rows_of(data / "grocery")
    number = np.arange(len(groceries))
    report("groceries, description", encoder, groceries, "title", "description", number % 4 == 0)
    garments = rows_of(data / "clothing")[:3_000]
    odd = np.array([row["sender_id"] % 2 == 1 for row in garments])
    report("garments, label", encoder, garments, "label", "label", odd)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a catalog with the path of their picture; a picture that two rows share counts once."""
    lines = (folder / "catalog.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    return list({row["image"]: {**row, "path": folder / row["image"]} for row in rows}.values())


def report(
    name: str, encoder: Encoder, rows: Sequence[dict[str, Any]], label: str, text: str, asks: np.ndarray
) -> None:
    pictures = np.concatenate(
        [encode(encoder, rows[start : start + 64]) for start in range(0, len(rows), 64)]
    )
    texts = encoder.encode_text([row[text] for row in rows]).numpy()[~asks]
    labels = np.array([row[label] for row in rows])
    by_picture = pictures[asks] @ pictures[~asks].T  # (queries, gallery)
    words = mean_of_nearest(by_picture, texts - np.array(encoder.spec.text_mean))
    by_words = words @ texts.T
    for share in SHARES:
        found = np.argsort(-((1 - share) * by_picture + share * by_words), axis=1)[:, :10]
        precision = (labels[~asks][found] == labels[asks][:, None]).mean()
        print(f"{name}, bridge {share:.1f}: P@10 {precision:.3f}", flush=True)


def mean_of_nearest(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(queries, products) and (products, D) -> (queries, D): the bridge's mean of the nearest products' values."""
    nearest = np.argsort(-scores, axis=1)[:, : bridge._NEAREST]
    weights = np.take_along_axis(scores, nearest, 1).clip(0) ** bridge._POWER
    return normalise((weights[..., None] * values[nearest]).sum(axis=1))


def encode(encoder: Encoder, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    pixels = (decode_pixels(row["path"].read_bytes(), smallest=encoder.smallest_side) for row in rows)
    vectors: np.ndarray = encoder.encode_prepared([encoder.prepare(one) for one in pixels]).numpy()
    return vectors


if __name__ == "__main__":
    main()
