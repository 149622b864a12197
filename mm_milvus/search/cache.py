"""Vectors of recent query texts and pictures: a person who pages, sorts and filters asks the same again and again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mm_milvus.encoders.base import Encoder, EncoderSpec, Prepared

__all__ = ["QueryEncoder"]


@dataclass(frozen=True, slots=True)
class _Picture:
    prepared: Prepared
    key: bytes


class QueryEncoder:
    """What composing a query asks of an encoder, with a memory for the last ``size`` texts and pictures."""

    def __init__(self, encoder: Encoder, size: int = 1_024) -> None:
        self._encoder = encoder
        self._size = size
        self._known: OrderedDict[Any, Tensor] = OrderedDict()

    @property
    def spec(self) -> EncoderSpec:
        return self._encoder.spec

    @property
    def smallest_side(self) -> int:
        return self._encoder.smallest_side

    def encode_query_text(self, texts: Sequence[str]) -> Tensor:
        """As the encoder's."""
        return self._remembered(
            list(texts), lambda places: self._encoder.encode_query_text([texts[place] for place in places])
        )

    def prepare(self, picture: NDArray[np.uint8]) -> _Picture:
        """A picture for ``encode_prepared``."""
        shape = str(picture.shape).encode()
        return _Picture(
            self._encoder.prepare(picture),
            hashlib.blake2b(picture.tobytes(), digest_size=16, key=shape).digest(),
        )

    def encode_prepared(self, pictures: Sequence[_Picture]) -> Tensor:
        """As the encoder's, of what ``prepare`` gave."""
        return self._remembered(
            [picture.key for picture in pictures],
            lambda places: self._encoder.encode_prepared([pictures[place].prepared for place in places]),
        )

    def _remembered(self, keys: list[Any], encode: Callable[[list[int]], Tensor]) -> Tensor:
        """(N, D): of each key what is known, else what ``encode`` gives for its place."""
        import torch

        new = [place for place, key in enumerate(keys) if key not in self._known]
        found = {key: self._known[key] for key in keys if key in self._known}
        if new:
            found |= {keys[place]: vector for place, vector in zip(new, encode(new), strict=True)}
        for key in keys:
            self._known[key] = found[key]
            self._known.move_to_end(key)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return torch.stack([found[key] for key in keys])
