"""A small real web server on loopback whose pages misbehave in the ways that picture hosts do."""

from __future__ import annotations

import contextlib
import gzip
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


RED_PNG = encoded(Image.new("RGB", (3, 2), "red"), "PNG")


@dataclass
class Shop:
    """The server, what it was asked for, and how often."""

    port: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shop: Shop

    def do_GET(self) -> None:
        self.shop.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        name = self.path.split("?")[0].strip("/").split("/")[0]
        with contextlib.suppress(ConnectionError):
            if self.path.startswith("http://"):  # asked as a proxy
                self.reply(RED_PNG)
            else:
                getattr(self, f"page_{name}", self.page_missing)()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, next_block: Callable[[], bytes | None], **headers: str) -> None:
        """A body that ends with the connection."""
        self.close_connection = True
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        while block := next_block():
            self.wfile.write(block)

    def times(self) -> int:
        return self.shop.paths().count(self.path)

    def page_red(self) -> None:
        self.reply(RED_PNG, Content_Type="text/html")  # the declared type is wrong

    def page_missing(self) -> None:
        self.reply(b"<html>not here</html>", 404)

    def page_forbidden(self) -> None:
        self.reply(b"", 403)

    def page_empty(self) -> None:
        self.reply(b"")

    def page_html(self) -> None:
        self.reply(b"\n<!DOCTYPE html><html><body>sold out</body></html>", Content_Type="image/jpeg")

    def page_json(self) -> None:
        self.reply(b'{"error": "rate limited"}', Content_Type="image/png")

    def page_flaky(self) -> None:
        self.reply(RED_PNG) if self.times() > 1 else self.reply(b"", 500)

    def page_drops(self) -> None:
        if self.times() > 1:
            self.reply(RED_PNG)
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", str(len(RED_PNG)))
        self.end_headers()
        self.wfile.write(RED_PNG[:10])

    def page_busy(self) -> None:
        self.reply(RED_PNG) if self.times() > 1 else self.reply(b"", 429, Retry_After="1")

    def page_closed(self) -> None:
        self.reply(b"", 503, Retry_After="3600")

    def page_down(self) -> None:
        self.reply(b"", 502)

    def page_loop(self) -> None:
        self.reply(b"", 302, Location=self.path)

    def page_hops(self) -> None:
        """/hops/3 -> /hops/2 -> /hops/1 -> /red"""
        left = int(self.path.rsplit("/", 1)[1])
        self.reply(b"", 307, Location=f"/hops/{left - 1}" if left > 1 else "/red")

    def page_to(self) -> None:
        """/to?URL redirects to URL."""
        self.reply(b"", 301, Location=self.path.split("?", 1)[1])

    def page_huge(self) -> None:
        self.reply(b"x" * 10, Content_Length=str(10**9))

    def page_endless(self) -> None:
        self.stream(lambda: bytes(65536))

    def page_zipped(self) -> None:
        self.reply(gzip.compress(RED_PNG), Content_Encoding="gzip")

    def page_bomb(self) -> None:
        self.reply(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")

    def page_brotli(self) -> None:
        self.reply(RED_PNG, Content_Encoding="br")

    def page_dribble(self) -> None:
        def one_byte() -> bytes:
            time.sleep(0.05)
            return b"x"

        self.stream(one_byte)

    def page_headers(self) -> None:
        """Header bytes, one now and then, without an end."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def page_silent(self) -> None:
        time.sleep(1.0)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


@contextlib.contextmanager
def serve(wrap: Callable[[ThreadingHTTPServer], None] = lambda server: None) -> Iterator[Shop]:
    shop = Shop()
    server = Server(("127.0.0.1", 0), type("ShopHandler", (Handler,), {"shop": shop}))
    shop.port = server.server_address[1]
    wrap(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
