"""One pool of threads for many hosts, of which each gets so many threads at most: a slow one does not take them all."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor

__all__ = ["Lanes"]

Work = Callable[[], None]  # raises nothing


class Lanes:
    """Runs work lane by lane, in its order; the lanes run side by side."""

    def __init__(self, pool: Executor, width: int) -> None:
        """``width``: how much of one lane may run at a time."""
        self._pool = pool
        self._width = width
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self._parked: dict[str, deque[Work]] = {}

    def submit(self, lane: str, work: Work) -> None:
        with self._lock:
            if self._running[lane] >= self._width:
                self._parked.setdefault(lane, deque()).append(work)
                return
            self._running[lane] += 1
        self._pool.submit(self._run, lane, work)

    def _run(self, lane: str, work: Work | None) -> None:
        while work is not None:
            work()
            work = self._next(lane)

    def _next(self, lane: str) -> Work | None:
        with self._lock:
            if parked := self._parked.get(lane):
                return parked.popleft()
            self._parked.pop(lane, None)
            self._running[lane] -= 1
            return None
