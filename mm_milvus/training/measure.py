"""nDCG@10 of queries against all products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.training.data import Labels
    from mm_milvus.training.model import HeadModel, Inputs

    Ints = npt.NDArray[np.int64]
    Scores = npt.NDArray[np.float64]

__all__ = ["DEPTH", "grades_of", "mean_of", "ndcg_of", "ndcgs", "ndcgs_of"]

DEPTH = 10


def ndcgs(found: Ints, grades: list[dict[int, float]]) -> Scores:
    """(Q,) nDCG@10 of ``found`` (Q, 10 or more), places best first, with the grade of each product that a query wants.

    DCG = the sum over ranks r of grade / log2(r + 1), divided by that of the best order (Järvelin and Kekäläinen
    2002, with the linear gains of trec_eval).
    """
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    scores = []
    for row, wanted in zip(found, grades, strict=True):
        gains = np.array([wanted.get(int(place), 0.0) for place in row[:DEPTH]])
        best = np.sort(list(wanted.values()))[::-1][:DEPTH]
        scores.append((gains @ discounts[: len(gains)]) / (best @ discounts[: len(best)]))
    return np.array(scores, np.float64)


def mean_of(scores: Scores) -> float | None:
    """None where there are none."""
    return float(scores.mean()) if len(scores) else None


def ndcg_of(model: HeadModel, inputs: Inputs, labels: Labels, split: int) -> float | None:
    """The mean of ``ndcgs_of``; None where the split is empty."""
    return mean_of(ndcgs_of(model, inputs, labels, split))


def ndcgs_of(model: HeadModel, inputs: Inputs, labels: Labels, split: int) -> Scores:
    """(Q,) of the queries of a split by the current head."""
    from mm_milvus.training.nearest import nearest

    queries = labels.queries_of(split)
    if not len(queries):
        return np.empty(0)
    return ndcgs(nearest(model, inputs, queries, DEPTH), grades_of(labels, split))


def grades_of(labels: Labels, split: int) -> list[dict[int, float]]:
    """Of each query of the split, in their order, the grade of each product that it wants."""
    queries = labels.queries_of(split)
    row_of = {int(query): row for row, query in enumerate(queries)}
    grades: list[dict[int, float]] = [{} for _ in queries]
    of_split = labels.split[labels.query] == split
    for query, product, grade in zip(
        labels.query[of_split], labels.product[of_split], labels.grade[of_split], strict=True
    ):
        grades[row_of[int(query)]][int(product)] = float(grade)
    return grades
