"""Many items through a model in steps that fit its device, and the unit vectors that come out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from mm_milvus.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

T = TypeVar("T")

__all__ = ["Steps", "finite", "own_stream", "step_size", "unit"]

# What torch says in a plain RuntimeError when a CPU has no more memory; the last one is oneDNN, for its code or its
# scratchpad.
_NO_MEMORY = ("can't allocate memory", "bad_alloc", "not enough memory", "could not create a primitive")


def step_size(device: torch.device) -> int:
    """Items that a transformer takes at once: larger steps are not faster on a CPU and cost memory."""
    return {"cpu": 16, "cuda": 256}.get(device.type, 64)


class Steps:
    """Runs a model over parts of a sequence. The size of a part is halved when it does not fit the device.

    Safe to share between threads: all of them keep to the smallest size that one of them found.
    """

    def __init__(self, size: int, device: torch.device, *, fixed: bool = False) -> None:
        """``fixed``: the last part is filled up with copies of its last item, as a compiled model wants."""
        self._device, self._fixed = device, fixed
        self._size = size
        self._lock = threading.Lock()
        self._streams = threading.local()

    @property
    def size(self) -> int:
        """Items of one step as of now."""
        return self._size

    def __call__(self, items: Sequence[Any], dim: int, encode: Callable[[Sequence[Any]], Tensor]) -> Tensor:
        """``encode`` over all items -> (N, dim) float32 on the CPU, each row of unit norm or NaN.

        Texts are taken in the order of their length, so that short ones are not padded to a long one.
        Raises EncoderError when a single item does not fit the device.
        """
        import torch

        vectors = torch.empty(len(items), dim)
        for part, found in self._parts(items, lambda filled, count: unit(encode(filled)[:count])):
            vectors[part] = found
        return vectors

    def each(
        self, items: Sequence[Any], encode: Callable[[Sequence[Any]], list[Tensor]]
    ) -> list[NDArray[np.float32]]:
        """``encode``, which gives a tensor of any length for each item, over all items; float32, in their order.

        Raises EncoderError when a single item does not fit the device.
        """
        from mm_milvus.encoders.tokens import finished

        tokens: list[Any] = [None] * len(items)
        for part, found in self._parts(items, lambda filled, count: finished(encode(filled)[:count])):
            for index, one in zip(part, found, strict=True):
                tokens[index] = one.numpy()
        return tokens

    def _parts(
        self, items: Sequence[Any], encode: Callable[[list[Any], int], T]
    ) -> Iterator[tuple[list[int], T]]:
        """Places of the items of each step, and what ``encode`` gave for them."""
        order = list(range(len(items)))
        if items and isinstance(items[0], str):
            order.sort(key=lambda index: len(items[index]))
        start = 0
        while start < len(order):
            part = order[start : start + self._size]
            found = self._try([items[index] for index in part], encode)
            if found is not None:
                yield part, found
                start += len(part)

    def _try(self, part: list[Any], encode: Callable[[list[Any], int], T]) -> T | None:
        """What ``encode`` gives for one step, or None when it did not fit and the size was halved."""
        count = len(part)
        filled = part + part[-1:] * (self._size - count) if self._fixed else part
        try:
            with own_stream(self._device, self._streams):
                return encode(filled, count)
        except (RuntimeError, MemoryError) as error:
            if not _is_no_memory(error):
                raise
            if len(filled) == 1:
                raise EncoderError(
                    f"the device {self._device} has too little free memory for one item"
                ) from error
        # Only here, with the error and its frames gone, can what they held be given back.
        self._halve(len(filled))
        return None

    def _halve(self, failed: int) -> None:
        import torch

        with self._lock:
            self._size = min(self._size, max(1, failed // 2))
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _is_no_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def own_stream(device: torch.device, streams: threading.local) -> Iterator[None]:
    """Work on a CUDA device goes to a stream of the calling thread, so that threads do not wait for each other."""
    import torch

    if device.type != "cuda":
        yield
        return
    if not hasattr(streams, "stream"):
        streams.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        streams.stream.wait_stream(torch.cuda.default_stream(device))  # on which the weights were loaded
    with torch.cuda.stream(streams.stream):
        yield


def unit(features: Tensor) -> Tensor:
    """(N, D) of any dtype and device -> (N, D) float32 on the CPU, rows of unit norm.

    A row of zeros, or with a number that is not finite, is NaN in every place.
    """
    rows = features.detach().float()
    rows = rows / rows.abs().amax(dim=-1, keepdim=True)  # squares of large numbers overflow
    vectors: Tensor = rows / rows.norm(dim=-1, keepdim=True)
    return vectors.cpu()


def finite(vectors: Tensor) -> Tensor:
    """(N, D) -> (N,) bool: which rows are vectors, and not the NaN of an item that a model could not encode."""
    return vectors.isfinite().all(dim=-1)
