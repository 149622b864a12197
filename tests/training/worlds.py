"""Products, queries and labels that are drawn, for tests of a training without any encoder."""

from __future__ import annotations

import numpy as np

from mm_milvus.encoders.base import DefaultWeights
from mm_milvus.fusion import Head, HeadConfig, normalise
from mm_milvus.training.data import TRAIN, Labels, Products, Queries
from mm_milvus.training.model import HeadModel, Inputs, Means, inputs_of
from mm_milvus.training.start import starting_head

IMAGE, TEXT = 12, 8
WEIGHTS = DefaultWeights(image=0.3, text=0.7)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return normalise(rng.standard_normal(shape).astype(np.float32))


def means(seed: int = 5, image: int = IMAGE, text: int = TEXT) -> Means:
    rng = np.random.default_rng(seed)
    return Means(*(0.3 * unit(rng, dim) for dim in (image, text, text)))


def products(count: int, *, image: int = IMAGE, text: int = TEXT, complete: bool = False) -> Products:
    """Every third product lacks its text and every fifth its picture, unless ``complete``."""
    rng = np.random.default_rng(1)
    present = np.ones((count, 2), np.bool_)
    if not complete:
        present[::3, 1] = False
        present[1::5, 0] = present[1::5, 0] & ~present[1::5, 1]
    ids = [f"p{place:03d}" for place in range(count)]
    return Products(ids, unit(rng, count, image), unit(rng, count, text), present, ["words"] * count, [])


def queries(*, image: int = IMAGE, text: int = TEXT, ids: bool = True) -> Queries:
    """A picture, a text, both, a product, and a product with a text."""
    rng = np.random.default_rng(2)
    return Queries(
        unit(rng, 3, image), unit(rng, 3, text),
        np.array([0, -1, 1, *([-1, -1] if ids else [])]),
        np.array([-1, 0, 1, *([-1, 2] if ids else [])]),
        np.array([-1, -1, -1, *([3, 4] if ids else [])]),
        [""] * (5 if ids else 3),
    )  # fmt: skip


def copied(products: Products, queries: Queries) -> tuple[Products, Queries]:
    """``inputs_of`` changes vectors in their place."""
    return (
        Products(
            products.ids, products.image.copy(), products.text.copy(), products.present.copy(),
            products.texts, products.rows,
        ),
        Queries(
            queries.images.copy(), queries.texts.copy(), queries.image_at, queries.text_at, queries.product_at,
            queries.words,
        ),
    )  # fmt: skip


def config(kind: str, dim: int, *, shared: bool = False, image: int = IMAGE, text: int = TEXT) -> HeadConfig:
    return HeadConfig(kind, dim, image, text, shared, "drawn", "1", attention_heads=2)  # type: ignore[arg-type]


def random_model(config: HeadConfig, means: Means) -> HeadModel:
    rng = np.random.default_rng(3)
    sides = ("product",) if config.shared else ("product", "query")
    weights = {
        f"{side}.{name}": (rng.standard_normal(shape) / 3).astype(np.float32)
        for side in sides
        for name, shape in config.shapes().items()
    }
    return HeadModel(config, weights, means)


def started(
    config: HeadConfig, means: Means, products: Products, queries: Queries
) -> tuple[HeadModel, Inputs]:
    """A model before its first step; the vectors given stay as they are."""
    products, queries = copied(products, queries)
    inputs = inputs_of(config, means, products, queries, WEIGHTS)
    weights = starting_head(config, products.image, products.text, products.present)
    return HeadModel(config, weights, means), inputs


def head_queries(head: Head, means: Means, products: Products, queries: Queries) -> np.ndarray:
    """(Q, dim) what ``Head.query`` gives, with products as their fused vectors."""
    weights = queries.weights(WEIGHTS)
    fused = head.products(products.image, products.text, products.present[:, 0], products.present[:, 1])
    found = []
    for row in range(len(queries.words)):
        image = text = None
        if (at := queries.image_at[row]) >= 0:
            image = queries.images[at]
            image = weights[row, 0] * (normalise(image - means.image) if head.config.centred else image)
        if (at := queries.text_at[row]) >= 0:
            text = queries.texts[at]
            text = weights[row, 1] * (normalise(text - means.query_text) if head.config.centred else text)
        vector = np.zeros(head.config.dim, np.float32)
        if image is not None or text is not None:
            vector = vector + head.query(image, text)
        if (at := queries.product_at[row]) >= 0:
            vector = vector + weights[row, 2] * fused[at]
        found.append(vector)
    return np.stack(found)


def labels(query: list[int], product: list[int], splits: list[int] | None = None) -> Labels:
    from mm_milvus.training.data import Asked

    count = max(query) + 1
    split = np.array([TRAIN] * count if splits is None else splits, np.int8)
    grades = np.ones(len(query), np.float32)
    return Labels([Asked(f"q{n}") for n in range(count)], np.array(query), np.array(product), grades, split)
