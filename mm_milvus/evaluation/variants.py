"""The ways of searching that are compared, from what a person writes.

variant  = part { ";" part }
part     = "default" | "vector" | "text" | "hybrid" | "hybrid:rrf"
         | "rerank=" name of a reranker
         | "alpha=" 0..1 | "bridge=" 0..1 | "composition=" sum, product or slerp
         | "rrf_k=" whole number, of hybrid:rrf
         | "image=" weight | "text=" weight | "id=" weight
         | "collection=" name
         | name of a fusion, or folder of a trained one: where it is not the collection's own, one of the
           fusion blocks is fused by it for the time of the comparison
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_milvus.config import names_folder
from mm_milvus.errors import ConfigError
from mm_milvus.evaluation.records import Question
from mm_milvus.evaluation.refusion import fused_anew
from mm_milvus.fusion import UNTRAINED, load_head
from mm_milvus.late import KIND
from mm_milvus.records import Query, Signal
from mm_milvus.search.routes import mode_of, word_signals

if TYPE_CHECKING:
    from mm_milvus.client import Client

__all__ = ["Variant", "parse_variant", "resolve_variant"]

_PLAIN = Query(())
_MODES = ("vector", "text", "hybrid")
_COMPOSITIONS = ("sum", "product", "slerp")
_SHARES = ("alpha", "bridge")
_WEIGHTS = ("image", "text", "id")
_EXAMPLES = (
    "vector, text, hybrid, hybrid:rrf, alpha=.3, 'image=.7;text=.3', collection=NAME, blocks, sum, heads/NAME"
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to ask. ``options`` are fields of Query, ``weights`` those of mixtures by the kind of their signals.

    ``collection`` None is the collection of the client. ``fusion`` is what that has to be fused by, None for anything.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    collection: str | None = None
    fusion: str | None = None

    def query(self, question: Question, limit: int) -> Query:
        """The question asked this way, for ``limit`` ids. Raises ConfigError where it cannot be.

        By "text" only the words of a question count; by "hybrid" a question without words is one by vector.
        """
        mode = self.options.get("mode", "auto")
        signals = question.signals if not self.weights else self._weighted(question.signals)
        if mode == "text":
            words = tuple(s for s in signals if s.kind == "text" and (s.weight is None or s.weight > 0))
            signals = words or signals
        if mode == "hybrid" and not word_signals(signals):
            mode = "vector"
        query = Query(signals, question.filter, limit=limit, fields=(), count=False)
        query = replace(query, **{**self.options, "mode": mode})
        # An option that says nothing to this question is none: it must not count against the variant.
        if mode_of(query) != "hybrid":
            query = replace(query, combine=_PLAIN.combine, alpha=_PLAIN.alpha, rrf_k=_PLAIN.rrf_k)
        kinds = {signal.kind for signal in signals}
        if mode == "text" or ("image" not in kinds and kinds != {"text"}):
            query = replace(query, bridge=None)
        return query

    def _weighted(self, signals: tuple[Signal, ...]) -> tuple[Signal, ...]:
        """The weight of a kind is shared by its signals; one kind alone, and what pushes away, stay as they are."""
        kinds = [signal.kind for signal in signals]
        if len(set(kinds)) == 1:
            return signals
        return tuple(
            replace(s, weight=self.weights[s.kind] / kinds.count(s.kind))
            if s.kind in self.weights and (s.weight is None or s.weight >= 0)
            else s
            for s in signals
        )


def parse_variant(text: str) -> Variant:
    """A variant as it is written, see the module. Raises ConfigError."""
    name = text.strip()
    variant = Variant(name)
    parts = [part.strip() for part in name.split(";")]
    if not all(parts):
        raise ConfigError(f"expected a variant such as {_EXAMPLES}, got {text!r}")
    for part in parts:
        variant = _with_part(variant, part)
    return variant


def _with_part(variant: Variant, part: str) -> Variant:
    key, equals, value = (piece.strip() for piece in part.partition("="))
    if equals:
        return _with_value(variant, key, value)
    mode, _, combine = part.partition(":")
    if part == "default":
        return variant
    if mode in _MODES and (not combine or (mode == "hybrid" and combine in ("weighted", "rrf"))):
        chosen = {"mode": mode} | ({"combine": combine} if combine else {})
        return replace(variant, options={**variant.options, **chosen})
    if part in UNTRAINED or names_folder(part):
        if variant.fusion not in (None, part):
            raise ConfigError(f"{variant.name!r} names two fusions; separate variants by a comma")
        return replace(variant, fusion=part)
    raise ConfigError(f"there is no variant {part!r}; write {_EXAMPLES}")


def _with_value(variant: Variant, key: str, value: str) -> Variant:
    if key == "collection" and value:
        return replace(variant, collection=value)
    if key == "rerank" and value == KIND:
        return replace(variant, options={**variant.options, key: value})
    if key == "composition" and value in _COMPOSITIONS:
        return replace(variant, options={**variant.options, key: value})
    if key in _SHARES and 0 <= (share := _number(key, value)) <= 1:
        return replace(variant, options={**variant.options, key: share})
    if key == "rrf_k" and (k := _number(key, value)) >= 1 and k.is_integer():
        return replace(variant, options={**variant.options, key: int(k)})
    if key in _WEIGHTS and (weight := _number(key, value)) >= 0:
        return replace(variant, weights={**variant.weights, key: weight})
    raise ConfigError(f"{key}={value} is no variant; write {_EXAMPLES}")


def _number(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{key} takes a number, got {value!r}")
    return number


def resolve_variant(
    variant: Variant, clients: dict[str, Client], folder: Path
) -> tuple[Client, Client | None]:
    """The client that answers ``variant``, and where that has a copy, the client of the collection it was made of.

    ``clients`` are the open ones by their collections, the first one being that of the user; one that is missing is
    opened and added. Copies of collections are kept in ``folder``. Raises CollectionNotFound, FusionError, and
    ConfigError where the collection is not fused as the variant says, and cannot be.
    """
    own = next(iter(clients.values()))
    name = variant.collection or own.settings.collection
    if name not in clients:
        clients[name] = _neighbour(own, name)
    if variant.fusion is None or _is_fused_by(clients[name], variant.fusion):
        return clients[name], None
    copy = f"{name} by {variant.fusion}"
    if copy not in clients:
        place = folder / str(len(clients))
        place.mkdir()
        clients[copy] = fused_anew(clients[name], variant.fusion, place)
    return clients[copy], clients[name]


def _is_fused_by(client: Client, fusion: str) -> bool:
    """Raises FusionError for a folder that holds no trained fusion."""
    stamp = client._open().stamp
    return stamp.fusion == fusion if fusion in UNTRAINED else load_head(fusion)[1] == stamp.head_revision


def _neighbour(shop: Client, collection: str) -> Client:
    """Another collection has an encoder of its own, whatever was asked for."""
    from mm_milvus.client import Client

    settings = shop.settings.replace(collection=collection)
    return Client(config=settings.model_copy(update={"encoder": None}))
