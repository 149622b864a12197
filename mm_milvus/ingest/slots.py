"""Identical pictures and identical texts are encoded once: products that share one share a slot for its vector."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mm_milvus.errors import MmMilvusError

    Array = npt.NDArray[np.float32]

__all__ = ["Shelf", "Slot", "Slots", "claim", "release", "wait_until_done", "without_frames"]


def without_frames(failure: MmMilvusError) -> MmMilvusError:
    """The same error to be kept: its traceback and causes would hold the pictures that their frames worked on."""
    failure.__traceback__ = failure.__context__ = failure.__cause__ = None
    return failure


@dataclass(slots=True, eq=False)
class Slot:
    """One picture or one text. It ends with a vector or with a failure, and never changes afterwards."""

    content: Any = None  # what is encoded: a text, or a prepared picture once it is decoded; None afterwards
    decoding: Future[None] | None = None  # of a picture: done when the content is there, or the failure
    vector: Array | None = None  # (D,) float32, unit norm
    failure: MmMilvusError | None = None
    validator: str = ""  # of a picture behind a URL, once it was fetched
    claimed: bool = False

    def fill(self, vector: Array) -> None:
        self.vector, self.content, self.decoding = vector, None, None

    def fail(self, failure: MmMilvusError) -> None:
        self.failure, self.content = without_frames(failure), None

    @property
    def done(self) -> bool:
        return self.vector is not None or self.failure is not None


class Slots:
    """The slots of what is on its way, and of the last that were done, up to ``most``."""

    def __init__(self, most: int = 2_048) -> None:
        self._most = most
        self._slots: OrderedDict[bytes, Slot] = OrderedDict()

    def get(self, key: bytes) -> Slot | None:
        """The slot of what has this identity, None when there is none. Called by one thread."""
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
        return slot

    def add(self, key: bytes, slot: Slot) -> Slot:
        self._slots[key] = slot
        if len(self._slots) > self._most:
            self._slots.popitem(last=False)
        return slot


class Shelf:
    """Where the vectors of slots lie: in large blocks. Thousands of small arrays that stay, between large ones that
    come and go, would keep the memory of the latter from being given back."""

    def __init__(self, rows: int = 256) -> None:
        self._rows = rows
        self._block: Array | None = None
        self._used = 0
        self._lock = threading.Lock()

    def put(self, vector: Array) -> Array:
        """The same vector (D,), in a block that lives as long as any of its vectors is in use."""
        import numpy as np

        with self._lock:
            if self._block is None or self._used == self._rows:
                self._block, self._used = np.empty((self._rows, len(vector)), np.float32), 0
            row: Array = self._block[self._used]
            self._used += 1
        row[:] = vector
        return row


# One for all slots: a lock of its own would weigh more than a vector.
_settled = threading.Condition()


def claim(slots: Iterable[Slot]) -> list[Slot]:
    """Those that nobody has claimed before, in their order: they are the caller's to fill or to fail."""
    with _settled:
        mine = [slot for slot in slots if not slot.claimed and not slot.done]
        for slot in mine:
            slot.claimed = True
    return list(dict.fromkeys(mine))


def release(slots: Sequence[Slot]) -> None:
    """The end of a claim: wakes who waits for these slots, and gives back what could not be encoded."""
    with _settled:
        for slot in slots:
            slot.claimed = slot.done
        _settled.notify_all()


def wait_until_done(slots: Sequence[Slot], seconds: float) -> bool:
    """Waits for whoever has claimed them. False when the time ran out."""
    with _settled:
        return _settled.wait_for(lambda: all(slot.done for slot in slots), seconds)
