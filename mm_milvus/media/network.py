"""The network underneath picture downloads: it connects only to checked addresses, and never past the deadline."""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

from mm_milvus.errors import MediaError
from mm_milvus.media.hosts import HostUnavailable, resolve

__all__ = ["Clock", "GuardedBackend"]

_TICK = 0.02  # seconds: a wait that was cut to the deadline may end just before it


class Clock(threading.local):
    """The deadline of the picture that this thread is fetching."""

    until = math.inf
    seconds = math.inf

    @contextmanager
    def running(self, seconds: float) -> Iterator[None]:
        self.until, self.seconds = time.monotonic() + seconds, seconds
        try:
            yield
        finally:
            self.until = self.seconds = math.inf

    def left(self) -> float:
        """Seconds until the deadline, more than 0. Raises MediaError when it has passed."""
        left = self.until - time.monotonic()
        if left < _TICK:
            raise MediaError(f"not complete within {self.seconds:g} s", stage="fetch")
        return left

    def limit(self, timeout: float | None) -> float | None:
        """``timeout``, cut to what is left."""
        left = self.left()
        shorter = left if timeout is None else min(timeout, left)
        return None if math.isinf(shorter) else shorter


class GuardedBackend(httpcore.NetworkBackend):
    """Looks a host up once, checks every address, and connects to exactly the addresses that were checked.

    It sits below the connection pool, so that the Host header, the TLS server name and the certificate check
    keep using the name, and no redirect, retry or second look-up gets around it.
    """

    def __init__(self, clock: Clock, *, allow_private: bool) -> None:
        self._clock = clock
        self._allow_private = allow_private
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in self._addresses(host, timeout):
            try:
                stream = self._plain.connect_tcp(
                    address, port, self._clock.limit(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._clock)
        raise failure or httpcore.ConnectError(f"no address for {host}")

    def _addresses(self, host: str, timeout: float | None) -> list[str]:
        limit = self._clock.limit(timeout)
        try:
            return resolve(host, allow_private=self._allow_private, timeout=limit or threading.TIMEOUT_MAX)
        except HostUnavailable as error:
            if error.final:
                raise MediaError(str(error), stage="fetch") from error
            raise httpcore.ConnectError(str(error)) from error


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every wait ends at the deadline: one byte now and then does not keep it alive."""

    def __init__(self, stream: httpcore.NetworkStream, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.limit(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.limit(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._clock.limit(timeout))
        return _TimedStream(secured, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
