"""The projection of late interaction in torch, and what it is trained and measured by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mm_milvus.late import Projection, ProjectionConfig, QueryTokens, maxsim_of
from mm_milvus.training.data import DEV
from mm_milvus.training.loop import Training
from mm_milvus.training.measure import grades_of, mean_of, ndcgs
from mm_milvus.training.start import principal

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.training.data import Labels
    from mm_milvus.training.late_tokens import LateInputs, TokenTable
    from mm_milvus.training.losses import PairLoss
    from mm_milvus.training.measure import Scores
    from mm_milvus.training.model import HeadModel, Inputs
    from mm_milvus.training.settings import TrainSettings

    Array = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

__all__ = ["LateModel", "LateTraining", "late_ndcgs", "start_projection"]

_SAMPLE = 100_000  # tokens by which a projection starts
_ROWS = 4_096  # of them in memory at once


@dataclass(frozen=True, eq=False)
class _Tokens:
    """Padded unit vectors (B, T, dim), and (B, T) what they count, or which there are."""

    vectors: Tensor
    counts: Tensor


class LateModel(nn.Module):
    """x = normalise(W_m (h - c_m)) with gradients; the names are those of ``Projection.weights``."""

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.config = projection.config
        for name in ("text", "image"):
            self.register_parameter(name, nn.Parameter(torch.tensor(projection.weights[name])))
            self.register_buffer(f"{name}_mean", torch.tensor(projection.weights[f"{name}_mean"]))

    def to_head(self) -> Projection:
        """The same projection in numpy."""
        names = self.config.shapes()
        return Projection(self.config, {n: getattr(self, n).detach().numpy().copy() for n in names})

    def products(self, inputs: LateInputs, places: Tensor, dropped: Tensor | None = None) -> _Tokens:
        """(B,) places -> their tokens. ``dropped`` (B, 2) bool: a picture, or a text, taken away for this time."""
        pairs = [inputs.product(int(place)) for place in places]
        lost = torch.zeros(len(pairs), 2, dtype=torch.bool) if dropped is None else dropped
        texts = [text[: len(text) * (not gone)] for (text, _), gone in zip(pairs, lost[:, 1], strict=True)]
        images = [
            image[: len(image) * (not gone)] for (_, image), gone in zip(pairs, lost[:, 0], strict=True)
        ]
        ones = [[np.ones(len(tokens), np.float32) for tokens in side] for side in (texts, images)]
        return self._both((texts, ones[0]), (images, ones[1]))

    def queries(self, inputs: LateInputs, places: Tensor) -> _Tokens:
        """(B,) places -> their tokens with weights that sum to 1."""
        texts, images = zip(*(inputs.query(int(place)) for place in places), strict=True)
        return self._both(_flat(texts), _flat(images))

    def _both(
        self, texts: tuple[list[Array], list[Array]], images: tuple[list[Array], list[Array]]
    ) -> _Tokens:
        parts = [self._projected("text", *texts), self._projected("image", *images)]
        return _Tokens(
            torch.cat([part.vectors for part in parts], dim=1),
            torch.cat([part.counts for part in parts], dim=1),
        )

    def _projected(self, name: str, rows: Sequence[Array], weights: Sequence[Array]) -> _Tokens:
        longest = max((len(tokens) for tokens in rows), default=0)
        width = getattr(self, name).shape[1]
        padded = np.zeros((len(rows), longest, width), np.float32)
        counts = np.zeros((len(rows), longest), np.float32)
        for place, (tokens, weight) in enumerate(zip(rows, weights, strict=True)):
            padded[place, : len(tokens)], counts[place, : len(tokens)] = tokens, weight
        raw = torch.from_numpy(padded) - getattr(self, f"{name}_mean")
        return _Tokens(normalize(raw @ getattr(self, name).T, dim=-1), torch.from_numpy(counts))


def _flat(items: Sequence[Sequence[tuple[Array, float]]]) -> tuple[list[Array], list[Array]]:
    """Of each item its parts one after the other, and the weight of each token."""
    return (
        [np.concatenate([tokens for tokens, _ in parts]) for parts in items],
        [
            np.concatenate([np.full(len(tokens), weight, np.float32) for tokens, weight in parts])
            for parts in items
        ],
    )


def cosines(queries: _Tokens, products: _Tokens) -> Tensor:
    """(B, C): sum over i of w_i max over j of q_i . p_j, padding of products being -inf; 0 without any token."""
    batch, length, dim = queries.vectors.shape
    found = queries.vectors.reshape(-1, dim) @ products.vectors.reshape(-1, dim).T
    found = found.reshape(batch, length, len(products.vectors), -1)
    there = products.counts > 0
    best = found.masked_fill(~there, -math.inf).amax(dim=3)
    best = best.masked_fill(~there.any(dim=1), 0.0)
    return (best * queries.counts[:, :, None]).sum(dim=1)


class LateLoss(nn.Module):
    """A PairLoss of tokens instead of vectors."""

    def __init__(self, pairs: PairLoss) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(
        self, queries: _Tokens, candidates: _Tokens, wanted: Tensor, hidden: Tensor, grades: Tensor
    ) -> Tensor:
        return self.pairs.of_cosines(cosines(queries, candidates), wanted, hidden, grades)


class LateTraining(Training):
    """A training of a projection: judged by how it reorders ``near``, with the same negatives all the time.

    ``near`` (Q, M) has the places of each query's candidates, best first, -1 beyond the last and of no interest;
    ``pool`` (train queries, M) their hard negatives, by the ranking that is to be reordered.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: LateModel,
        inputs: LateInputs,
        labels: Labels,
        twins: Ints,
        near: Ints,
        pool: Ints | None,
    ) -> None:
        # The loop needs of a model and its inputs only what these two have as well.
        super().__init__(settings, cast("HeadModel", model), cast("Inputs", inputs), labels, twins, ([], []))
        self._late, self._tokens, self._near, self._negatives = model, inputs, near, pool
        self._loss: Any = LateLoss(self._loss)  # the same parameters, which the optimiser has

    def _measured(self) -> float | None:
        return mean_of(late_ndcgs(self._late, self._tokens, self._labels, self._near, DEV))

    def _mine(self, epoch: int) -> None:
        self._pool = self._negatives


