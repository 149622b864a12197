"""Parts of the queries, each with means of its own: what is good on the whole may be bad for some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mm_milvus.evaluation.records import Slice

if TYPE_CHECKING:
    from mm_milvus.evaluation.records import Judged, Question
    from mm_milvus.store.collection import Stored

__all__ = ["slices_of"]


def slices_of(queries: Sequence[Judged], stored: Mapping[str, Stored]) -> tuple[Slice, ...]:
    """Means by the kinds of signals, of filtered queries, by what relevant products lack, and by the file's labels.

    ``stored`` knows what the relevant products have. A slice that is empty or holds every query says nothing, and is
    left out.
    """
    members: dict[str, list[Judged]] = {}
    for judged in queries:
        for name in _names(judged.question, stored):
            members.setdefault(name, []).append(judged)
    order = [*_KINDS, _FILTERED, *_LACKING]
    ranked = sorted(members, key=lambda name: (order.index(name) if name in order else len(order), name))
    return tuple(_slice(name, members[name]) for name in ranked if len(members[name]) < len(queries))


_KINDS = ("text", "image", "id", "composed")
_FILTERED = "filtered"
_LACKING = ("relevant without text", "relevant without picture")


def _names(question: Question, stored: Mapping[str, Stored]) -> Iterator[str]:
    yield question.kind
    if question.filter:
        yield _FILTERED
    found = [stored[id] for id in question.wanted if id in stored]
    if not all(product.has_text for product in found):
        yield _LACKING[0]
    if not all(product.has_image for product in found):
        yield _LACKING[1]
    yield from (f"slice {label}" for label in question.labels)


def _slice(name: str, members: Sequence[Judged]) -> Slice:
    variants = members[0].values
    return Slice(
        name,
        len(members),
        {
            variant: {
                metric: sum(judged.values[variant][metric] for judged in members) / len(members)
                for metric in metrics
            }
            for variant, metrics in variants.items()
        },
    )
