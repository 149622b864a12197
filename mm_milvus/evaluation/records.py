"""What an evaluation is asked, and what it says. All of it is frozen; ``to_dict`` gives the JSON shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mm_milvus.records import Rejected, Signal

__all__ = [
    "Answer",
    "Evaluation",
    "Judged",
    "Question",
    "Questions",
    "Score",
    "Slice",
    "Tuned",
    "Tuning",
    "VariantResult",
]

Kind = Literal["text", "image", "id", "composed"]
TimesOf = Literal["collection", "embedded copy"]


@dataclass(frozen=True, slots=True)
class Question:
    """A query with the products that should be found. ``relevant``: id -> grade, 0 for a product that is known not to
    be relevant; at least one is above 0."""

    qid: str
    signals: tuple[Signal, ...]
    relevant: Mapping[str, int]
    filter: str | None = None
    labels: tuple[str, ...] = ()  # slices that the file names
    line: int = 0  # of the file

    @property
    def kind(self) -> Kind:
        """The one kind of its signals, or "composed"."""
        kinds = {signal.kind for signal in self.signals}
        return kinds.pop() if len(kinds) == 1 else "composed"  # type: ignore[return-value]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The ids of the relevant products, the highest grade first."""
        graded = sorted(self.relevant.items(), key=lambda pair: -pair[1])
        return tuple(id for id, grade in graded if grade > 0)

    def told(self) -> dict[str, list[Any]]:
        """The signals by their kind, for JSON."""
        told: dict[str, list[Any]] = {}
        for signal in self.signals:
            told.setdefault(signal.kind, []).append(str(signal.value))
        return told


@dataclass(frozen=True, slots=True)
class Questions:
    """What a file of queries holds: the usable ones, and what was left out, with line and reason."""

    questions: tuple[Question, ...]
    rejected: tuple[Rejected, ...] = ()
    notices: tuple[str, ...] = ()  # what else there is to say, a line each

    def __len__(self) -> int:
        return len(self.questions)


@dataclass(frozen=True, slots=True)
class Answer:
    """The ids that a variant found for a question, best first; ``problem`` says why there are none."""

    ids: tuple[str, ...] = ()
    milliseconds: float | None = None
    problem: Exception | None = None
    notices: tuple[str, ...] = ()  # of the page


@dataclass(frozen=True, slots=True)
class Score:
    """The mean of a metric over all queries. Beside a baseline: the difference to it, and how often as large a one
    comes about by chance (``p``, two-sided); ``p_holm`` is that corrected for all differences of the evaluation."""

    value: float
    difference: float | None = None
    p: float | None = None
    p_holm: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: _rounded(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class VariantResult:
    """How one variant did."""

    name: str
    collection: str
    scores: Mapping[str, Score]  # metric -> mean
    # Of a page of ten products, the query's vector being known; None where nothing was found.
    median_ms: float | None
    p95_ms: float | None
    encode_ms: float | None  # median, of making that vector; None where none is made
    products: int
    index_bytes: int  # of all vectors that are compared, see ``costs.index_bytes``; 0 where none are
    times_of: TimesOf = "collection"  # a copy is embedded, and says nothing of a server's milliseconds
    unanswered: int = 0  # queries that it cannot answer; each counts as one that found nothing
    problem: str | None = None  # why it cannot answer the first of these
    not_applicable: int = (
        0  # queries to which an option of it says nothing; they are asked without that option
    )
    encoder: str = ""  # of the collection

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "scores": {metric: score.to_dict() for metric, score in self.scores.items()},
            "median_ms": _rounded(self.median_ms, 3),
            "p95_ms": _rounded(self.p95_ms, 3),
            "encode_ms": _rounded(self.encode_ms, 3),
        }


@dataclass(frozen=True, slots=True)
class Slice:
    """Means over some of the queries: ``values`` has variant -> metric -> mean."""

    name: str
    queries: int
    values: Mapping[str, Mapping[str, float]]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "queries": self.queries, "values": _rounded_tables(self.values)}


