"""How hosts are treated: some requests at a time, pauses that they ask for, none while they do not answer.

* At most ``per_host`` requests run at a time to one host. Waiting for that costs a picture none of its time.
* A host that answers 429 or 503 with Retry-After is left alone for that long, up to 30 s; all its pictures wait.
  If it asks for more, its pictures fail at once for as long as it asked, up to 60 s.
* After 10 failures in a row (no connection, timeout, broken connection, a picture out of time, or a pause after
  which it asks for the next one) its pictures fail at once for 5 s. Then one picture tries: where it gets an answer,
  all go on as before, otherwise the time doubles, up to 60 s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mm_milvus.errors import MediaError
from mm_milvus.media.network import Clock
from mm_milvus.media.references import one_line
from mm_milvus.media.waiting import STEP

__all__ = ["LONGEST_PAUSE", "Host", "HostClosed", "Hosts"]

LONGEST_PAUSE = 30.0  # seconds; a server that asks for more has the picture counted as failed
_FAILURES = 10
_FIRST_CLOSURE, _LONGEST_CLOSURE = 5.0, 60.0  # seconds


class HostClosed(MediaError):
    """A host that has not answered for some time is not asked."""


class Host:
    """What is known about one host; safe for use by several threads."""

    def __init__(self, name: str, at_once: int) -> None:
        self.slots = threading.BoundedSemaphore(at_once)
        self._name = name
        self._lock = threading.Lock()
        self._failures = 0
        self._length = 0.0  # of the closure, 0 while the host is open
        self._closed_at = self._closed_until = self._paused_until = 0.0
        self._reason = ""

    def wait(self) -> float:
        """Seconds to wait before a request, 0 if it may go now. Raises MediaError while the host is closed."""
        now = time.monotonic()
        with self._lock:
            if not self._length:
                return max(0.0, self._paused_until - now)
            self._refuse_while_closed(now)
            self._closed_until = now + self._length  # for all but this one, which tries
            return 0.0

    def check(self) -> None:
        """Raises MediaError while the host is closed."""
        with self._lock:
            self._refuse_while_closed(time.monotonic())

    def answered(self) -> None:
        with self._lock:
            self._failures, self._length = 0, 0.0

    def failed(self, reason: str, started: float) -> None:
        """A request that began at ``started`` (monotonic) got no answer."""
        with self._lock:
            self._count(reason, started)

    def pause(self, seconds: float, reason: str, started: float) -> None:
        """The host asked to be left alone."""
        now = time.monotonic()
        with self._lock:
            if seconds > LONGEST_PAUSE:
                self._close(
                    min(seconds, _LONGEST_CLOSURE), f"asked for a pause of {seconds:.0f} s ({reason})"
                )
                return
            if now >= self._paused_until:  # requests that ran side by side count as one
                self._count(reason, started)
            self._paused_until = max(self._paused_until, now + seconds)

    def _refuse_while_closed(self, now: float) -> None:
        if self._length and now < self._closed_until:
            left = max(1.0, self._closed_until - now)
            raise HostClosed(
                f"{one_line(self._name)} {self._reason}; not asked again for {left:.0f} s", stage="fetch"
            )

    def _count(self, reason: str, started: float) -> None:
        if started <= self._closed_at:
            return  # it was under way when the host was closed
        self._failures += 1
        if self._failures >= _FAILURES:
            length = min(self._length * 2, _LONGEST_CLOSURE) if self._length else _FIRST_CLOSURE
            self._close(length, f"did not answer {self._failures} times in a row (at last: {reason})")

    def _close(self, length: float, reason: str) -> None:
        self._closed_at = time.monotonic()
        self._closed_until = self._closed_at + length
        self._length, self._reason = length, reason


class Hosts:
    """All hosts that a reader has met."""

    def __init__(self, per_host: int, clock: Clock) -> None:
        self._per_host = per_host
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}

    @contextmanager
    def slot(self, name: str) -> Iterator[Host]:
        """A turn to send one request to the host ``name``. Raises MediaError where it is closed."""
        name = name.lower().rstrip(".")
        with self._lock:
            host = self._hosts.setdefault(name, Host(name, self._per_host))
        with self._clock.stopped():
            self._enter(host)
        try:
            yield host
        finally:
            host.slots.release()

    def _enter(self, host: Host) -> None:
        while True:
            self._clock.check_open()
            host.check()  # also for those who still wait for a turn
            if not host.slots.acquire(timeout=STEP):
                continue
            try:
                wait = host.wait()
            except MediaError:
                host.slots.release()
                raise
            if not wait:
                return
            host.slots.release()
            self._clock.sleep(wait)
