"""Identical pictures and identical texts are encoded once: products that share one share a slot for its vector."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mm_milvus.encoders.base import Prepared
    from mm_milvus.errors import MmMilvusError

    Array = npt.NDArray[np.float32]

__all__ = ["Slot", "Slots"]


@dataclass(slots=True, eq=False)
class Slot:
    """One picture or one text. It ends with a vector or with a failure, and never changes afterwards."""

    content: Any  # what is encoded: a text, or a Future of the prepared picture; None once it was
    vector: Array | None = None  # (D,) float32, unit norm
    failure: MmMilvusError | None = None
    validator: str = ""  # of a picture behind a URL, once it was fetched
    shared: bool = False  # not the first product's any more
    _claimed: bool = False
    _done: threading.Event = field(default_factory=threading.Event)

    @property
    def prepared(self) -> Future[Prepared]:
        future: Future[Prepared] = self.content
        return future

    def fill(self, vector: Array) -> None:
        self.vector, self.content = vector, None
        self._done.set()

    def fail(self, failure: MmMilvusError) -> None:
        self.failure, self.content = failure, None
        self._done.set()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits for whoever has claimed it. False when the time ran out."""
        return self._done.wait(seconds)


class Slots:
    """The slots of what is on its way, and of the last that were done, up to ``most``."""

    def __init__(self, most: int = 4_096) -> None:
        self._most = most
        self._slots: OrderedDict[bytes, Slot] = OrderedDict()

    def get(self, key: bytes) -> Slot | None:
        """The slot of what has this identity, None when there is none. Called by one thread."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.shared = True
            self._slots.move_to_end(key)
        return slot

    def add(self, key: bytes, slot: Slot) -> Slot:
        self._slots[key] = slot
        if len(self._slots) > self._most:
            self._slots.popitem(last=False)
        return slot


_claims = threading.Lock()


def claim(slots: Iterable[Slot]) -> list[Slot]:
    """Those that nobody has claimed before, in their order: they are the caller's to fill or to fail."""
    with _claims:
        mine = [slot for slot in slots if not slot._claimed and not slot.done]
        for slot in mine:
            slot._claimed = True
    return list(dict.fromkeys(mine))


def release(slots: Sequence[Slot]) -> None:
    """Gives back what was claimed and could not be encoded."""
    with _claims:
        for slot in slots:
            if not slot.done:
                slot._claimed = False
