"""Signals become one query vector: the weighted mean of what the user showed, said and pointed at."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.search.bridge import Bridge
from mm_milvus.search.parts import Centred, Parts, given_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import DefaultWeights
    from mm_milvus.media import MediaReader
    from mm_milvus.records import Query, Signal
    from mm_milvus.search.cache import QueryEncoder
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["MAX_WEIGHT", "Composed", "compose", "told", "weigh"]

MAX_WEIGHT = 1e6
_LEAST = 1e-30  # of all weights together: below 1e-38 the numbers of a vector, which have 32 bits, become 0
_SHOWN = 200  # characters of a signal, in explanations


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """A query vector (dim,), and how it came about, for ``explain``.

    ``alone`` names the one block that the query asks about ("image" or "text"), None where it asks about both.
    ``rescored``: the best candidates are to be compared again with ``centred``, by ``composition``.
    """

    vector: Array
    explain: Mapping[str, Any]
    centred: Centred | None
    composition: str
    rescored: bool
    alone: str | None = None


def compose(query: Query, collection: Collection, encoder: QueryEncoder, reader: MediaReader) -> Composed:
    """The query vector, scaled so that its inner product with a product is the weighted mean of similarities:
    cosines for words alone and for pictures alone; in a mixture those of words are centred.

    Raises MediaError (a query picture), ProductNotFound (an id), ConfigError (nothing to search for).
    """
    weighted = weigh(query.signals, encoder.spec.weights)
    kinds = {signal.kind for signal in weighted}
    total = sum(abs(signal.weight or 0.0) for signal in weighted)
    if total < _LEAST:
        raise ConfigError("all signals of this query have the weight 0, or nearly")
    explain: dict[str, Any] = {}
    if query.explain:
        explain = {"signals": told(weighted), "composition": query.composition}
    if kinds == {"vector"} and query.composition == "sum":  # nothing to encode, to centre or to look up
        vector = _not_nothing(given_vectors(weighted, collection.stamp.dim)) / np.float32(total)
        return Composed(vector, explain, None, query.composition, rescored=False)
    by_kind = {kind: [s for s in weighted if s.kind == kind] for kind in ("text", "image", "id", "vector")}
    parts = Parts(collection, encoder.spec, mixed=len(kinds) > 1 or "id" in kinds)
    bridge = Bridge(collection, encoder.spec, query.bridge)
    words_alone = kinds == {"text"} and all((s.weight or 0.0) > 0 for s in weighted)
    parts.add_texts(by_kind["text"], encoder, bridge if words_alone else None)
    parts.add_images(by_kind["image"], encoder, reader, bridge)
    parts.add_products(by_kind["id"])
    parts.add_vectors(by_kind["vector"])
    vector = _not_nothing(parts.slerp() if query.composition == "slerp" else parts.vector())
    if "image" in kinds or words_alone:
        explain["bridge"] = round(bridge.used, 6)
    centred = parts.centred(total)
    if query.composition == "product":
        _check_product(centred, kinds, collection)
    rescored = query.composition == "product" or (
        centred is not None and not words_alone and parts.worth_rescoring
    )
    return Composed(
        vector / np.float32(total), explain, centred, query.composition, rescored, parts.alone(vector)
    )


def _check_product(centred: Centred | None, kinds: Container[str], collection: Collection) -> None:
    """Raises ConfigError where there is nothing to multiply."""
    if "vector" in kinds:
        raise ConfigError(
            "the composition 'product' multiplies words with pictures or products; a vector is neither"
        )
    if centred is None:
        fusion = collection.stamp.fusion
        fused = "a trained head" if fusion == "head" else f"the fusion {fusion!r}"
        raise ConfigError(
            f"the composition 'product' needs pictures and texts side by side, in a collection of the fusion 'blocks'; "
            f"{collection.name!r} is fused by {fused}"
        )
    if not (centred.words.any() and centred.others.any()):
        raise ConfigError("the composition 'product' multiplies words with pictures or products; give both")


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_WEIGHT


def _not_nothing(vector: Array) -> Array:
    if not (vector.dot(vector) or vector.any()):  # the product is faster, but for tiny numbers 0
        raise ConfigError("the signals of this query cancel each other out; change their weights")
    return vector


def told(weighted: Sequence[Signal]) -> list[dict[str, Any]]:
    """The signals and their weights, for ``explain``."""
    return [{"kind": s.kind, "value": _shown(s.value), "weight": s.weight} for s in weighted]


def _shown(value: Any) -> str:
    """A signal's value in short: words, ids and addresses as they are, anything else by its kind."""
    return value[:_SHOWN] if isinstance(value, str) else f"({type(value).__name__})"


def weigh(signals: Sequence[Signal], defaults: DefaultWeights) -> list[Signal]:
    """The signals, each with a weight.

    Where both words and pictures (or products) are given, each side shares its default weight among its signals that
    carry none; a query of one kind needs no balance, and each of its signals weighs 1.
    """
    if bad := next((s for s in signals if s.weight is not None and not _is_weight(s.weight)), None):
        raise ConfigError(
            f"the weight {bad.weight!r} is not a number between -{MAX_WEIGHT:g} and {MAX_WEIGHT:g}"
        )
    words = [signal for signal in signals if signal.kind == "text"]
    if not signals:
        raise ConfigError("nothing to search for: give a text, an image or an id")
    if not words or len(words) == len(signals):
        return [replace(s, weight=1.0) if s.weight is None else s for s in signals]
    counts = {
        True: sum(s.weight is None for s in words),
        False: sum(s.weight is None for s in signals if s.kind != "text"),
    }
    sides = {True: defaults.text, False: defaults.image}
    return [
        replace(s, weight=sides[s.kind == "text"] / counts[s.kind == "text"]) if s.weight is None else s
        for s in signals
    ]
