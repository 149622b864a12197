"""Heads of random weights: what they compute does not depend on how they were trained."""

from __future__ import annotations

import numpy as np

from mm_milvus.fusion import Head, HeadConfig, HeadKind, normalise


def random_head(
    kind: HeadKind,
    *,
    dim: int = 4,
    image_dim: int = 6,
    text_dim: int = 5,
    shared: bool = True,
    seed: int = 0,
    encoder: str = "offline",
    revision: str = "1",
) -> Head:
    if kind in ("sum", "product"):
        image_dim = text_dim = dim
    config = HeadConfig(kind, dim, image_dim, text_dim, shared, encoder, revision, attention_heads=2)
    draw = np.random.default_rng(seed)
    sides = ["product"] if shared else ["product", "query"]
    weights = {
        f"{side}.{name}": draw.normal(size=shape).astype(np.float32)
        for side in sides
        for name, shape in config.shapes().items()
    }
    means = [0.1 * draw.normal(size=size).astype(np.float32) for size in (image_dim, text_dim, text_dim)]
    return Head(config, weights, *means)


def unit(size: int, count: int = 1, seed: int = 1) -> np.ndarray:
    return normalise(np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32))
