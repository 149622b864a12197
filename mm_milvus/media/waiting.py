"""Calls that cannot be interrupted, waited for only as long as somebody wants their result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["STEP", "wait_for"]

STEP = 0.2  # seconds between two looks at ``stop``

T = TypeVar("T")


def wait_for(
    work: Callable[[], T],
    *,
    timeout: float,
    stop: threading.Event | None = None,
    discard: Callable[[T], None] = lambda result: None,
) -> T:
    """The result of ``work``, which runs in a thread of its own; what it raises is raised here.

    Raises TimeoutError after ``timeout`` seconds, or soon after ``stop`` is set. ``work`` then runs on, and
    ``discard`` gets its result.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    lock, done = threading.Lock(), threading.Event()
    wanted = True

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # it is raised in the thread that waits
            errors.append(error)
        else:
            with lock:
                results.append(result)
                late = not wanted
            if late:
                discard(result)
        done.set()

    threading.Thread(target=run, name="mm-milvus-network", daemon=True).start()
    until = time.monotonic() + timeout
    while not done.wait(max(0.0, min(STEP, until - time.monotonic()))):
        if time.monotonic() >= until or (stop is not None and stop.is_set()):
            break
    with lock:
        wanted = False
        if results:
            return results[0]
    if errors:
        raise errors[0]
    raise TimeoutError
