"""What a variant costs beside its answers: bytes of vectors, and the time in which its queries become vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.encoders import token_encoder
from mm_milvus.errors import MediaError
from mm_milvus.late import home_of
from mm_milvus.late.store import current_build, open_build
from mm_milvus.media import load_pixels
from mm_milvus.search.cache import QueryEncoder
from mm_milvus.search.parts import signal_text
from mm_milvus.search.routes import mode_of

if TYPE_CHECKING:
    from mm_milvus.client import Client
    from mm_milvus.evaluation.records import Answer, Question
    from mm_milvus.evaluation.run import AskedOf
    from mm_milvus.records import Signal

__all__ = ["MOST_ENCODED", "EncodeTimes", "index_bytes"]

MOST_ENCODED = 50  # queries of which the encoding is timed
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def index_bytes(asked: AskedOf) -> int:
    """Of the vectors that the variant compares: products times dimensions times bytes of a number, where it compares
    any, and the token vectors as they lie in their folder, where it reranks by them. Not counted are what an index adds
    to the vectors, the index of words, and the attributes. Raises FusionError for damaged token vectors.
    """
    info, options = asked.client.info(), asked.variant.options
    size = 0
    if options.get("mode") != "text":
        dtype = (asked.source or asked.client)._open().stamp.vector_dtype
        size = info.rows * info.stamp["dim"] * _BYTES[dtype]
    if "rerank" in options and (folder := current_build(home_of(asked.client.settings))):
        size += open_build(folder).size
    return size


class EncodeTimes:
    """How long the encoders take for queries. Variants of one encoder share what was measured."""

    def __init__(self) -> None:
        self._known: dict[tuple[Hashable, ...], float] = {}
        self._encoders: dict[str, QueryEncoder] = {}
        self._warm: set[tuple[Hashable, ...]] = set()

    def median(
        self, asked: AskedOf, questions: Sequence[Question], answers: Sequence[Answer]
    ) -> float | None:
        """Milliseconds, over the first fifty questions that the variant answers and has to encode something of; None
        where it encodes nothing: for words by letter, and for stored products.

        Texts and decoded pictures go through the model anew, whatever a cache knows, and for a rerank by tokens texts
        do so twice. Reading and decoding a picture is no part of it, nor is loading the model.
        """
        answered = (pair[0] for pair in zip(questions, answers, strict=True) if pair[1].problem is None)
        times = (time for question in answered if (time := self._time(asked, question)) is not None)
        found = list(islice(times, MOST_ENCODED))
        return float(np.median(found)) if found else None

    def _time(self, asked: AskedOf, question: Question) -> float | None:
        query = asked.variant.query(question, 1)
        dense, tokens = mode_of(query) != "text", query.rerank is not None
        signals = [signal for signal in query.signals if signal.kind in ("text", "image")]
        if not signals or not (dense or tokens):
            return None
        client = asked.client
        name = client._encoder_name(client._open().stamp)
        values = [s.value if isinstance(s.value, str) else id(s.value) for s in signals]
        key = (name, dense, tokens, *((s.kind, s.crop, v) for s, v in zip(signals, values, strict=True)))
        if key not in self._known:
            try:
                work = self._work(client, name, signals, dense, tokens)
            except MediaError:  # a picture behind a URL that is gone since it was asked with
                return None
            kinds = (name, dense, tokens, *sorted({signal.kind for signal in signals}))
            if kinds not in self._warm:  # the first time a model is slower than ever after
                work()
                self._warm.add(kinds)
            started = time.perf_counter()
            work()
            self._known[key] = (time.perf_counter() - started) * 1000
        return self._known[key]

    def _work(
        self, client: Client, name: str, signals: Sequence[Signal], dense: bool, tokens: bool
    ) -> Callable[[], None]:
        """The encoding of one query, to be done as often as one likes."""
        encoder = self._encoder(client, name)
        texts = [signal_text(signal) for signal in signals if signal.kind == "text"]
        pictures = [signal for signal in signals if signal.kind == "image"]
        side = encoder.smallest_side if pictures else 0
        pixels = [load_pixels(s.value, reader=client._media(), crop=s.crop, smallest=side) for s in pictures]
        by_token = token_encoder(encoder.encoder) if tokens else None

        def work() -> None:
            if texts and dense:
                encoder.encode_query_text(texts)
            if pixels and dense:
                encoder.encode_prepared([encoder.prepare(picture) for picture in pixels])
            if texts and by_token:  # of pictures, the search itself makes the tokens each time
                by_token.encode_query_text_tokens(texts)

        return work

    def _encoder(self, client: Client, name: str) -> QueryEncoder:
        """One that remembers nothing."""
        if name not in self._encoders:
            stamp = client._open().stamp
            self._encoders[name] = QueryEncoder(
                lambda: client._encoder(stamp), client._query_texts(stamp), size=0
            )
        return self._encoders[name]
