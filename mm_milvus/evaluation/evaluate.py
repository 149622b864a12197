"""Questions and variants -> an Evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.evaluation.costs import EncodeTimes, index_bytes
from mm_milvus.evaluation.measures import DEFAULT_METRICS, Metric, parse_metrics, values_of
from mm_milvus.evaluation.queries import load_queries
from mm_milvus.evaluation.records import (
    Answer,
    Evaluation,
    Judged,
    Question,
    Questions,
    Score,
    VariantResult,
)
from mm_milvus.evaluation.run import MOST_DEPTH, AskedOf, is_its_fault, opened, run
from mm_milvus.evaluation.slices import slices_of
from mm_milvus.evaluation.variants import Variant, parse_variant
from mm_milvus.records import Rejected
from mm_milvus.store import is_server
from mm_milvus.training.significance import holm, paired_p

if TYPE_CHECKING:
    from mm_milvus.client import Client

__all__ = ["depth_of", "evaluate", "questions_of"]

_DEPTH = 100  # products asked for, where no metric looks further down


def evaluate(
    shop: Client,
    queries: Questions | Sequence[Question] | str | os.PathLike[str],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    compare: Sequence[str | Variant] = ("default",),
    depth: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """How well the variants of ``compare`` find the relevant products; the first one is the baseline.

    ``queries`` are those of ``load_queries``, or its file. A variant is written as on the command line ("hybrid",
    "alpha=.3", "collection=NAME", see ``mm_milvus.evaluation.variants``). A query that a variant cannot answer counts
    as one that found nothing; one that is wrong in itself for all of them (no such picture, product or field) is left
    out and told in ``rejected``. ``depth`` products are asked for (100, or as far as the metrics look). ``seed`` is
    that of the significance test. Raises ConfigError, MissingDependency, CollectionNotFound, StoreError.
    """
    measured = parse_metrics(metrics)
    variants = [parse_variant(v) if isinstance(v, str) else v for v in compare]
    _check_names(variants)
    asked = questions_of(queries)
    deep = depth_of(measured, depth)
    with opened(variants, shop) as pairs:
        answers = run(pairs, asked.questions, deep, progress)
        usable, answers, wrong = _without_wrong(asked.questions, answers)
        _check_answers(pairs, usable, answers, wrong)
        values = [values_of(measured, usable, [answer.ids for answer in given]) for given in answers]
        encoding = EncodeTimes()
        results = [
            _result(
                pair,
                usable,
                given,
                _scores(value, values[0] if place else None, seed),
                encoding.median(pair, usable, given),
            )
            for place, (pair, given, value) in enumerate(zip(pairs, answers, values, strict=True))
        ]
        wanted = dict.fromkeys(id for question in usable for id in question.wanted)
        stored = pairs[0].client._open().stored(list(wanted))
    judged = _judged(usable, [variant.name for variant in variants], answers, values)
    return Evaluation(
        tuple(metric.name for metric in measured),
        deep,
        _corrected(results),
        slices_of(judged, stored),
        judged,
        (*asked.rejected, *wrong),
        tuple(id for id in wanted if id not in stored),
        (*asked.notices, *_told(variants, answers)),
    )


def _told(variants: Sequence[Variant], answers: Sequence[Sequence[Answer]]) -> Iterator[str]:
    """What pages had to tell of themselves, such as token vectors that are not current: the first case of a variant."""
    for variant, given in zip(variants, answers, strict=True):
        if noted := [answer.notices for answer in given if answer.notices]:
            yield f"{variant.name}, for {len(noted):,} of the queries: {noted[0][0]}"


def _judged(
    questions: Sequence[Question],
    names: Sequence[str],
    answers: Sequence[Sequence[Answer]],
    values: Sequence[Mapping[str, Sequence[float]]],
) -> tuple[Judged, ...]:
    """All that is known of each question; ``answers`` and ``values`` are in the order of the variants' ``names``."""
    return tuple(
        Judged(
            question,
            {
                name: {metric: given[place] for metric, given in value.items()}
                for name, value in zip(names, values, strict=True)
            },
            {name: answer[place].ids for name, answer in zip(names, answers, strict=True)},
        )
        for place, question in enumerate(questions)
    )


def questions_of(queries: Questions | Sequence[Question] | str | os.PathLike[str]) -> Questions:
    """Raises ConfigError where there is none."""
    if isinstance(queries, str | os.PathLike):
        queries = load_queries(queries)
    asked = queries if isinstance(queries, Questions) else Questions(tuple(queries))
    if not asked.questions:
        raise ConfigError("there is no query to evaluate")
    return asked


