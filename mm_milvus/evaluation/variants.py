"""The ways of searching that are compared, from what a person writes.

variant  = part { ";" part }
part     = "default" | "vector" | "text" | "hybrid" | "hybrid:rrf"
         | "rerank=" name of a reranker | "rerank_size=" whole number, of rerank
         | "alpha=" 0..1 | "bridge=" 0..1 | "composition=" sum, product or slerp
         | "rrf_k=" whole number, of hybrid:rrf
         | "image=" weight | "text=" weight | "id=" weight
         | "collection=" name
         | name of a fusion, or folder of a trained one: where it is not the collection's own, one of the
           fusion blocks is fused by it for the time of the comparison
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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

_MODES = ("vector", "text", "hybrid")
_EXAMPLES = (
    "default, vector, text, hybrid, hybrid:rrf, alpha=.3, rrf_k=20, bridge=0, composition=product, "
    f"'image=.7;text=.3', rerank={KIND}, rerank_size=50, collection=NAME, blocks, sum, heads/NAME; join several by ;"
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

        By "text" only the words of a question count; by "hybrid" a question without words is one by vector. An option
        that says nothing to the question is left out: it must not count against the variant.
        """
        query = self._asked(question, limit)[0]
        mode_of(query)  # raises for a mode that needs words
        return query

    def suits(self, question: Question) -> bool:
        """Whether all options and weights say something to the question; else it is asked without some of them."""
        return not self._asked(question, 1)[1]

    def _asked(self, question: Question, limit: int) -> tuple[Query, bool]:
        """The query, and whether something was left out."""
        options = dict(self.options)
        mode = options.get("mode", "auto")
        signals = question.signals if not self.weights else self._weighted(question.signals)
        kinds = {signal.kind for signal in question.signals}
        spared = bool(self.weights) and (len(kinds) == 1 or kinds.isdisjoint(self.weights))
        if mode == "text":
            words = tuple(s for s in signals if s.kind == "text" and (s.weight is None or s.weight > 0))
            signals = words or signals
        if mode == "hybrid" and not word_signals(signals):
            options["mode"] = mode = "vector"
        asked = Query(signals, question.filter, limit=limit, fields=(), count=False, mode=mode)
        empty = [name for name in options if not _says_something(name, options, asked)]
        for name in empty:
            del options[name]
        return replace(asked, **options), spared or bool(empty)

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


def _says_something(name: str, options: Mapping[str, Any], asked: Query) -> bool:
    """Whether an option makes a difference to the signals and the mode of ``asked``."""
    kinds = {signal.kind for signal in asked.signals}
    if name in ("combine", "alpha", "rrf_k"):
        return asked.mode != "text" and mode_of(asked) == "hybrid"
    if name == "bridge":
        return asked.mode != "text" and ("image" in kinds or kinds == {"text"})
    if name == "composition" and options[name] != "sum":
        others = kinds - {"text"} if options[name] == "product" else kinds & {"image"}
        return asked.mode != "text" and "text" in kinds and bool(others)
    return True


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
    if key not in _KEYS:
        raise ConfigError(f"there is no variant {f'{key}={value}'!r}; write {_EXAMPLES}")
    allowed, read = _KEYS[key]
    found = read(value)
    if found is None:
        raise ConfigError(f"{key} is {allowed}, got {value!r}")
    if key == "collection":
        return replace(variant, collection=found)
    if key in _WEIGHTS:
        return replace(variant, weights={**variant.weights, key: found})
    return replace(variant, options={**variant.options, key: found})


def _number(least: float, most: float = math.inf) -> Callable[[str], float | None]:
    def read(text: str) -> float | None:
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) and least <= number <= most else None

    return read


def _whole(text: str) -> int | None:
    number = _number(1, _MOST)(text)
    return int(number) if number is not None and number.is_integer() else None


def _one_of(*names: str) -> tuple[str, Callable[[str], str | None]]:
    *others, last = names
    return (
        f"{', '.join(others)} or {last}" if others else last
    ), lambda text: text if text in names else None


_MOST = 1_000  # as of the options of ``mm-milvus query``
_WEIGHTS = ("image", "text", "id")
# What may stand before "=": what it takes, and that as a value, None for anything else.
_KEYS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("alpha", "bridge"), ("a number from 0 to 1", _number(0, 1))),
    **dict.fromkeys(("rrf_k", "rerank_size"), (f"a whole number from 1 to {_MOST:,}", _whole)),
    "composition": _one_of("sum", "product", "slerp"),
    "rerank": _one_of(KIND),
    **dict.fromkeys(_WEIGHTS, ("a weight, which is a number of at least 0", _number(0))),
    "collection": ("the name of a collection", lambda text: text or None),
}


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
