"""A bridge between words and pictures without a step of training: ridge regression in closed form.

With x a centred unit text vector and y the centred unit picture vector that goes with it,

    W = argmin sum over the pairs of grade |W x - y|^2 + ridge |W|^2 = Y^T X (X^T X + ridge I)^-1

(Hoerl and Kennard 1970) says what words look like, and the same from y to x what pictures are called. Pairs are the
text and the picture of each product that has both, and each query of the training with each product that it wants. The
result is a head of the kind ``linear``: products are their blocks P [u_image ; u_text], words become
P [s W x / |W x| ; x], |W x| being that of the pairs on average, and pictures likewise. So words find products without a
text by their pictures.

``ridge`` and the share s are chosen on the dev queries among products of which some were left out of the regression and
have lost what the bridge has to replace, and judged by the test queries, where there are some; for the head itself the
regression is done once more with all of them. What does no better than the usual value by more than the standard error
is chance, and the usual value stays (Breiman et al. 1984, the rule of one standard error). But a share that finds less
than no bridge at all is never kept, however few the queries are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mm_milvus.errors import ConfigError
from mm_milvus.training.data import DEV, SPLITS, TEST, Labels
from mm_milvus.training.measure import ndcgs_of
from mm_milvus.training.model import HeadModel
from mm_milvus.training.significance import paired_p

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from mm_milvus.training.measure import Scores
    from mm_milvus.training.model import Inputs

    Array = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

__all__ = ["Bridge", "build_bridges"]

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_RIDGE, _SHARE = 1.0, 0.5  # the usual ones
_HIDDEN = 0.3  # of the complete products, for the choice
_LEAST = 10  # complete products
_ROWS = 8_192  # pairs in memory at once
_ROUND = 1e-12  # sums of the same numbers in another order
_NAMES = ("image", "text")


@dataclass(frozen=True, slots=True)
class Bridge:
    """What was chosen for the queries of one modality, and nDCG@10 of the ``queries`` of that modality in ``split``,
    without and with it, among products of which three tenths lack that modality; ``p`` says how often chance alone
    makes as large a difference. ``split`` is test, where it has such queries, else dev. None where no query tells.
    """

    split: str | None
    queries: int
    ridge: float
    share: float
    ndcg_without: float | None
    ndcg_with: float | None
    p: float | None


def build_bridges(
    model: HeadModel, inputs: Inputs, labels: Labels, seed: int, progress: Callable[[int, int], None]
) -> dict[str, Bridge]:
    """Changes the query side of ``model``, a ``linear`` head with sides of its own at its start. By name of the
    modality that is asked with.

    ``inputs`` are centred. Raises ConfigError where too few products have both a picture and a text.
    """
    complete = np.flatnonzero(inputs.present.all(dim=1).numpy())
    if len(complete) < _LEAST:
        raise ConfigError(
            f"the fusion ridge learns from products that have both a picture and a text: there are {len(complete):,}, "
            f"and it needs {_LEAST}"
        )
    drawn = np.random.default_rng([seed, 4]).permutation(complete)
    hidden = np.zeros(len(inputs), np.bool_)
    hidden[drawn[: max(round(_HIDDEN * len(complete)), 1)]] = True
    chosen, maps = {}, []
    for source in (1, 0):
        choice = _Choice(model, inputs, labels, source, hidden)
        chosen[_NAMES[source]] = bridge = choice.made()
        moments = _Moments.of(inputs, labels, source, np.zeros_like(hidden))
        maps.append((source, torch.from_numpy(bridge.share * moments.solved(bridge.ridge))))
        progress(len(maps), 2)
    for source, crossing in maps:
        _cross(model, model, source, crossing)
    return chosen


class _Held:
    """The queries of a split that ask with one modality alone, among products some of which have lost it."""

    def __init__(self, inputs: Inputs, labels: Labels, source: int, hidden: Bools, split: int) -> None:
        self._split = split
        asks = (labels.split == split) & _asked_alone(inputs, source)
        self._labels = labels.keep(asks)
        asked = torch.from_numpy(asks)
        present = inputs.present.clone()
        present[torch.from_numpy(hidden), source] = False
        self._all = replace(
            inputs,
            present=present,
            image_at=inputs.image_at[asked],
            text_at=inputs.text_at[asked],
            product_at=inputs.product_at[asked],
            weights=inputs.weights[asked],
        )
        self._hidden = _among(self._all, hidden)
        self._hidden_labels = _labels_among(self._labels, hidden)

    def __len__(self) -> int:
        """Number of queries."""
        return len(self._labels.asked)

    def scores(self, model: HeadModel) -> Scores:
        """(Q,) nDCG@10 among all products."""
        return ndcgs_of(model, self._all, self._labels, self._split)

    def scores_among_hidden(self, model: HeadModel) -> Scores:
        """(Q,) nDCG@10 among those that have lost the modality."""
        return ndcgs_of(model, self._hidden, self._hidden_labels, self._split)


class _Choice:
    """Of ridge and share for queries of the modality ``source`` alone."""

    def __init__(self, model: HeadModel, inputs: Inputs, labels: Labels, source: int, hidden: Bools) -> None:
        self._model, self._source = model, source
        self._moments = _Moments.of(inputs, labels, source, hidden)
        self._dev, self._test = (_Held(inputs, labels, source, hidden, split) for split in (DEV, TEST))

    def made(self) -> Bridge:
        # Without what is asked for, all that a product has to be found by is the bridge: the share does not matter.
        ridge = _chosen(
            {value: self._dev.scores_among_hidden(self._bridged(value, 1.0)) for value in RIDGES}, _RIDGE
        )
        by_share = {value: self._dev.scores(self._bridged(ridge, value)) for value in SHARES}
        share = _chosen(by_share, _SHARE, without=0.0)
        name, judge = (SPLITS[TEST], self._test) if len(self._test) else (SPLITS[DEV], self._dev)
        if not len(judge):
            return Bridge(None, 0, ridge, share, None, None, None)
        without, with_ = (judge.scores(self._bridged(ridge, value)) for value in (0.0, share))
        return Bridge(
            name,
            len(judge),
            ridge,
            share,
            float(without.mean()),
            float(with_.mean()),
            paired_p(with_, without),
        )

    def _bridged(self, ridge: float, share: float) -> HeadModel:
        weights = {f"{side}.{name}": w for (side, name), w in _weights(self._model).items()}
        found = HeadModel(self._model.config, weights, self._model.means)
        _cross(found, self._model, self._source, torch.from_numpy(share * self._moments.solved(ridge)))
        return found


def _chosen(scores: dict[float, Scores], usual: float, without: float | None = None) -> float:
    """The value nearest to the ``usual`` one, as its rank goes, that is no more than a standard error behind the best,
    and not at all behind the value ``without``.

    ``scores`` has (Q,) those of each value, for the same queries.
    """
    values = list(scores)
    count = len(scores[usual])
    if not count:
        return usual
    best = max(values, key=lambda value: float(scores[value].mean()))
    least = -np.inf if without is None else float(scores[without].mean()) - _ROUND

    def is_as_good(value: float) -> bool:
        behind = scores[best] - scores[value]
        error = behind.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
        return bool(behind.mean() <= error and scores[value].mean() >= least)

    return min(filter(is_as_good, values), key=lambda value: abs(values.index(value) - values.index(usual)))


@dataclass(frozen=True, eq=False)
class _Moments:
    """X^T X (D, D), X^T Y (D, E) and the sum of the grades of the pairs, in float64."""

    own: npt.NDArray[np.float64]
    crossed: npt.NDArray[np.float64]
    total: float

    @staticmethod
    def of(inputs: Inputs, labels: Labels, source: int, hidden: Bools) -> _Moments:
        """All pairs but those of the products that are ``hidden`` (N,)."""
        dims = inputs.image.shape[1], inputs.text.shape[1]
        own, crossed = np.zeros((dims[source],) * 2), np.zeros((dims[source], dims[1 - source]))
        total = 0.0
        for x, y, grade in _pairs(inputs, labels, source, hidden):
            weighted = (x * grade[:, None]).T
            own += weighted @ x
            crossed += weighted @ y
            total += float(grade.sum())
        return _Moments(own, crossed, total)

    def solved(self, ridge: float) -> Array:
        """(E, D) W, so long that what it makes of the pairs has the length 1 in the root of the mean square."""
        found = np.linalg.solve(self.own + ridge * np.eye(len(self.own)), self.crossed)
        length = np.sqrt(np.einsum("de,df,fe->", found, self.own, found) / max(self.total, 1e-12))
        return np.asarray(found.T / max(length, 1e-12), np.float32)


def _pairs(
    inputs: Inputs, labels: Labels, source: int, hidden: Bools
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """x (B, D), y (B, E) and grades (B,)."""
    vectors = (inputs.image, inputs.text)
    asked, at = (inputs.images, inputs.image_at) if source == 0 else (inputs.texts, inputs.text_at)
    both = np.flatnonzero(inputs.present.all(dim=1).numpy() & ~hidden)
    for part in _parts(both):
        yield _float64(vectors[source], part), _float64(vectors[1 - source], part), np.ones(len(part))
    target = inputs.present[:, 1 - source].numpy() & ~hidden
    counts = _asked_alone(inputs, source)[labels.query] & target[labels.product]
    for pairs in _parts(labels.learned[counts[labels.learned]]):
        places = at.numpy()[labels.query[pairs]]
        grades = labels.grade[pairs].astype(np.float64)
        yield _float64(asked, places), _float64(vectors[1 - source], labels.product[pairs]), grades


def _parts(places: Ints) -> Iterator[Ints]:
    return (places[start : start + _ROWS] for start in range(0, len(places), _ROWS))


def _float64(vectors: Tensor, places: Ints) -> npt.NDArray[np.float64]:
    return np.asarray(vectors.numpy()[places], np.float64)


def _asked_alone(inputs: Inputs, modality: int) -> Bools:
    """(Q,) the queries that have this modality and nothing else."""
    own, other = (inputs.image_at, inputs.text_at) if modality == 0 else (inputs.text_at, inputs.image_at)
    return np.asarray(((own >= 0) & (other < 0) & (inputs.product_at < 0)).numpy())


def _among(inputs: Inputs, products: Bools) -> Inputs:
    """Only these products; queries must ask with none."""
    kept = torch.from_numpy(products)
    return replace(inputs, image=inputs.image[kept], text=inputs.text[kept], present=inputs.present[kept])


def _labels_among(labels: Labels, products: Bools) -> Labels:
    """What is wanted among these products, numbered anew; a query that wants none of them is in no split."""
    kept = products[labels.product]
    number = np.cumsum(products) - 1
    query = labels.query[kept]
    split = np.full_like(labels.split, -1)
    split[query] = labels.split[query]
    return Labels(labels.asked, query, number[labels.product[kept]], labels.grade[kept], split)


def _weights(model: HeadModel) -> dict[tuple[str, str], Array]:
    found = {}
    for name, value in model.named_parameters():
        side, _, part = name.partition("_")
        found[side, part] = value.detach().numpy().copy()
    return found


@torch.no_grad()
def _cross(into: HeadModel, start: HeadModel, source: int, crossing: Tensor) -> None:
    """What is asked with ``source`` is also compared with the other block: P_source + P_other W."""
    own, other = _NAMES[source], _NAMES[1 - source]
    value = getattr(start, f"product_{own}") + getattr(start, f"product_{other}") @ crossing
    getattr(into, f"query_{own}").copy_(value)
