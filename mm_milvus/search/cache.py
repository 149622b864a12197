"""Vectors of recent query texts and pictures: a person who pages, sorts and filters asks the same again and again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mm_milvus.encoders.base import Encoder, EncoderSpec, Prepared, QueryTexts

    Array = NDArray[np.float32]

__all__ = ["QueryEncoder"]


@dataclass(frozen=True, slots=True)
class _Picture:
    prepared: Prepared
    key: bytes


class QueryEncoder:
    """What composing a query asks of an encoder, with a memory for the last ``size`` texts and pictures.

    ``load`` gives the encoder once something needs it: a query without pictures does not, where ``texts`` is given.
    """

    def __init__(
        self, load: Callable[[], Encoder], texts: QueryTexts | None = None, size: int = 1_024
    ) -> None:
        self._load = load
        self._texts = texts
        self._loaded: Encoder | None = None
        self._size = size
        self._known: OrderedDict[Any, Array] = OrderedDict()

    @property
    def spec(self) -> EncoderSpec:
        return self._texts.spec if self._texts else self.encoder.spec

    @property
    def encoder(self) -> Encoder:
        """The encoder itself, loaded now if it was not."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def load(self) -> None:
        """Loads the encoder, so that a query with pictures need not wait for it later."""
        _ = self.encoder

    @property
    def smallest_side(self) -> int:
        return self.encoder.smallest_side

    def encode_query_text(self, texts: Sequence[str]) -> Array:
        """(N, text_dim) float32, L2-normalised; NaN for what cannot be encoded."""

        def encode(places: list[int]) -> Array:
            asked = [texts[place] for place in places]
            if self._texts:
                return self._texts.encode_query_text(asked)
            return self.encoder.encode_query_text(asked).numpy()

        return self._remembered(list(texts), encode)

    def prepare(self, picture: NDArray[np.uint8]) -> _Picture:
        """A picture for ``encode_prepared``."""
        shape = str(picture.shape).encode()
        return _Picture(
            self.encoder.prepare(picture),
            hashlib.blake2b(picture.tobytes(), digest_size=16, key=shape).digest(),
        )

    def encode_prepared(self, pictures: Sequence[_Picture]) -> Array:
        """(N, image_dim) float32, L2-normalised, of what ``prepare`` gave; NaN for what cannot be encoded."""

        def encode(places: list[int]) -> Array:
            return self.encoder.encode_prepared([pictures[place].prepared for place in places]).numpy()

        return self._remembered([picture.key for picture in pictures], encode)

    def _remembered(self, keys: list[Any], encode: Callable[[list[int]], Array]) -> Array:
        """(N, D): of each key what is known, else what ``encode`` gives for its place."""
        new = [place for place, key in enumerate(keys) if key not in self._known]
        found = {key: self._known[key] for key in keys if key in self._known}
        if new:
            found |= {keys[place]: vector for place, vector in zip(new, encode(new), strict=True)}
        for key in keys:
            self._known[key] = found[key]
            self._known.move_to_end(key)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return np.stack([found[key] for key in keys])
