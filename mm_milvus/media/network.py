"""The network underneath picture downloads: it connects only to checked addresses, and never past the deadline."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import httpcore

from mm_milvus.errors import MediaError
from mm_milvus.media.hosts import HostUnavailable, resolve
from mm_milvus.media.waiting import wait_for

__all__ = ["Clock", "GuardedBackend", "OutOfTime"]

_TICK = 0.02  # seconds: a wait that was cut to the deadline may end just before it


class OutOfTime(MediaError):
    """The deadline of this picture has passed."""


class Clock(threading.local):
    """The deadline of the picture that this thread is fetching. All threads stop once ``stop`` is set."""

    until = math.inf
    seconds = math.inf

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    @contextmanager
    def running(self, seconds: float) -> Iterator[None]:
        self.until, self.seconds = time.monotonic() + seconds, seconds
        try:
            yield
        finally:
            self.until = self.seconds = math.inf

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What is waited for in here does not count."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.until += time.monotonic() - started

    def check_open(self) -> None:
        """Raises MediaError once the reader was closed."""
        if self.stop.is_set():
            raise MediaError("given up, because the reader was closed", stage="fetch")

    def left(self) -> float:
        """Seconds until the deadline, more than 0. Raises OutOfTime when it has passed."""
        self.check_open()
        left = self.until - time.monotonic()
        if left < _TICK:
            raise OutOfTime(f"not complete within {self.seconds:g} s", stage="fetch")
        return left

    def limit(self, timeout: float | None) -> float | None:
        """``timeout``, cut to what is left."""
        left = self.left()
        shorter = left if timeout is None else min(timeout, left)
        return None if math.isinf(shorter) else shorter

    def sleep(self, seconds: float) -> None:
        self.stop.wait(seconds)
        self.check_open()


class GuardedBackend(httpcore.NetworkBackend):
    """Looks a host up once, checks every address, and connects to exactly the addresses that were checked.

    It sits below the connection pool, so that the Host header, the TLS server name and the certificate check
    keep using the name, and no redirect, retry or second look-up gets around it.
    """

    def __init__(self, clock: Clock, *, allow_private: bool) -> None:
        self._clock = clock
        self._allow_private = allow_private
        self._plain = httpcore.SyncBackend()
        self._streams = _Streams()

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
            limit = self._clock.limit(timeout)
            connect = partial(
                self._plain.connect_tcp, address, port, limit, local_address, list(socket_options or ())
            )
            try:
                stream = _within(connect, limit, self._clock)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._clock, self._streams)
        raise failure or httpcore.ConnectError(f"no address for {host}")

    def shut(self) -> None:
        """Ends every connection; threads that wait for one wake up."""
        self._streams.shut()

    def _addresses(self, host: str, timeout: float | None) -> list[str]:
        limit = self._clock.limit(timeout) or threading.TIMEOUT_MAX
        try:
            return resolve(host, allow_private=self._allow_private, timeout=limit, stop=self._clock.stop)
        except HostUnavailable as error:
            if error.final:
                raise MediaError(str(error), stage="fetch") from error
            raise httpcore.ConnectError(str(error)) from error


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every wait ends at the deadline: one byte now and then does not keep it alive."""

    def __init__(self, stream: httpcore.NetworkStream, clock: Clock, streams: _Streams) -> None:
        self._stream = stream
        self._clock = clock
        self._streams = streams
        streams.add(stream)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.limit(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.limit(timeout))

    def close(self) -> None:
        self._streams.discard(self._stream)
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit = self._clock.limit(timeout)
        self._streams.discard(self._stream)  # the secured one takes its place
        shake_hands = partial(self._stream.start_tls, ssl_context, server_hostname, limit)
        return _TimedStream(_within(shake_hands, limit, self._clock), self._clock, self._streams)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Streams:
    """The open connections of a backend."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[httpcore.NetworkStream] = set()

    def add(self, stream: httpcore.NetworkStream) -> None:
        with self._lock:
            self._open.add(stream)

    def discard(self, stream: httpcore.NetworkStream) -> None:
        with self._lock:
            self._open.discard(stream)

    def shut(self) -> None:
        """Shuts the sockets down but leaves them open: other threads are using them and close them themselves."""
        with self._lock:
            for stream in self._open:
                with suppress(OSError):  # the other side was faster
                    socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)


def _within(
    work: partial[httpcore.NetworkStream], limit: float | None, clock: Clock
) -> httpcore.NetworkStream:
    """A connection, made in another thread, because closing the reader must not wait for it."""
    timeout = threading.TIMEOUT_MAX if limit is None else limit + 1.0  # it keeps to its limit itself
    try:
        return wait_for(work, timeout=timeout, stop=clock.stop, discard=lambda stream: stream.close())
    except TimeoutError as error:
        clock.check_open()
        raise httpcore.ConnectTimeout(str(error)) from error