@dataclass(frozen=True, slots=True)
class Judged:
    """One query: ``values`` has variant -> metric -> value, ``found`` variant -> ids, best first."""

    question: Question
    values: Mapping[str, Mapping[str, float]]
    found: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        asked = self.question
        return {
            "qid": asked.qid,
            "line": asked.line,
            "query": asked.told(),
            "filter": asked.filter,
            "slices": [asked.kind, *asked.labels],
            "relevant": dict(asked.relevant),
            "values": _rounded_tables(self.values),
            "found": {variant: list(ids) for variant, ids in self.found.items()},
        }


@dataclass(frozen=True, slots=True)
class Tuned:
    """One setting, chosen on the queries for developing, and what it is worth on those for testing.

    ``metric`` is the mean on the test queries, by default and as tuned. ``gained`` when it is better there, and not by
    chance (p below .05).
    """

    setting: str  # "alpha" or "weights"
    about: str  # the queries that it acts on
    choice: str | None  # as a variant is written; None where there were too few queries
    options: str = ""  # as the command ``query`` takes it
    dev_queries: int = 0
    test_queries: int = 0
    dev_default: float = 0.0
    dev_tuned: float = 0.0
    test_default: float = 0.0
    test_tuned: float = 0.0
    p: float | None = None

    @property
    def gained(self) -> bool:
        return self.test_tuned > self.test_default and self.p is not None and self.p < 0.05

    def to_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: _rounded(v) if isinstance(v, float) else v for name, v in values.items()} | {
            "gained": self.gained
        }


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was tried to make ``metric`` better."""

    metric: str
    dev_share: float
    seed: int
    settings: tuple[Tuned, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "dev_share": self.dev_share,
            "seed": self.seed,
            "settings": [tuned.to_dict() for tuned in self.settings],
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How the variants did on all queries; the first one is the baseline."""

    metrics: tuple[str, ...]
    depth: int  # products asked for; what lies behind counts as not found
    variants: tuple[VariantResult, ...]
    slices: tuple[Slice, ...]
    queries: tuple[Judged, ...]
    rejected: tuple[Rejected, ...] = ()
    missing_relevant: tuple[str, ...] = ()  # relevant ids that no product of the baseline's collection has
    notices: tuple[str, ...] = ()
    tuning: Tuning | None = field(default=None)

    @property
    def baseline(self) -> VariantResult:
        return self.variants[0]

    @property
    def comparisons(self) -> int:
        """Differences to the baseline: what the p of each is corrected for."""
        return (len(self.variants) - 1) * len(self.metrics)

    def worst(self, count: int = 10) -> tuple[Judged, ...]:
        """The queries for which the baseline did worst by the first metric, the worst first."""
        name, metric = self.baseline.name, self.metrics[0]
        return tuple(sorted(self.queries, key=lambda judged: judged.values[name][metric])[:count])

    def to_dict(self) -> dict[str, Any]:
        """The JSON shape of ``mm-milvus eval --json``."""
        return {
            "metrics": list(self.metrics),
            "depth": self.depth,
            "baseline": self.baseline.name,
            "variants": [variant.to_dict() for variant in self.variants],
            "slices": [part.to_dict() for part in self.slices],
            "queries": [judged.to_dict() for judged in self.queries],
            "rejected": [
                {"line": bad.line, "id": bad.id, "stage": bad.stage, "reason": bad.reason}
                for bad in self.rejected
            ],
            "missing_relevant": list(self.missing_relevant),
            "notices": list(self.notices),
            "tuning": self.tuning.to_dict() if self.tuning else None,
        }


def _rounded(value: float | None, places: int = 6) -> float | None:
    return None if value is None else round(value, places)


def _rounded_tables(tables: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {key: round(value, 6) for key, value in row.items()} for name, row in tables.items()}
