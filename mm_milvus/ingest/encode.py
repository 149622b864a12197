"""The encode stage: what a batch needs from the model, once per picture and text, and no poison for its neighbours."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import EncoderError
from mm_milvus.ingest.slots import Shelf, Slot, claim, release, wait_until_done

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import Encoder
    from mm_milvus.ingest.batches import Batch
    from mm_milvus.ingest.tally import Tally

    Array = npt.NDArray[np.float32]

__all__ = ["Abandoned", "EncodeStage", "use_cores"]

_POLL = 0.1  # seconds after which a wait looks whether the run was stopped
_MOST_THREADS = 8  # encoding at once on a CPU; more only fight for its caches
_PER_GPU = 2  # one batch is copied while the other one is computed


class Abandoned(Exception):
    """The run was stopped before the pictures of the batch were there."""


class EncodeStage:
    """Encodes batches. Several threads run it at once: on a CPU they share the model, each with its part of the cores;
    on GPUs each takes a replica that is free."""

    def __init__(self, encoders: Sequence[Encoder], tally: Tally, stopping: threading.Event) -> None:
        self._tally = tally
        self._stopping = stopping
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        on_cpu = encoders[0].device == "cpu"
        self.threads = min(cores, _MOST_THREADS) if on_cpu else _PER_GPU * len(encoders)
        self.cores_each = max(1, cores // self.threads) if on_cpu else 1
        self._free: SimpleQueue[Encoder] = SimpleQueue()
        for index in range(self.threads):
            self._free.put(encoders[index % len(encoders)])
        self._image_shelf, self._text_shelf = Shelf(), Shelf()
        self._has_worked = False

    def __call__(self, batch: Batch) -> Batch:
        """Fills the slots of the batch. Raises Abandoned, and EncoderError when the model does not work at all."""
        if batch.encode:
            self._wait_for_pictures(batch.slots)
            encoder = self._free.get()
            try:
                texts = [item.text_slot for item in batch.items if item.text_slot]
                self._fill(claim(batch.slots), lambda part: self._images(encoder, part), self._image_shelf)
                self._fill(claim(texts), lambda part: self._texts(encoder, part), self._text_shelf)
            finally:
                self._free.put(encoder)
            self._wait_for_others([*batch.slots, *texts])
        return batch

    def _wait_for_pictures(self, slots: Sequence[Slot]) -> None:
        """Until they are decoded. Raises what nobody planned."""
        futures = {future for slot in slots if (future := slot.decoding) is not None}
        while wait(futures, timeout=_POLL).not_done:
            if self._stopping.is_set():
                raise Abandoned
        if self._stopping.is_set() and any(slot.failure for slot in slots):
            raise Abandoned  # they may have failed because of the stop
        for future in futures:
            future.result()

    def _wait_for_others(self, slots: Sequence[Slot]) -> None:
        while not wait_until_done(slots, _POLL):
            if self._stopping.is_set():
                raise Abandoned

    def _fill(self, slots: Sequence[Slot], encode: Callable[[Sequence[Slot]], Array], shelf: Shelf) -> None:
        """``slots`` are claimed: each is filled, or failed, or given back when this raises."""
        try:
            if slots:
                with self._tally.clock("encode"):
                    vectors = self._each_or_none(slots, encode)
                encoded = 0
                for slot, vector in zip(slots, vectors, strict=True):
                    encoded += _settle(slot, vector, shelf)
                counter = "images_encoded" if shelf is self._image_shelf else "texts_encoded"
                self._tally.add(**{counter: encoded})
        finally:
            release(slots)

    def _each_or_none(
        self, slots: Sequence[Slot], encode: Callable[[Sequence[Slot]], Array]
    ) -> list[Array | EncoderError]:
        """The vectors of all; where the model refuses the batch, one by one. Raises when it refuses everything."""
        try:
            vectors: list[Array | EncoderError] = list(encode(slots))
        except EncoderError as error:
            if len(slots) == 1 and self._has_worked:
                return [error]
            if len(slots) == 1:
                raise
            vectors = [self._alone(slot, encode) for slot in slots]
            if all(isinstance(vector, EncoderError) for vector in vectors):
                raise
        self._has_worked = True
        return vectors

    @staticmethod
    def _alone(slot: Slot, encode: Callable[[Sequence[Slot]], Array]) -> Array | EncoderError:
        try:
            vector: Array = encode([slot])[0]
        except EncoderError as error:
            return error
        return vector

    @staticmethod
    def _images(encoder: Encoder, slots: Sequence[Slot]) -> Array:
        vectors: Array = encoder.encode_prepared([slot.content for slot in slots]).numpy()
        return vectors

    @staticmethod
    def _texts(encoder: Encoder, slots: Sequence[Slot]) -> Array:
        vectors: Array = encoder.encode_text([slot.content for slot in slots]).numpy()
        return vectors


def use_cores(count: int) -> None:
    """Has torch compute with so many threads in the calling one: stages that run side by side share the cores."""
    import torch

    torch.set_num_threads(count)


def _settle(slot: Slot, vector: Array | EncoderError, shelf: Shelf) -> bool:
    """Fills the slot, or fails it where the vector is none. Whether it was filled."""
    if isinstance(vector, EncoderError):
        slot.fail(vector)
    elif not np.isfinite(vector).all():
        slot.fail(EncoderError("the model gives numbers that are not finite; try --dtype float32"))
    elif not vector.any():
        slot.fail(EncoderError("the model gives a vector of zeros"))
    else:
        slot.fill(shelf.put(vector))
    return slot.vector is not None
