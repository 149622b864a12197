"""A loopback TCP proxy that a test can cut, hang and restore, so that a real server seems to go away."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]


class Proxy:
    """Forwards connections of ``port`` on 127.0.0.1 to a server.

    ``cut`` ends all connections and refuses new ones; ``hang`` accepts new ones, but nothing gets through; ``mute``
    lets requests through, but no answer; ``restore`` makes all well again, on the same port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._open = threading.Event()  # clear while nothing is to get through
        self._open.set()
        self._muted = False
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = 0
        self._listen()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Ends every connection and refuses new ones."""
        self._unlisten()
        self._drop()

    def hang(self) -> None:
        """From now on nothing gets through, in either direction; connections are accepted all the same."""
        self._open.clear()

    def mute(self) -> None:
        """From now on answers of the server are lost."""
        self._muted = True

    def restore(self) -> None:
        """New connections work again. Those that hung or lost answers are ended."""
        if not self._open.is_set() or self._muted:
            self._drop()
        self._muted = False
        self._open.set()
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._open.set()

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.port = int(self._listener.getsockname()[1])
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _unlisten(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
            self._listener = None

    def _drop(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:  # the server itself is away
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            for source, target, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, target, answers), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):  # either end has gone
            while data := source.recv(1 << 16):
                self._open.wait()
                if not (answers and self._muted):
                    target.sendall(data)
        with self._lock:
            known = self._sockets & {source, target}
            self._sockets -= known
        for each in known:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
