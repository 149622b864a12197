"""Measures the defaults of queries with the encoder `offline`: compositions, missing modalities, words.

    python benchmarks/quality.py --data ../shared/data [--only composed products missing words]

All of it by inner products in memory, with the constants of `mm_milvus.search`. Photos are real and held out: of
groceries every fourth one asks among the others, of garments those of senders with an odd number among those with an
even one, and "tints" are retail and eshop products painted in six colours by computer. Takes some ten minutes on two
cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fit_offline
import numpy as np
from bridge import encode, mean_of_nearest, rows_of

from mm_milvus.encoders import Encoder, load_encoder
from mm_milvus.fusion import normalise
from mm_milvus.search import WordIndex, rescore
from mm_milvus.store.tokens import tokenize_query

EXTRAS = {
    "groceries": ["organic", "fair trade", "discount", "family pack", "premium", "imported"],
    "garments": ["red", "blue", "green", "black", "white", "yellow"],
}
INCOMPLETE = 0.3  # of the products lack their text, and as many their picture


@dataclass
class Photos:
    """Products and queries: unit vectors of pictures, and the names of classes."""

    name: str
    pictures: np.ndarray
    classes: np.ndarray
    asked_pictures: np.ndarray
    asked_classes: np.ndarray


class Means:
    """What the encoder's vectors have in common."""

    def __init__(self, encoder: Encoder) -> None:
        spec = encoder.spec
        self.image, self.text, self.query = (
            np.array(mean, np.float32) for mean in (spec.image_mean, spec.text_mean, spec.query_text_mean)
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    names = ["composed", "products", "missing", "words"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    encoder = load_encoder("offline", device="cpu")
    if "words" in options.only:
        words(encoder, options.data)
    if set(options.only) == {"words"}:
        return
    photos = [groceries(encoder, options.data), garments(encoder, options.data)]
    if "composed" in options.only:
        composed(encoder, photos, options.data)
    for set_ in photos:
        if "products" in options.only:
            products(encoder, set_)
        if "missing" in options.only:
            missing(encoder, set_)


# --- the sets ----------------------------------------------------------------------------------------------


def groceries(encoder: Encoder, data: Path) -> Photos:
    rows = rows_of(data / "grocery")
    return held_out("groceries", encoder, rows, "title", np.arange(len(rows)) % 4 == 0)


def garments(encoder: Encoder, data: Path) -> Photos:
    rows = rows_of(data / "clothing")[:3_000]
    return held_out("garments", encoder, rows, "label", np.array([row["sender_id"] % 2 == 1 for row in rows]))


def held_out(name: str, encoder: Encoder, rows: list[dict[str, Any]], label: str, asks: np.ndarray) -> Photos:
    parts = [encode(encoder, rows[start : start + 64]) for start in range(0, len(rows), 64)]
    pictures, classes = np.concatenate(parts), np.array([row[label].lower() for row in rows])
    return Photos(name, pictures[~asks], classes[~asks], pictures[asks], classes[asks])


def vectors(encode_texts: Callable[[list[str]], Any], texts: list[str]) -> np.ndarray:
    """(N, D), each distinct text being encoded once."""
    distinct = list(dict.fromkeys(texts))
    known = dict(zip(distinct, encode_texts(distinct).numpy(), strict=True))
    return np.stack([known[text] for text in texts])


# --- a picture and words -----------------------------------------------------------------------------------


@dataclass
class Composed:
    """Similarities (queries, products) of each part of a query, raw and centred; what is relevant."""

    name: str
    raw: dict[str, np.ndarray]
    centred: dict[str, np.ndarray]
    relevant: np.ndarray
    itself: np.ndarray | None = None  # the product that one asks with, which does not count

    def score(self, scores: np.ndarray) -> float:
        """P@10 among as many as there are; R@1 where one product is relevant."""
        if self.itself is not None:
            scores = scores.copy()
            scores[np.arange(len(scores)), self.itself] = -9.0
        found = np.take_along_axis(self.relevant, np.argsort(-scores, axis=1)[:, :10], 1)
        if self.relevant.sum(axis=1).max() == 1:
            return float(found[:, 0].mean())
        possible = np.minimum(10, self.relevant.sum(axis=1))
        return float((found.sum(axis=1)[possible > 0] / possible[possible > 0]).mean())


def composed(encoder: Encoder, photos: list[Photos], data: Path) -> None:
    """Which product is of the picture's class and has what the words ask for? Texts name both."""
    sets = [with_extras(encoder, set_) for set_ in photos] + [tints(encoder, data)]
    print(f"composed queries (P@10; tints R@1): {', '.join(set_.name for set_ in sets)}")
    for name in ("raw", "query centred", "all centred"):
        for share in (0.0, 0.3, 0.5):
            for weight in (0.3, 0.4, 0.5, 0.55, 0.6, 0.7):
                show(
                    f"{name}, bridge {share}, words {weight}",
                    sets,
                    lambda s, n=name, b=share, w=weight: sums(s, n, b, w),
                )
    itself = replace(sets[-1], name="tints with the one that is shown", itself=None)
    for weight in (0.4, 0.45, 0.5, 0.55, 0.6):
        show(
            f"the best hundred rescored, three alike, words {weight}",
            [*sets, itself],
            lambda s, w=weight: rescored(s, w),
        )
    for share in (0.0, 0.3):
        show(f"product, bridge {share}", sets, lambda s, b=share: product(s, b))


def show(name: str, sets: list[Composed], scores: Callable[[Composed], np.ndarray]) -> None:
    print(f"{name}: {'  '.join(f'{set_.score(scores(set_)):.3f}' for set_ in sets)}", flush=True)


def sums(set_: Composed, name: str, share: float, weight: float) -> np.ndarray:
    parts = set_.centred if name == "all centred" else set_.raw
    words = parts["words" if name != "query centred" else "centred words"]
    return (1 - weight) * ((1 - share) * parts["picture"] + share * parts["bridge"]) + weight * words


def rescored(set_: Composed, weight: float) -> np.ndarray:
    """The defaults: what a collection answers that holds these products."""
    found, parts = sums(set_, "query centred", 0.3, weight), set_.centred
    others = (1 - weight) * (0.7 * parts["picture"] + 0.3 * parts["bridge"])
    last = np.sort(found, axis=1)[:, -rescore.RESCORED][:, None]
    best = np.where(found >= last, others, -1.0)
    return np.stack([rescore._capped(row, rescore._KEPT) for row in best]) + weight * parts["words"]


def product(set_: Composed, share: float) -> np.ndarray:
    parts = set_.centred
    shown = (1 - share) * parts["picture"] + share * parts["bridge"]
    one, other = (side.clip(0) / side.max(axis=1, keepdims=True) for side in (shown, parts["words"]))
    return np.asarray(one * other - rescore._PENALTY * (one + other) ** 2)


def with_extras(encoder: Encoder, set_: Photos) -> Composed:
    """Every product has one of six further properties, which only its text tells."""
    draw, extras = np.random.default_rng(0), EXTRAS[set_.name]
    has, wanted = (draw.integers(0, 6, len(classes)) for classes in (set_.classes, set_.asked_classes))
    texts = [f"{kind}, {extras[extra]}" for kind, extra in zip(set_.classes, has, strict=True)]
    relevant = (set_.asked_classes[:, None] == set_.classes) & (wanted[:, None] == has)
    asked = [extras[extra] for extra in wanted]
    return similarities(encoder, set_.name, set_.pictures, texts, set_.asked_pictures, asked, relevant)


def tints(encoder: Encoder, data: Path) -> Composed:
    """ "This one, but blue": the same product in another colour is to be found."""
    rows, colours = (
        [row for name in ("retail", "eshop") for row in rows_of(data / name)],
        list(fit_offline.TINTS),
    )
    painted = [
        fit_offline.tint(fit_offline.open_rgb(row["path"]), hue)
        for row in rows
        for hue in fit_offline.TINTS.values()
    ]
    parts = [
        encoder.encode_image(painted[start : start + 64]).numpy() for start in range(0, len(painted), 64)
    ]
    pictures, count = np.concatenate(parts), len(painted)
    texts = [
        f"{fit_offline.plain_title(row)}, {colour}, {row['category']}" for row in rows for colour in colours
    ]
    turns = np.array([1 + (place // 6) % 5 for place in range(count)])
    wanted = (np.arange(count) + turns) % 6
    relevant = np.zeros((count, count), bool)
    relevant[np.arange(count), np.arange(count) // 6 * 6 + wanted] = True
    asked = [colours[colour] for colour in wanted]
    return similarities(encoder, "tints", pictures, texts, pictures, asked, relevant, np.arange(count))


def similarities(
    encoder: Encoder, name: str, pictures: np.ndarray, texts: list[str], asked: np.ndarray, words: list[str],
    relevant: np.ndarray, itself: np.ndarray | None = None,
) -> Composed:  # fmt: skip
    means = Means(encoder)
    stored, queries = vectors(encoder.encode_text, texts), vectors(encoder.encode_query_text, words)
    by_picture = asked @ pictures.T
    near = by_picture.copy()
    if itself is not None:
        near[np.arange(len(near)), itself] = -9.0
    called = mean_of_nearest(near, stored - means.text)
    centred_words = normalise(queries - means.query)
    raw = {
        "picture": by_picture,
        "words": queries @ stored.T,
        "centred words": centred_words @ stored.T,
        "bridge": called @ stored.T,
    }
    images, stored = normalise(pictures - means.image), normalise(stored - means.text)
    centred = {
        "picture": normalise(asked - means.image) @ images.T,
        "words": centred_words @ stored.T,
        "bridge": called @ stored.T,
    }
    return Composed(name, raw, centred, relevant, itself)


# --- a stored product --------------------------------------------------------------------------------------


def products(encoder: Encoder, set_: Photos) -> None:
    """P@10 of the class of products like a stored one, whose text is its class and one of six words."""
    means = Means(encoder)
    draw, extras = np.random.default_rng(0), EXTRAS[set_.name]
    texts = [f"{kind}, {extras[draw.integers(0, 6)]}" for kind in set_.classes]
    images, stored = set_.pictures, vectors(encoder.encode_text, texts)
    same = set_.classes[:, None] == set_.classes
    centred_images, centred_texts = normalise(images - means.image), normalise(stored - means.text)
    for name, by_image, by_text in (
        ("raw", images @ images.T, stored @ stored.T),
        ("query centred", images @ images.T, centred_texts @ stored.T),
        ("all centred", centred_images @ centred_images.T, centred_texts @ centred_texts.T),
    ):
        scores = (by_image + by_text) / 2
        np.fill_diagonal(scores, -9.0)
        found = np.take_along_axis(same, np.argsort(-scores, axis=1)[:, :10], 1)
        print(f"{set_.name}, like a stored product, {name}: P@10 {found.mean():.3f}", flush=True)


# --- missing modalities ------------------------------------------------------------------------------------


def missing(encoder: Encoder, set_: Photos) -> None:
    """Names of classes as queries; the texts are names of classes. Three tenths have no text, as many no picture."""
    means, draw = Means(encoder), np.random.default_rng(1).random(len(set_.classes))
    names = sorted(set(set_.classes))
    queries = vectors(encoder.encode_query_text, names)
    texts = vectors(encoder.encode_text, list(set_.classes))
    relevant = np.array(names)[:, None] == set_.classes
    for name, share in (("complete", 0.0), ("60 % incomplete", INCOMPLETE)):
        has_text, has_image = draw >= share, ~((draw >= share) & (draw < 2 * share))
        stored = np.where(has_text[:, None], texts, means.text)
        images = np.where(has_image[:, None], set_.pictures, means.image)
        by_words = queries @ stored.T
        both = has_text & has_image
        shown = mean_of_nearest(np.where(both, by_words, -9.0), images - means.image) @ images.T
        for part in (0.0, 0.01, 0.02, 0.03, 0.05):
            scores = (1 - part) * by_words + part * shown
            top = np.argsort(-scores, axis=1)[:, :10]
            line = f"nDCG@10 {ndcg(relevant, top):.3f}, incomplete among ten {(~both)[top].mean():.2f}"
            if share:
                without = np.argsort(-np.where(has_text, -9.0, scores), axis=1)[:, :10]
                line += f", P@10 of those without text {np.take_along_axis(relevant, without, 1).mean():.3f}"
            print(f"{set_.name}, words, {name}, bridge {part}: {line}", flush=True)
        by_picture = set_.asked_pictures @ images.T
        called = mean_of_nearest(np.where(both, by_picture, -9.0), stored - means.text) @ stored.T
        for part in (0.0, 0.3):
            top = np.argsort(-((1 - part) * by_picture + part * called), axis=1)[:, :10]
            hits = (set_.asked_classes[:, None] == set_.classes[top]).mean()
            print(
                f"{set_.name}, picture, {name}, bridge {part}: P@10 {hits:.3f}, "
                f"incomplete among ten {(~both)[top].mean():.2f}",
                flush=True,
            )


def ndcg(relevant: np.ndarray, top: np.ndarray) -> float:
    """Mean nDCG@10 of ``top`` (queries, 10), with ``relevant`` (queries, products)."""
    gains = 1 / np.log2(np.arange(2, 12))
    best = np.array([gains[: min(10, count)].sum() for count in relevant.sum(axis=1)])
    return float((np.take_along_axis(relevant, top, 1) @ gains / best).mean())


# --- words -------------------------------------------------------------------------------------------------


def words(encoder: Encoder, data: Path) -> None:
    """Titles ask for descriptions: by vectors, by BM25, by both."""
    rows = [row for name in ("retail", "eshop", "grocery") for row in rows_of(data / name)]
    texts = list({row["description"]: row["title"] for row in rows})
    titles = {row["description"]: row["title"] for row in rows}
    names = sorted(set(titles.values()))
    relevant = np.array([[titles[text] == name for text in texts] for name in names])
    by_vector = vectors(encoder.encode_query_text, names) @ vectors(encoder.encode_text, texts).T
    index = WordIndex(texts)
    by_words = np.stack([index.scores(tokenize_query(name).split()) for name in names])
    floor = vectors(encoder.encode_query_text, names) @ Means(encoder).text
    dense = ((by_vector - floor[:, None]) / (by_vector.max(axis=1) - floor)[:, None]).clip(0)
    lexical = by_words / by_words.max(axis=1, keepdims=True).clip(1e-9)
    ranks = [np.argsort(np.argsort(-side, axis=1), axis=1) + 1 for side in (by_vector, by_words)]
    found = {f"alpha {alpha}": alpha * dense + (1 - alpha) * lexical for alpha in (0.0, 0.3, 0.5, 0.7, 1.0)}
    found["reciprocal ranks"] = 1 / (60 + ranks[0]) + np.where(by_words > 0, 1 / (60 + ranks[1]), 0.0)
    print(f"words: {len(names)} titles ask for {len(texts)} descriptions")
    for name, scores in found.items():
        print(f"{name}: nDCG@10 {ndcg(relevant, np.argsort(-scores, axis=1, kind='stable')[:, :10]):.3f}")


if __name__ == "__main__":
    main()
