"""Metrics by their names, computed by ir-measures (MacAvaney, Macdonald and Ounis, ECIR 2022)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mm_milvus.errors import ConfigError, MissingDependency

if TYPE_CHECKING:
    from mm_milvus.evaluation.records import Question

__all__ = ["DEFAULT_METRICS", "MOST_GRADE", "Metric", "parse_metrics", "values_of"]

MOST_GRADE = 1_000
DEFAULT_METRICS = ("nDCG@10", "MRR", "R@50")
_EXAMPLES = "nDCG@10, MRR, MRR@10, R@50, P@10, AP, Success@5"
# What people write -> what ir-measures calls it; its own names go first.
_SPELLINGS = {
    "ndcg": "nDCG", "mrr": "RR", "rr": "RR", "recall": "R", "r": "R", "precision": "P", "p": "P", "map": "AP",
    "ap": "AP", "hit": "Success", "hits": "Success", "hitrate": "Success", "success": "Success", "rprec": "Rprec",
    "err": "ERR", "rbp": "RBP",
}  # fmt: skip


class Metric:
    """A metric as it was asked for. ``depth`` is the rank that it looks down to, None for all of them."""

    def __init__(self, name: str, measure: Any) -> None:
        self.name = name
        self.measure = measure
        self.depth: int | None = measure.params.get("cutoff")


def parse_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Metrics of ir-measures, or in the usual spelling (MRR@10, recall@50, MAP).

    Raises ConfigError for what is no metric, and MissingDependency where ir-measures is not installed.
    """
    cleaned = list(dict.fromkeys(stripped for name in names if (stripped := name.strip())))
    if not cleaned:
        raise ConfigError(f"name at least one metric, such as {_EXAMPLES}")
    return tuple(_parse(name) for name in cleaned)


def _parse(name: str) -> Metric:
    library = _library()
    try:
        measure = library.parse_measure(_usual(name, library))
        measure.validate_params()
    except (ValueError, NameError, TypeError, AssertionError, KeyError, AttributeError):
        raise ConfigError(f"there is no metric {name!r}; there are {_EXAMPLES}, ...") from None
    cutoff = measure.params.get("cutoff")
    if cutoff is not None and cutoff < 1:
        raise ConfigError(f"the metric {name!r} looks at no product; write {measure.NAME}@10")
    least = measure.params.get("rel", 1)  # the grade from which on a product counts as relevant
    if not 1 <= least <= MOST_GRADE:
        raise ConfigError(f"rel of the metric {name!r:.80} is a grade from 1 to {MOST_GRADE:,}")
    averaged = isinstance(measure.aggregator(), library.MeanAgg)
    if not (averaged and library.DefaultPipeline.supports(measure)):
        raise ConfigError(f"the metric {name!r} cannot be computed here; there are {_EXAMPLES}, ...")
    return Metric(name, measure)


def _usual(name: str, library: Any) -> str:
    """``name`` in the spelling of ir-measures."""
    match = re.match(r"[^\W\d_]+", name)
    if match is None or match[0] in library.measures.registry:
        return name
    return _SPELLINGS.get(match[0].lower(), match[0]) + name[match.end() :]


def values_of(
    metrics: Sequence[Metric], questions: Sequence[Question], found: Sequence[Sequence[str]]
) -> dict[str, list[float]]:
    """Metric -> its value for each question, ``found`` being the ids of each, best first.

    A question of which nothing was found has the value that finding nothing has (0); ir-measures leaves queries that
    a run does not know out of some of its answers, which would make a ranking look better for failing.
    """
    library = _library()
    # Places stand for ids: these may hold what the C library beneath cannot read.
    names = [_places([*question.relevant, *ids]) for question, ids in zip(questions, found, strict=True)]
    judged = {
        str(place): {names[place][id]: grade for id, grade in question.relevant.items()}
        for place, question in enumerate(questions)
    }
    # Falling whole numbers: the order is ours, whatever the library does with equal scores.
    run = {
        str(place): {names[place][id]: float(len(ids) - rank) for rank, id in enumerate(ids)}
        for place, ids in enumerate(found)
        if ids
    }
    values = {metric.name: [float(metric.measure.DEFAULT)] * len(questions) for metric in metrics}
    if not run:
        return values
    by_measure: dict[Any, list[str]] = {}
    for metric in metrics:
        by_measure.setdefault(metric.measure, []).append(metric.name)
    for result in library.iter_calc(list(by_measure), judged, run):
        for name in by_measure[result.measure]:
            values[name][int(result.query_id)] = float(result.value)
    return values


def _places(ids: Sequence[str]) -> Mapping[str, str]:
    return {id: str(place) for place, id in enumerate(dict.fromkeys(ids))}


def _library() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependency('metrics need ir-measures: pip install "mm-milvus[evaluation]"') from error
    return ir_measures
