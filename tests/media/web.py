"""A small real web server on loopback whose pages misbehave in the ways that picture hosts do."""

from __future__ import annotations

import contextlib
import gzip
import io
import threading
import time
from collections import Counter
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
    methods: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # of the requests (monotonic)
    version: int = 1  # of the pictures that have validators
    running: Counter[str] = field(default_factory=Counter)  # requests to /count now, by the Host header
    most: Counter[str] = field(default_factory=Counter)  # at a time, ever
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)  # ends /hang

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are written one after the other
    shop: Shop

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.shop.methods.append(self.command)
        self.shop.times.append(time.monotonic())
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
        if self.command != "HEAD" and status != 304:
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

    def asked(self) -> int:
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
        self.reply(RED_PNG) if self.asked() > 1 else self.reply(b"", 500)

    def page_drops(self) -> None:
        if self.asked() > 1:
            self.reply(RED_PNG)
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", str(len(RED_PNG)))
        self.end_headers()
        self.wfile.write(RED_PNG[:10])

    def page_busy(self) -> None:
        self.reply(RED_PNG) if self.asked() > 1 else self.reply(b"", 429, Retry_After="1")

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

    def page_hang(self) -> None:
        self.shop.over.wait(30)
        self.close_connection = True

    def page_trickle(self) -> None:
        """A whole picture, slowly."""
        blocks = iter([RED_PNG[at : at + 10] for at in range(0, len(RED_PNG), 10)])

        def next_block() -> bytes | None:
            time.sleep(0.02)
            return next(blocks, None)

        self.stream(next_block, Content_Length=str(len(RED_PNG)))

    def page_long(self) -> None:
        """Promises more than it sends."""
        self.close_connection = True
        self.reply(RED_PNG, Content_Length=str(len(RED_PNG) + 100))

    def page_short(self) -> None:
        """Sends more than it promises."""
        self.close_connection = True
        self.reply(RED_PNG + b"x" * 1000, Content_Length=str(len(RED_PNG)))

    def page_count(self) -> None:
        """Takes 50 ms and counts how many of its kind run at a time, for each name of this host."""
        shop, name = self.shop, self.headers["Host"].split(":")[0]
        with shop.lock:
            shop.running[name] += 1
            shop.most[name] = max(shop.most[name], shop.running[name])
        time.sleep(0.05)
        with shop.lock:
            shop.running[name] -= 1
        self.reply(RED_PNG)

    def picture(self) -> bytes:
        return RED_PNG + b"%d" % self.shop.version

    def validated(self, **headers: str) -> None:
        """A picture with validators; 304 where the client has this version."""
        tag, modified = headers.get("ETag"), headers.get("Last_Modified")
        known = self.headers["If-None-Match"], self.headers["If-Modified-Since"]
        if known != (None, None) and (known[0] == tag if tag else known[1] == modified):
            self.reply(b"", 304, **headers)
        else:
            self.reply(self.picture(), **headers)

    def page_etag(self) -> None:
        self.validated(ETag=f'"v{self.shop.version}"', Last_Modified="Mon, 02 Nov 2026 10:00:00 GMT")

    def page_weak(self) -> None:
        self.validated(ETag=f'W/"v{self.shop.version}"')

    def page_modified(self) -> None:
        self.validated(Last_Modified=f"Mon, 02 Nov 2026 10:00:0{self.shop.version} GMT")

    def page_fresh(self) -> None:
        self.reply(self.picture(), Cache_Control="public, max-age=2, immutable", Age="1")

    def page_stubborn(self) -> None:
        """Says that nothing has changed, and names the version that has."""
        status = 304 if self.headers["If-None-Match"] else 200
        self.reply(self.picture(), status, ETag=f'"v{self.shop.version}"')

    def page_weaker(self) -> None:
        """Its ETag is strong at first and weak later."""
        weak = "W/" if self.asked() > 1 else ""
        status = 304 if self.headers["If-None-Match"] else 200
        self.reply(self.picture(), status, ETag=f'{weak}"v"')

    def page_secret(self) -> None:
        self.validated(ETag='"s"', Cache_Control="no-store")

    def page_refused(self) -> None:
        """/refused/405 answers HEAD with 405."""
        if self.command == "HEAD":
            self.reply(b"", int(self.path.rsplit("/", 1)[1]))
        else:
            self.validated(ETag=f'"v{self.shop.version}"')

    def page_bare(self) -> None:
        """Its HEAD has no validators."""
        self.reply(b"") if self.command == "HEAD" else self.page_weak()

    def page_twofaced(self) -> None:
        self.validated(ETag=f'"{self.command}-{self.shop.version}"')

    def page_cut(self) -> None:
        """Hangs up when it is asked by HEAD."""
        if self.command == "HEAD":
            self.close_connection = True
        else:
            self.page_etag()

    def page_flood(self) -> None:
        """A body without an end, behind validators."""
        if self.command == "HEAD":
            self.reply(b"", 405)
        else:
            self.stream(lambda: bytes(65536), ETag='"flood"')


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


@contextlib.contextmanager
def serve(
    wrap: Callable[[ThreadingHTTPServer], None] = lambda server: None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[Shop]:
    shop = Shop()
    server = Server((host, port), type("ShopHandler", (Handler,), {"shop": shop}))
    shop.port = server.server_address[1]
    wrap(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        shop.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
