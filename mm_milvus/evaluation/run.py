"""Questions put to the collections, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mm_milvus.errors import ConfigError, FilterError, MediaError, ProductNotFound
from mm_milvus.evaluation.records import Answer
from mm_milvus.evaluation.variants import resolve_variant

if TYPE_CHECKING:
    from mm_milvus.client import Client
    from mm_milvus.evaluation.records import Question
    from mm_milvus.evaluation.variants import Variant

__all__ = ["MOST_DEPTH", "AskedOf", "ask", "is_its_fault", "opened", "run"]

MOST_DEPTH = 1_000  # what a hybrid ranking is made of
_PAGE = 10  # products of the page that is timed: what a shop shows
# A question may not suit a variant, and may be no question at all to this collection.
_PROBLEMS = (ConfigError, MediaError, ProductNotFound, FilterError)


@dataclass(frozen=True, slots=True)
class AskedOf:
    """A variant, and the client of its collection; ``source`` is that of the collection of which it is a copy."""

    variant: Variant
    client: Client
    source: Client | None = None


@contextmanager
def opened(variants: Sequence[Variant], shop: Client) -> Iterator[list[AskedOf]]:
    """The clients of all variants, one of each collection; all but ``shop`` are closed at the end."""
    clients = {shop.settings.collection: shop}
    with TemporaryDirectory(prefix="mm-milvus-eval-") as folder:
        try:
            yield [AskedOf(variant, *resolve_variant(variant, clients, Path(folder))) for variant in variants]
        finally:
            for client in clients.values():
                if client is not shop:
                    client.close()


def run(
    pairs: Sequence[AskedOf],
    questions: Sequence[Question],
    depth: int,
    progress: Callable[[int], None] | None = None,
) -> list[list[Answer]]:
    """The answers of each variant to each question, ``depth`` ids at most. ``progress`` is told how many are asked.

    All variants answer one question before the next comes, each time beginning with another one, so that whatever
    else the machine does slows all of them alike.
    """
    answers: list[list[Answer]] = [[] for _ in pairs]
    for place, question in enumerate(questions):
        for turn in range(len(pairs)):
            chosen = (place + turn) % len(pairs)
            answers[chosen].append(ask(pairs[chosen], question, depth, timed=True))
        if progress is not None:
            progress(place + 1)
    return answers


def ask(asked: AskedOf, question: Question, depth: int, *, timed: bool = False) -> Answer:
    """The first ``depth`` ids. The time is that of a page of ten, asked for afterwards: then the query's vector is
    known, whoever asked for it first."""
    try:
        page = asked.client.search(asked.variant.query(question, depth))
    except _PROBLEMS as problem:
        return Answer(problem=problem)
    milliseconds = _milliseconds(asked, question) if timed else None
    return Answer(tuple(hit.id for hit in page.hits), milliseconds, notices=page.notices)


def _milliseconds(asked: AskedOf, question: Question) -> float:
    query = asked.variant.query(question, _PAGE)
    started = time.perf_counter()
    asked.client.search(query)
    return (time.perf_counter() - started) * 1000


def is_its_fault(answer: Answer) -> bool:
    """Whether the question itself is wrong here: its picture, its product or its filter, not how it is asked."""
    return isinstance(answer.problem, MediaError | ProductNotFound | FilterError)
