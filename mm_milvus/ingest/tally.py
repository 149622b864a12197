"""What a run has done so far: counts, problems, rejects and seconds per stage, added up from several threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from mm_milvus.records import IngestReport, Rejected

if TYPE_CHECKING:
    from mm_milvus.catalog import RejectsFile
    from mm_milvus.ingest.plan import Item
    from mm_milvus.store import Stamp

__all__ = ["STAGES", "CountedWaits", "Tally", "Waits"]

STAGES = ("read", "plan", "fetch", "decode", "encode", "write")


class Waits(Protocol):
    """How often a call to Milvus had to be repeated so far, and the end of that."""

    count: int

    def stop(self) -> None: ...


class CountedWaits:
    """Counts how often Milvus had to be asked again, and passes the line on."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.count = 0
        self.stop: Callable[[], None] = lambda: None
        self._tell = tell

    def __call__(self, line: str) -> None:
        self.count += 1
        if self._tell is not None:
            self._tell(line)


class Tally:
    """Counts by the names of IngestReport. Its methods may be called by several threads."""

    def __init__(
        self, collection: str, stamp: Stamp, rejects: RejectsFile, waits: Waits | None = None
    ) -> None:
        self._collection = collection
        self._text_fields = stamp.text_fields
        self._rejects = rejects
        self._waits = waits
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._problems: dict[str, tuple[int, str]] = {}  # stage -> how often, and the first case
        self._began = time.perf_counter()
        self.stopped: str | None = None
        self.notices: tuple[str, ...] = ()

    def add(self, **counts: int) -> None:
        with self._lock:
            self._counts.update(counts)

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Adds the seconds inside the block to the stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            with self._lock:
                self._seconds[stage] += took

    def reject(self, rejected: Rejected) -> None:
        """Writes the row to the rejects file and counts it, as kept or as rejected."""
        with self._lock:
            self._rejects.write(rejected)
            stage = rejected.stage
            count, first = self._problems.get(stage, (0, f"line {rejected.line}: {rejected.reason}"))
            self._problems[stage] = (count + 1, first)
            self._counts["kept" if rejected.kept else "rejected"] += 1
        if rejected.last:
            self.stopped = f"line {rejected.line}: {rejected.reason}"

    def reject_item(self, item: Item, stage: str, reason: str, *, kept: bool = False) -> None:
        product = item.product
        self.reject(Rejected(product.line, product.id, stage, reason, product.record, kept))

    def report(self) -> IngestReport:
        with self._lock:
            counts = dict(self._counts)
            frequent = sorted(self._problems.items(), key=lambda problem: -problem[1][0])
            settled = sum(counts.get(name, 0) for name in ("written", "unchanged", "rejected"))
            return IngestReport(
                collection=self._collection,
                read=settled,
                **counts,
                retries=self._waits.count if self._waits is not None else 0,
                seconds=time.perf_counter() - self._began,
                stages=dict(self._seconds),
                rejects_file=str(self._rejects.path) if self._rejects.count else None,
                stopped=self.stopped,
                text_fields=self._text_fields,
                problems=tuple(
                    f"{count:,} × {stage}, first on {first}" for stage, (count, first) in frequent
                ),
                notices=self.notices,
            )