def _check_names(variants: Sequence[Variant]) -> None:
    names = [variant.name for variant in variants]
    if not names:
        raise ConfigError("name at least one variant to evaluate")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"the variant {twice!r} is given twice")


def depth_of(metrics: Sequence[Metric], given: int | None) -> int:
    """Raises ConfigError where a metric looks further down than is asked for."""
    cutoffs = [metric for metric in metrics if metric.depth]
    deepest = max(cutoffs, key=lambda metric: metric.depth or 0, default=None)
    least = deepest.depth or 0 if deepest else 0
    depth = max(_DEPTH, least) if given is None else given
    if not 1 <= depth <= MOST_DEPTH or depth < least:
        name = f", and {deepest.name} needs {least:,}" if deepest and depth < least else ""
        raise ConfigError(f"the depth is a number from 1 to {MOST_DEPTH:,}, got {depth:,}{name}")
    return depth


def _without_wrong(
    questions: Sequence[Question], answers: Sequence[Sequence[Answer]]
) -> tuple[list[Question], list[list[Answer]], list[Rejected]]:
    """Without the questions that are wrong in themselves, and these as rejects."""
    kept: list[int] = []
    wrong: list[Rejected] = []
    for place, question in enumerate(questions):
        given = [answer[place] for answer in answers]
        if all(answer.problem for answer in given) and (faults := list(filter(is_its_fault, given))):
            wrong.append(
                Rejected(question.line, question.qid, "query", str(faults[0].problem), question.told())
            )
        else:
            kept.append(place)
    return [questions[p] for p in kept], [[answer[p] for p in kept] for answer in answers], wrong


def _check_answers(
    pairs: Sequence[AskedOf],
    questions: Sequence[Question],
    answers: Sequence[Sequence[Answer]],
    wrong: Sequence[Rejected],
) -> None:
    """A variant that answers nothing at all is a mistake, not a result."""
    if not questions:
        raise ConfigError(f"no query can be asked; line {wrong[0].line}: {wrong[0].reason}")
    for pair, given in zip(pairs, answers, strict=True):
        if all(answer.problem for answer in given):
            raise ConfigError(f"the variant {pair.variant.name!r} answers no query: {given[0].problem}")
        # Those that are asked without its options would hide that it answers none of the others.
        suited = [
            answer.problem
            for question, answer in zip(questions, given, strict=True)
            if pair.variant.suits(question) and not is_its_fault(answer)
        ]
        if suited and all(suited):
            raise ConfigError(
                f"the variant {pair.variant.name!r} answers none of the queries that it is for: {suited[0]}"
            )


def _corrected(results: Sequence[VariantResult]) -> tuple[VariantResult, ...]:
    """With the p of each difference corrected for all of them."""
    tested = [
        (place, metric, score.p)
        for place, result in enumerate(results)
        for metric, score in result.scores.items()
        if score.p is not None
    ]
    scores = [dict(result.scores) for result in results]
    for (place, metric, _), p in zip(tested, holm([p for _, _, p in tested]), strict=True):
        scores[place][metric] = replace(scores[place][metric], p_holm=p)
    return tuple(replace(result, scores=own) for result, own in zip(results, scores, strict=True))


def _scores(
    values: Mapping[str, list[float]], baseline: Mapping[str, list[float]] | None, seed: int
) -> dict[str, Score]:
    scores = {}
    for metric, own in values.items():
        score = Score(float(np.mean(own)))
        if baseline is not None:
            difference = score.value - float(np.mean(baseline[metric]))
            score = replace(score, difference=difference, p=paired_p(own, baseline[metric], seed=seed))
        scores[metric] = score
    return scores


def _result(
    pair: AskedOf,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    scores: Mapping[str, Score],
    encode_ms: float | None,
) -> VariantResult:
    times = [answer.milliseconds for answer in answers if answer.milliseconds is not None]
    problems = [answer.problem for answer in answers if answer.problem]
    info = pair.client.info()
    copied = pair.source is not None and is_server(pair.source.settings.uri)
    return VariantResult(
        pair.variant.name,
        info.collection,
        scores,
        float(np.median(times)) if times else None,
        float(np.percentile(times, 95)) if times else None,
        encode_ms,
        info.rows,
        index_bytes(pair),
        "embedded copy" if copied else "collection",
        len(problems),
        str(problems[0]) if problems else None,
        sum(not pair.variant.suits(question) for question in questions),
        info.stamp["encoder"],
    )
