"""The reranker ``late-interaction``: the best products of a query once more, token by token."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.encoders import token_encoder
from mm_milvus.errors import ConfigError, FusionError
from mm_milvus.late.lists import scores_of, version_of
from mm_milvus.late.maxsim import QueryTokens, joined, maxsim_of
from mm_milvus.late.place import home_of, next_command
from mm_milvus.late.projection import KIND
from mm_milvus.late.store import Build, current_build, open_build, stamp_of, state_of
from mm_milvus.media import load_pixels
from mm_milvus.records import Reranked
from mm_milvus.search.compose import weigh
from mm_milvus.search.parts import signal_text
from mm_milvus.store import TokenLists

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.config import Settings
    from mm_milvus.encoders import Encoder, TokenEncoder
    from mm_milvus.media import MediaReader
    from mm_milvus.records import Hit, Query, Signal
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["LateInteraction", "reranker_of"]

_KNOWN = 256  # query texts whose tokens are remembered


def reranker_of(
    settings: Settings,
    name: str,
    collection: Collection,
    encoder: Callable[[], Encoder],
    reader: Callable[[], MediaReader],
) -> LateInteraction:
    """The reranker of this name. Raises ConfigError for one that there is not."""
    if name != KIND:
        raise ConfigError(f"rerank is a function of the query and its hits, or {KIND!r}, not {name!r:.80}")
    command = next_command(settings, "tokens")
    return LateInteraction(home_of(settings), collection, encoder, reader, command)


class LateInteraction:
    """(query, hits) -> a score for each hit: the weighted mean, over the signals, of their tokens' best cosines.

    The tokens of a product are those of its text and of its first picture; those of a signal are its words, the
    patches of its picture, or what is stored of the product that it names. See ``maxsim.joined`` for the weights.
    A hit without tokens (new, or with nothing that has any), or with those of a text or a picture that has changed
    since, gets the mean score of the others, which is what is expected of an unknown product; where no hit has any,
    all keep the score that they came with.
    """

    def __init__(
        self,
        home: Path,
        collection: Collection,
        encoder: Callable[[], Encoder],
        reader: Callable[[], MediaReader],
        command: str = "mm-milvus tokens",
    ) -> None:
        """``command`` makes the tokens current, and is told where they are not."""
        self._home = home
        self._command = command
        self._collection = collection
        self._load_encoder = encoder
        self._reader = reader
        self._build: Build | None = None
        self._lists: TokenLists | None = None  # of a server, where they hold the same tokens
        self._stamp: tuple[Any, ...] = ()
        self._known: OrderedDict[str, Array] = OrderedDict()

    def __call__(self, query: Query, hits: Sequence[Hit]) -> Reranked:
        """Raises ConfigError (no token vectors of this collection, a signal that has none), FusionError (of another
        encoder, or damaged), NotSupported (the encoder has no tokens), MediaError.
        """
        build = self._opened()
        ids = [hit.id for hit in hits]
        named = [signal_text(signal) for signal in query.signals if signal.kind == "id"]
        current = self._current(build, [*ids, *named])
        tokens = self._query_tokens(query, build, current)
        explain: dict[str, Any] = {"rerank": KIND, "rerank_tokens": len(tokens.vectors)}
        scores = np.full(len(ids), -np.inf)
        places = [place for place, id in enumerate(ids) if id in current]
        compared = [ids[place] for place in places]
        if self._lists is not None:
            explain["rerank_by"] = self._lists.name
        if compared and self._lists is not None:
            scores[places] = scores_of(tokens, self._lists, compared)
        elif compared:
            scores[places] = maxsim_of(tokens, *build.tokens(compared))
        some = np.isfinite(scores)
        expected = float(scores[some].mean()) if some.any() else None
        first = np.array([hit.score for hit in hits])
        scores = np.where(some, scores, first if expected is None else expected)
        if not some.all():
            explain["rerank_without_tokens"] = int((~some).sum())
        new = sum(id not in build.entries for id in ids)
        old = len(ids) - len(compared) - new
        if old:
            explain["rerank_old_tokens"] = old
        lost = [id for id in named if id not in current]
        return Reranked(scores.tolist(), explain, tuple(self._notices(new, old, len(ids), lost)))

    def _current(self, build: Build, ids: Sequence[str]) -> set[str]:
        """The ids of products whose tokens are those of their text and picture as these are stored now."""
        rows = self._collection.stored(ids, self._collection.consistency)
        return {
            id
            for id, row in rows.items()
            if (entry := build.entries.get(id)) is not None and entry.is_of(state_of(row))
        }

    def _notices(self, new: int, old: int, all: int, lost: Sequence[str]) -> Iterator[str]:
        if new or old:
            lacking = ((new, "without token vectors"), (old, "with outdated ones"))
            told = " and ".join(f"{count:,} {how}" for count, how in lacking if count)
            yield (
                f"of {all:,} products that were compared again, {told} got the mean score of the others; make them "
                f"current with {self._command}"
            )
        for id in lost:
            yield f"{id!r} has no current token vectors, and counted for nothing; make them with {self._command}"

    def _query_tokens(self, query: Query, build: Build, current: Container[str]) -> QueryTokens:
        """All tokens of the query with what they count; a product that is not among the ``current`` has none."""
        if any(signal.kind == "vector" for signal in query.signals):
            raise ConfigError(f"{KIND} compares words, pictures and products; a vector has no tokens")
        encoder = self._encoder(build)
        signals = weigh(query.signals, encoder.spec.weights)
        known = [s for s in signals if s.kind != "id" or signal_text(s) in current]
        found = joined([(self._tokens(signal, encoder, build), signal.weight or 0.0) for signal in known])
        if found is None and len(known) < len(signals):
            raise ConfigError(
                f"the products that this query names have no current token vectors; make them with {self._command}"
            )
        if found is None:
            raise ConfigError("the signals of this query have no tokens, or all of them the weight 0")
        return found

    def _tokens(self, signal: Signal, encoder: TokenEncoder, build: Build) -> Array:
        if signal.kind == "id":
            vectors, _ = build.tokens([signal_text(signal)])
            return vectors
        if signal.kind == "text":
            text = signal_text(signal)
            if text not in self._known:
                self._known[text] = build.projection.text(encoder.encode_query_text_tokens([text])[0])
            self._known.move_to_end(text)
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
            return self._known[text]
        pixels = load_pixels(
            signal.value, reader=self._reader(), crop=signal.crop, smallest=encoder.smallest_side
        )
        return build.projection.image(encoder.encode_prepared_tokens([encoder.prepare(pixels)])[0])

    def _encoder(self, build: Build) -> TokenEncoder:
        encoder = token_encoder(self._load_encoder())
        build.projection.check(encoder)
        return encoder

    def _opened(self) -> Build:
        """The tokens as they are now: another process may have made new ones."""
        stamp = stamp_of(self._home)
        if self._build is not None and stamp == self._stamp:
            return self._build
        folder = current_build(self._home)
        if folder is None:
            token_encoder(self._load_encoder())  # one that has no tokens says so first
            raise ConfigError(
                f"there are no token vectors of {self._collection.name!r} in {str(self._home)!r}: make them with "
                f"{self._command.replace('tokens', 'tokens FOLDER', 1)}, FOLDER being what mm-milvus train "
                f"--fusion {KIND} has written"
            )
        try:
            self._build, self._stamp = open_build(folder), stamp
        except FusionError:
            if current_build(self._home) == folder:
                raise
            return self._opened()  # a new one took its place just now
        self._lists = None
        if self._collection.capabilities.embedding_lists:
            lists = TokenLists(self._collection, self._build.projection.config.dim)
            self._lists = lists if lists.hold() == version_of(self._build) else None
        self._known.clear()
        return self._build
