"""Words against products that have lost their text: the default search, and the head of ``--fusion ridge``.

    python benchmarks/training.py --only bridge --data ../shared/data

Of the products three or six tenths lose their text and all of their attributes; the rest is the catalog that
``train --from-catalog --fusion ridge`` learns from. Names of categories ask. Of retail, eshop and groceries texts are
title and description, and the categories are among the values that the catalog makes queries of; garments have nothing
but their label, which is the text. ``neighbours`` is what every encoder without a joint space does by default,
``default`` what `offline` does: it adds what it knows of the looks of words, learned from photos of these garments and
groceries among others, but not of retail and eshop. Vectors alone, exactly: no search by words.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bridge import mean_of_nearest, rows_of
from quality import ndcg

from mm_milvus.encoders import Encoder
from mm_milvus.encoders.looks import load_looks
from mm_milvus.fusion import Head, HeadConfig, normalise
from mm_milvus.search import bridge
from mm_milvus.training.catalog import labels_from_catalog
from mm_milvus.training.data import Products, Queries
from mm_milvus.training.model import HeadModel, Means, inputs_of
from mm_milvus.training.ridge import build_bridges
from mm_milvus.training.start import starting_head

SETS = {
    "retail": ("style", "category"),
    "eshop": ("category",),
    "grocery": ("title", "category"),
    "clothing": ("label",),
}
WITHOUT = (0.3, 0.6)
GARMENTS = 3_000
UNNAMED = ("not sure", "other", "skip")
SEEDS = 3
_NO_ATTRIBUTES = {"path", "image", "split", "id", "sender_id", "label"}


def report(
    encoder: Encoder, data: Path, picture_vectors: Callable[[str, list[dict[str, Any]]], np.ndarray]
) -> None:
    """Prints nDCG@10 of all products, and of those without text alone; means of the products drawn by three seeds."""
    print(
        "| words of | without text | neighbours | default | ridge | ridge chosen, share |\n|---|---|---|---|---|---|"
    )
    for name, keys in SETS.items():
        rows = rows_of(data / name)
        pictures = picture_vectors(name, rows[:GARMENTS])
        kept = [
            place for place, row in enumerate(rows[:GARMENTS]) if row.get("label", "").lower() not in UNNAMED
        ]
        rows, pictures = [rows[place] for place in kept], pictures[kept]
        for share in WITHOUT:
            runs = [Run(encoder, rows, pictures, share, seed) for seed in range(SEEDS)]
            for key in keys:
                cells = np.mean([run.scores(key) for run in runs], axis=0)
                shown = [f"{every:.3f}, {alone:.3f}" for every, alone in cells]
                chosen = "; ".join(f"{run.chosen.ridge:g}, {run.chosen.share:g}" for run in runs)
                print(f"| {name}, {key} | {share:.0%} | {' | '.join(shown)} | {chosen} |", flush=True)


class Run:
    """Products of which a share has no text, and the head that is calculated from them."""

    def __init__(
        self, encoder: Encoder, rows: list[dict[str, Any]], pictures: np.ndarray, share: float, seed: int
    ) -> None:
        spec = encoder.spec
        self._encoder, self._rows, self._pictures = encoder, rows, pictures
        self._means = Means(
            *(np.array(mean, np.float32) for mean in (spec.image_mean, spec.text_mean, spec.query_text_mean))
        )
        self._has = np.random.default_rng(seed).random(len(rows)) >= share
        texts = [row.get("label") or f"{row['title']}. {row['description']}" for row in rows]
        self._texts = np.where(
            self._has[:, None], self._encoded(texts, encoder.encode_text), self._means.text
        )
        self._head, self.chosen = self._calculated(seed)

    def _encoded(self, texts: list[str], encode: Callable[[list[str]], Any]) -> np.ndarray:
        distinct, place = np.unique(texts, return_inverse=True)
        return np.asarray(encode(distinct.tolist()).numpy()[place])

    def _calculated(self, seed: int) -> tuple[Head, Any]:
        spec, means = self._encoder.spec, self._means
        present = np.stack([np.ones_like(self._has), self._has], axis=1)
        attributes = [
            {"title": row.get("title", row.get("label"))}
            | {k: v for k, v in row.items() if k not in _NO_ATTRIBUTES}
            if has
            else {}
            for row, has in zip(self._rows, self._has, strict=True)
        ]
        products = Products(
            [str(place) for place in range(len(self._rows))], self._pictures.copy(), self._texts.copy(), present,
            [""] * len(self._rows), attributes,
        )  # fmt: skip
        labels = labels_from_catalog(products, dev_share=0.1, seed=seed)
        words = list(dict.fromkeys(one.text for one in labels.asked if one.text))
        shown = list(dict.fromkeys(one.picture_of for one in labels.asked if one.picture_of >= 0))
        queries = Queries(
            products.image[shown],
            self._encoder.encode_query_text(words).numpy(),
            np.array([shown.index(one.picture_of) if one.picture_of >= 0 else -1 for one in labels.asked]),
            np.array([words.index(one.text) if one.text else -1 for one in labels.asked]),
            np.full(len(labels.asked), -1),
            [one.text for one in labels.asked],
        )
        dims = spec.image_dim, spec.text_dim
        config = HeadConfig("linear", sum(dims), *dims, False, spec.name, spec.revision)
        inputs = inputs_of(config, means, products, queries, spec.weights)
        weights = starting_head(config, products.image, products.text, products.present)
        model = HeadModel(config, weights, means)
        chosen = build_bridges(model, inputs, labels, seed, lambda *_: None)
        return model.to_head(), chosen["text"]

    def scores(self, key: str) -> list[tuple[float, float]]:
        """Of each way, nDCG@10 of all products and of those without text."""
        classes = np.array([str(row[key]).lower() for row in self._rows])
        names = sorted(set(classes))
        relevant = np.array(names)[:, None] == classes
        asked = self._encoder.encode_query_text(names).numpy()
        return [
            (ndcg(relevant, _best(found)), self._without(relevant, found))
            for found in (
                self._default(asked, 0.0),
                self._default(asked, bridge._LEARNED),
                self._by_head(asked),
            )
        ]

    def _without(self, relevant: np.ndarray, found: np.ndarray) -> float:
        relevant = relevant & ~self._has
        some = relevant.any(axis=1)
        return ndcg(relevant[some], _best(np.where(self._has, -np.inf, found))[some])

    def _default(self, asked: np.ndarray, learned: float) -> np.ndarray:
        share = self._encoder.spec.weights.text_bridge
        by_words = asked @ self._texts.T
        near = mean_of_nearest(np.where(self._has, by_words, -9.0), self._pictures - self._means.image)
        looks = load_looks(self._encoder.spec)
        assert looks is not None
        near = normalise(near + np.float32(learned) * looks(asked))
        return np.asarray((1 - share) * by_words + share * near @ self._pictures.T)

    def _by_head(self, asked: np.ndarray) -> np.ndarray:
        words = normalise(asked - self._means.query_text)
        queries = np.stack([self._head.query(None, one) for one in words])
        everything = np.ones(len(self._rows), np.bool_)
        return np.asarray(queries @ self._head.products(self._pictures, self._texts, everything, self._has).T)


def _best(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :10]
