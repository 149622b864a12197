"""What a training tells: of every kind the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mm_milvus.training.data import SPLITS
from mm_milvus.training.settings import TrainReport, TrainSettings
from mm_milvus.training.significance import is_gain, paired_p

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.fusion import HeadConfig
    from mm_milvus.late import ProjectionConfig
    from mm_milvus.records import Rejected
    from mm_milvus.training.data import Labels
    from mm_milvus.training.loop import Outcome
    from mm_milvus.training.measure import Scores

__all__ = ["Judgement", "Task", "judged", "judged_by", "report_of"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether something ``won``, the ``p`` of that, and the split whose queries say so; None where no query does."""

    won: bool | None = None
    p: float | None = None
    split: str | None = None


class Task(Protocol):
    """What was read for a training."""

    @property
    def config(self) -> HeadConfig | ProjectionConfig: ...

    @property
    def kind(self) -> str:
        """What was asked for."""
        ...

    @property
    def shared(self) -> bool:
        """Whether queries and products go through the same weights."""
        ...

    @property
    def labels(self) -> Labels: ...

    @property
    def products(self) -> int:
        """How many there are."""
        ...

    @property
    def rejects(self) -> list[Rejected]: ...

    @property
    def unknown_products(self) -> int: ...


def report_of(
    settings: TrainSettings,
    shop: Settings,
    task: Task,
    outcome: Outcome,
    test: tuple[float | None, float | None],
    judged: Judgement,
    seconds: float,
) -> TrainReport:
    """``test`` is nDCG@10 of the test split before and after, ``judged`` what the function of that name gives."""
    queries, pairs = task.labels.counts()
    return TrainReport(
        out=str(settings.out),
        fusion=task.kind,
        dim=task.config.dim,
        shared=task.shared,
        encoder=task.config.encoder,
        collection=shop.collection,
        products=task.products,
        queries=queries,
        pairs=pairs,
        rejected=len(task.rejects),
        unknown_products=task.unknown_products,
        ndcg_start=outcome.at(0),
        ndcg=outcome.at(outcome.best_epoch),
        test_ndcg_start=test[0],
        test_ndcg=test[1],
        won=judged.won,
        p=judged.p,
        judged_by=judged.split,
        epochs=len(outcome.history) - 1,
        best_epoch=outcome.best_epoch,
        resumed_from=outcome.resumed_from,
        seconds=round(seconds, 1),
        too_broad=task.labels.too_broad,
    )


def judged(start: Scores, end: Scores, split: int) -> Judgement:
    """Whether the queries (Q,) of the split did better in the end."""
    if not len(start):
        return Judgement()
    return judged_by(float(np.mean(end) - np.mean(start)), paired_p(end, start), SPLITS[split])


def judged_by(gain: float, p: float, split: str) -> Judgement:
    """The same of a difference whose p is known; None for one that may be chance."""
    return Judgement(is_gain(gain, p), round(p, 6), split)