def late_ndcgs(model: LateModel, inputs: LateInputs, labels: Labels, near: Ints, split: int) -> Scores:
    """(Q,) nDCG@10 of the queries of a split, their candidates ``near`` being reordered as the reranker does."""
    queries = labels.queries_of(split)
    if not len(queries):
        return np.empty(0)
    projection = model.to_head()
    places = np.unique(near[queries])
    places = places[places >= 0]
    flat, starts = _project_all(projection, inputs, places)
    found = np.full((len(queries), near.shape[1]), -1, np.int64)
    for row, query in enumerate(queries):
        mine = near[query][near[query] >= 0]
        at = np.searchsorted(places, mine)
        counts = starts[at + 1] - starts[at]
        tokens = np.concatenate([flat[starts[one] : starts[one + 1]] for one in at]) if len(at) else flat[:0]
        scores = maxsim_of(_query_tokens(projection, inputs, int(query)), tokens.astype(np.float32), counts)
        some = counts > 0
        scores[~some] = scores[some].mean() if some.any() else 0.0
        found[row, : len(mine)] = mine[np.argsort(-scores, kind="stable")]
    return ndcgs(found, grades_of(labels, split))


def _project_all(
    projection: Projection, inputs: LateInputs, places: Ints
) -> tuple[npt.NDArray[np.float16], Ints]:
    """Tokens of products one after the other, in half precision, as they are stored."""
    parts, counts = [], [0]
    for place in places:
        text, image = inputs.product(int(place))
        part = np.concatenate([projection.text(text), projection.image(image)]).astype(np.float16)
        parts.append(part)
        counts.append(len(part))
    flat = np.concatenate(parts) if parts else np.empty((0, projection.config.dim), np.float16)
    return flat, np.cumsum(counts)


def _query_tokens(projection: Projection, inputs: LateInputs, query: int) -> QueryTokens:
    texts, images = inputs.query(query)
    parts = [(projection.text(tokens), weight) for tokens, weight in texts]
    parts += [(projection.image(tokens), weight) for tokens, weight in images]
    weights = [np.full(len(tokens), weight, np.float32) for tokens, weight in parts]
    return QueryTokens(np.concatenate([tokens for tokens, _ in parts]), np.concatenate(weights))


def start_projection(config: ProjectionConfig, inputs: LateInputs, *, joint: bool) -> Projection:
    """What keeps most of the tokens: their principal directions, by modality; in a joint space those of both.

    With room for both modalities each gets directions of its own, so that what was never compared does not meet.
    """
    tables: Mapping[str, TokenTable] = {"text": inputs.text, "image": inputs.image}
    means, moments = {}, {}
    for name, table in tables.items():
        means[name], moments[name] = _mean_and_moments(table)
    if joint and config.text_dim == config.image_dim:
        shared = _directions(moments["text"] + moments["image"], config.dim)
        directions = {"text": shared, "image": shared}
    else:
        directions = {name: _directions(own, config.dim) for name, own in moments.items()}
        directions["image"] = directions["image"][::-1]  # empty rows, where there are some, come first
    weights = {name: np.ascontiguousarray(rows, np.float32) for name, rows in directions.items()}
    weights |= {f"{name}_mean": np.asarray(mean, np.float32) for name, mean in means.items()}
    return Projection(config, weights)


def _mean_and_moments(table: TokenTable) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(D,) the mean of the tokens, or of as many of them as there need be, and (D, D) their moments about it."""
    rows = table.rows[:: max(-(-len(table.rows) // _SAMPLE), 1)]
    width = rows.shape[1]
    mean, moments = np.zeros(width), np.zeros((width, width))
    for part in _parts(rows):
        mean += part.sum(axis=0) / len(rows)
    for part in _parts(rows):
        moments += (part - mean).T @ (part - mean)
    return mean, moments


def _parts(rows: npt.NDArray[np.float16]) -> Iterator[npt.NDArray[np.float64]]:
    return (np.asarray(rows[start : start + _ROWS], np.float64) for start in range(0, len(rows), _ROWS))


def _directions(moments: npt.NDArray[np.float64], dim: int) -> npt.NDArray[np.float64]:
    """(dim, D) the principal directions as rows, then zeros."""
    found = principal(moments)[:dim]
    return np.concatenate([found, np.zeros((dim - len(found), moments.shape[1]))])
