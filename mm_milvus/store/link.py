"""The connection to Milvus as it is now: calls that fail because Milvus is away are repeated over a fresh one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from mm_milvus.errors import ConnectionFailed, StoreError
from mm_milvus.store.failures import is_transient, translated

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    T = TypeVar("T")

__all__ = ["Link"]

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 4.0
_LOAD_SECONDS = 5.0


class Link:
    """One connection for all threads. A call that fails in a transient way is repeated for ``retry_seconds``.

    pymilvus rides out no outage: after one its client stays broken for a while, so a fresh client takes its place.
    """

    def __init__(
        self,
        client: MilvusClient,
        reconnect: Callable[[], MilvusClient],
        *,
        uri: str,
        timeout: float,
        retry_seconds: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._client = client
        self._reconnect = reconnect
        self._uri = uri
        self._timeout = timeout
        self._retry_seconds = retry_seconds
        self._on_wait = on_wait
        self._broken = False
        self._loaded: set[str] = set()
        self._lock = threading.Lock()  # one thread reconnects, the others wait for it
        self._stop = threading.Event()

    def call(
        self,
        action: str,
        do: Callable[[MilvusClient], T],
        *,
        collection: str | None = None,
        patient: bool = True,
    ) -> T:
        """What ``do`` returns for the current client; ``action`` opens the message of a failure.

        ``do`` may be called several times. ``collection`` names one that must be loaded. Raises StoreError: at once
        where waiting does not help or the call is not ``patient``, else when ``retry_seconds`` have passed since the
        first failure; a call that hangs then still runs into its own timeout.
        """
        failed_at: float | None = None
        pause = _FIRST_PAUSE
        while True:
            client = None
            try:
                with translated(action):
                    client = self._ready(collection)
                    return do(client)
            except StoreError as error:
                if not (patient and self._retry_seconds and is_transient(error)):
                    raise
                now = time.monotonic()
                failed_at = now if failed_at is None else failed_at
                self._note(client, error, collection)
                self._wait(error, pause, now - failed_at)
            pause = min(2 * pause, _LONGEST_PAUSE)

    @property
    def client(self) -> MilvusClient:
        """The client as it is now."""
        return self._client

    def loaded(self, collection: str) -> None:
        """Notes that this collection is loaded."""
        self._loaded.add(collection)

    def stop_waiting(self) -> None:
        """Ends the pauses of all calls, now and from now on: they raise their last error."""
        self._stop.set()

    def close(self) -> None:
        """Closes the connection. A call that waits in another thread gives up."""
        self._stop.set()
        with self._lock:
            self._client.close()

    def _ready(self, collection: str | None) -> MilvusClient:
        """A client that is believed to work, with the collection loaded."""
        with self._lock:
            if self._broken:
                fresh = self._reconnect()
                with suppress(Exception):  # it is of no use any more, whatever it says
                    self._client.close()
                self._client, self._broken = fresh, False
                self._loaded.clear()
            if collection is not None and collection not in self._loaded:
                self._client.load_collection(collection, timeout=min(self._timeout, _LOAD_SECONDS))
                self._loaded.add(collection)
            return self._client

    def _note(self, client: MilvusClient | None, error: StoreError, collection: str | None) -> None:
        """Has the client made anew, or the collection loaded again, unless another thread has done so already."""
        with self._lock:
            if client is None or client is self._client:
                self._broken = self._broken or isinstance(error, ConnectionFailed)
                self._loaded.discard(collection or "")

    def _wait(self, error: StoreError, pause: float, waited: float) -> None:
        """Sleeps for up to ``pause`` seconds. Raises ``error`` when the time is over."""
        if waited < self._retry_seconds and not self._stop.is_set():
            if self._on_wait is not None:
                state = "no answer" if isinstance(error, ConnectionFailed) else "not ready"
                self._on_wait(f"{self._uri}: {state} for {waited:.0f} s, trying again")
            jittered = pause * random.uniform(0.5, 1.0)
            if not self._stop.wait(min(jittered, self._retry_seconds - waited)):
                return
        raise type(error)(f"{error}; tried for {waited:.0f} s") from error
