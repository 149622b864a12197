"""The settings of a query that suit a shop's own queries: chosen on one part of them, measured on the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.evaluation.evaluate import depth_of, questions_of
from mm_milvus.evaluation.measures import Metric, parse_metrics, values_of
from mm_milvus.evaluation.records import Tuned, Tuning
from mm_milvus.evaluation.run import AskedOf, ask
from mm_milvus.evaluation.variants import Variant, parse_variant
from mm_milvus.search.routes import word_signals
from mm_milvus.training.significance import paired_p

if TYPE_CHECKING:
    from mm_milvus.client import Client
    from mm_milvus.evaluation.records import Question, Questions

__all__ = ["tune"]

_LEAST = 2  # queries of each part; a test needs more to find anything
_COARSE, _FINE = 0.1, 0.02
_MIDDLE = 0.5  # the default of the offline encoder; it stays where nothing is better
_DEFAULT = Variant("default")


def tune(
    shop: Client,
    queries: Questions | Sequence[Question] | str | os.PathLike[str],
    *,
    metric: str = "nDCG@10",
    dev_share: float = 0.5,
    depth: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Tuning:
    """Looks for a better alpha, or reciprocal ranks and their k, for words alone, and for better weights for mixtures.

    A part of the queries of each kind (``dev_share``, drawn by ``seed``) chooses: 0 to 1 by steps of .1, then around
    the best by steps of .02. The others say what the choice is worth against the defaults, with a paired randomisation
    test. Queries with weights of their own are left out: for these somebody has chosen. ``progress`` is told how many
    searches are done. ``depth`` products are asked for (100, or as far as the metric looks).
    Raises ConfigError, MissingDependency, StoreError.
    """
    if not 0 < dev_share < 1:
        raise ConfigError(f"the share of queries that choose is between 0 and 1, got {dev_share!r}")
    [measured] = parse_metrics([metric])
    asked = questions_of(queries).questions
    trial = _Trial(shop, measured, depth_of([measured], depth), progress)
    tunable = [question for question in asked if _is_tunable(question)]
    return Tuning(
        measured.name,
        dev_share,
        seed,
        tuple(
            _tuned(trial, setting, [q for q in tunable if q.kind == kind], dev_share, seed)
            for setting, kind in ((_ALPHA, "text"), (_WEIGHTS, "composed"))
        ),
    )


class _Trial:
    """What is measured, and in which shop."""

    def __init__(
        self, shop: Client, metric: Metric, depth: int, progress: Callable[[int], None] | None
    ) -> None:
        self._shop, self._metric, self._depth, self._progress = shop, metric, depth, progress
        self._done = 0

    def values(self, variant: Variant, questions: Sequence[Question]) -> list[float]:
        """The metric for each question; 0 for one that cannot be answered."""
        found = [self._ask(variant, question) for question in questions]
        return values_of([self._metric], questions, found)[self._metric.name]

    def _ask(self, variant: Variant, question: Question) -> Sequence[str]:
        found = ask(AskedOf(variant, self._shop), question, self._depth).ids
        self._done += 1
        if self._progress is not None:
            self._progress(self._done)
        return found


def _split(
    questions: Sequence[Question], dev_share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Those that choose and those that test, both not empty; in their order."""
    order = np.random.default_rng(seed).permutation(len(questions))
    count = min(max(round(dev_share * len(questions)), 1), len(questions) - 1)
    dev = {int(place) for place in order[:count]}
    return (
        [question for place, question in enumerate(questions) if place in dev],
        [question for place, question in enumerate(questions) if place not in dev],
    )


@dataclass(frozen=True, slots=True)
class _Setting:
    """What can be chosen: a variant for each share, and others; and how a choice is written for ``query``."""

    name: str
    about: str
    variant: Callable[[float], Variant]
    options: Callable[[Variant], str]
    others: tuple[Variant, ...] = ()


def _tuned(
    trial: _Trial, setting: _Setting, questions: Sequence[Question], dev_share: float, seed: int
) -> Tuned:
    if len(questions) < 2 * _LEAST:
        return Tuned(setting.name, setting.about, None)
    dev, test = _split(questions, dev_share, seed)
    default = float(np.mean(trial.values(_DEFAULT, dev)))
    choice, best = _best(trial, setting, dev)
    before, after = trial.values(_DEFAULT, test), trial.values(choice, test)
    return Tuned(
        setting.name,
        setting.about,
        choice.name,
        setting.options(choice),
        len(dev),
        len(test),
        default,
        best,
        float(np.mean(before)),
        float(np.mean(after)),
        paired_p(after, before, seed=seed),
    )


def _best(trial: _Trial, setting: _Setting, dev: Sequence[Question]) -> tuple[Variant, float]:
    """The variant with the highest mean, and that mean.

    Of equally good shares it is .5, or else the one in their middle: at an edge, other queries may fall off.
    """
    means: dict[float, float] = {}

    def measure(shares: Iterable[float]) -> float:
        for share in shares:
            if share not in means:
                means[share] = float(np.mean(trial.values(setting.variant(share), dev)))
        most = max(means.values()) - 1e-9
        equal = sorted(share for share, mean in means.items() if mean >= most)
        return _MIDDLE if _MIDDLE in equal else equal[len(equal) // 2]

    best = measure(round(step * _COARSE, 2) for step in range(11))
    around = (round(best + step * _FINE, 2) for step in range(-4, 5))
    best = measure(share for share in around if 0 <= share <= 1)
    found = setting.variant(best), means[best]
    for other in setting.others:
        mean = float(np.mean(trial.values(other, dev)))
        if mean > found[1] + 1e-9:
            found = other, mean
    return found


def _alpha(share: float) -> Variant:
    return parse_variant(f"alpha={share:g}")


def _alpha_options(choice: Variant) -> str:
    if "combine" not in choice.options:
        return f"--alpha {choice.options['alpha']:g}"
    k = choice.options.get("rrf_k")
    return "--combine rrf" if k is None else f"--combine rrf --rrf-k {k}"


def _weights(share: float) -> Variant:
    """``share`` is that of the words."""
    rest = round(1 - share, 2)
    return parse_variant(f"text={share:g};image={rest:g};id={rest:g}")


def _weights_options(choice: Variant) -> str:
    text, image = choice.weights["text"], choice.weights["image"]
    return f'--text "WORDS^{text:g}" --image "PICTURE^{image:g}"'


_RANKS = ("hybrid:rrf", *(f"hybrid:rrf;rrf_k={k}" for k in (5, 10, 20, 40, 100, 200)))
_ALPHA = _Setting("alpha", "words alone", _alpha, _alpha_options, tuple(map(parse_variant, _RANKS)))
_WEIGHTS = _Setting("weights", "mixtures with words", _weights, _weights_options)


def _is_tunable(question: Question) -> bool:
    """Whether its words are looked for, and all weights are left to the defaults."""
    unweighted = all(signal.weight is None for signal in question.signals)
    return unweighted and bool(word_signals(question.signals))
