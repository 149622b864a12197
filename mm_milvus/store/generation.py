"""Whether a collection has changed: told by those who write to it, in a property of its own, and asked for by those who
remember what they read.

A writer says that the collection is changing before its first row, and gives it a new generation when all rows are in.
While it is changing, nothing is remembered for long: then it does not matter whether the writer ever gets to its end.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from mm_milvus.store.link import Link

T = TypeVar("T")

__all__ = ["GENERATION_PROPERTY", "Generation", "Kept", "Reading", "new_generation"]

GENERATION_PROPERTY = "mm.generation"
_CHANGING = "changing:"
_MOMENT = 0.02  # seconds
_AGAIN = 10.0  # seconds; the mark of one writer is lost when another one comes to its end
_BRIEFLY = 2.0  # seconds that a reading of a changing collection holds,
_WORTH = 5  # or so many times as long as it took, so that not all time goes into reading


def new_generation() -> str:
    """The text of a collection that has changed and rests."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Reading:
    """Of what was read: at which generation, and when (monotonic seconds)."""

    generation: str
    began: float
    ended: float

    def holds(self, generation: str) -> bool:
        """Whether what was read can be used at this generation, which is that of now."""
        if generation != self.generation:
            return False
        age, took = time.monotonic() - self.ended, self.ended - self.began
        return not generation.startswith(_CHANGING) or age < max(_BRIEFLY, _WORTH * took)


class Kept(Generic[T]):
    """What is read of a collection, and read again when that has changed."""

    def __init__(self, generation: Callable[[], str], read: Callable[[], T]) -> None:
        self._generation = generation
        self._read = read
        self._kept: tuple[Reading, T] | None = None

    def get(self) -> T:
        """As ``read`` gives it. What that raises is raised, and nothing is kept then."""
        generation = self._generation()
        if self._kept is None or not self._kept[0].holds(generation):
            self._kept = None  # before the next one is read: both need not fit the memory
            began = time.monotonic()
            value = self._read()
            self._kept = Reading(generation, began, time.monotonic()), value
        return self._kept[1]

    def has(self, value: T) -> bool:
        """Whether ``get`` would give this one, so that what was made of it is worth keeping."""
        return self._kept is not None and value is self._kept[1] and self._kept[0].holds(self._generation())


class Generation:
    """That of one collection, for a writer and for a reader."""

    def __init__(self, link: Link, name: str, timeout: float) -> None:
        self._link = link
        self._name = name
        self._timeout = timeout
        self._properties: Mapping[str, str] = {}
        self._asked: float | None = None
        self._mark = _CHANGING + new_generation()
        self._marked: float | None = None  # when this writer has last said that it writes
        self._writes = 0

    def begin(self) -> None:
        """To be called before rows are written."""
        self._writes += 1
        now = time.monotonic()
        if self._marked is None or now - self._marked > _AGAIN:
            self._set(self._mark)
            self._marked = now

    def settle(self, *, patient: bool = True) -> None:
        """What ``begin`` has announced is done. Unless ``patient``, a Milvus that is away is not waited for."""
        if self._marked is not None:
            self._set(new_generation(), patient=patient)
            self._marked = None

    def renew(self) -> None:
        """After a change that was not announced."""
        self._writes += 1
        self._set(new_generation() if self._marked is None else self._mark)

    def text(self) -> str:
        """Another one after every change; one query asks several times, and is told what was true a moment ago."""
        told = self.properties(_MOMENT).get(GENERATION_PROPERTY, "")
        return told if self._marked is None else f"{told}.{self._writes}"

    def properties(self, age: float) -> Mapping[str, str]:
        """All properties of the collection, as they were at most ``age`` seconds ago."""
        if self._asked is None or time.monotonic() - self._asked > age:
            described = self._link.call(
                f"cannot describe {self._name!r}",
                lambda client: client.describe_collection(self._name, timeout=self._timeout),
            )
            self._properties = {key: str(value) for key, value in described.get("properties", {}).items()}
            self._asked = time.monotonic()
        return self._properties

    def _set(self, text: str, *, patient: bool = True) -> None:
        self._asked = None
        self._link.call(
            f"cannot note a change of {self._name!r}",
            lambda client: client.alter_collection_properties(
                self._name, properties={GENERATION_PROPERTY: text}, timeout=self._timeout
            ),
            patient=patient,
        )
