"""What is lost when a model computes in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bench.catalogs import photos
from bench.context import Context
from bench.forward import decode_all
from bench.table import Measured

__all__ = ["dtypes"]

_NEAREST = 10


def dtypes(context: Context) -> Iterator[tuple[str, Measured]]:
    """The same pictures in both formats."""
    if context.device == "cuda":
        yield from _compared(context, "clip-b32", "cuda", context.count(2_048, 32))
        yield from _compared(context, "siglip-b16-224", "siglip-cuda", context.count(2_048, 32))
        return
    yield from _compared(context, "offline", "offline", context.count(256, 32))
    yield from _compared(context, "clip-b32", "clip", context.count(128, 32))
    yield from _compared(context, "siglip-b16-224", "siglip", context.count(128, 32))


def _compared(context: Context, model: str, suffix: str, count: int) -> Iterator[tuple[str, Measured]]:
    pictures = photos(context.data, "clothing", min(count, 5_096))
    vectors = []
    for dtype in ("float32", "bfloat16"):
        encoder = context.encoders(model, dtype)[0]
        vectors.append(encoder.encode_prepared(decode_all(encoder, pictures)))
    exact, rounded = vectors
    cosines = (exact * rounded).sum(dim=1)
    detail = f"lowest {float(cosines.min()):.5f}; {len(pictures):,} pictures"
    yield f"cosine-{suffix}", Measured([float(cosines.mean())], detail)
    yield f"overlap-{suffix}", Measured([_overlap(exact, rounded)], f"{len(pictures):,} pictures")


def _overlap(exact: torch.Tensor, rounded: torch.Tensor) -> float:
    """Mean share of the ten nearest others that both name: each among vectors of its own kind."""
    shares = [
        len(set(one) & set(other)) / _NEAREST
        for one, other in zip(_nearest(exact), _nearest(rounded), strict=True)
    ]
    return sum(shares) / len(shares)


def _nearest(vectors: torch.Tensor) -> list[list[int]]:
    scores = vectors @ vectors.T  # (N, N)
    scores.fill_diagonal_(-2.0)
    nearest: list[list[int]] = scores.topk(_NEAREST).indices.tolist()
    return nearest
