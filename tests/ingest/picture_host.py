"""A shop's picture host on loopback: pictures by name, each with a version, and it may be slow."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from tests.ingest.shops import picture
from tests.media.web import Shop, serve


@dataclass
class PictureHost:
    """``/pic/N`` is ``picture(numbers[N])``, with an ETag of that number unless ``validators`` is off."""

    web: Shop
    numbers: dict[str, int] = field(default_factory=dict)
    validators: bool = True
    fast: threading.Event = field(default_factory=threading.Event)  # unset: no page is answered

    def url(self, name: object) -> str:
        return self.web.url(f"/pic/{name}")

    def asked(self) -> dict[str, Counter[str]]:
        """Method -> names asked for since the last call, with how often."""
        found: dict[str, Counter[str]] = {"HEAD": Counter(), "GET": Counter()}
        for method, path in zip(self.web.methods, self.web.paths(), strict=True):
            found[method][path.rsplit("/", 1)[1]] += 1
        self.web.methods.clear()
        self.web.requests.clear()
        return found


@contextlib.contextmanager
def picture_host(port: int = 0) -> Iterator[PictureHost]:
    host = PictureHost(Shop())
    host.fast.set()

    def wrap(server: ThreadingHTTPServer) -> None:
        class PicturePages(server.RequestHandlerClass):  # type: ignore[name-defined,misc]
            def page_pic(self) -> None:
                host.fast.wait(30)
                number = host.numbers[self.path.rsplit("/", 1)[1]]
                tag = f'"v{number}"'
                if host.validators and self.headers["If-None-Match"] == tag:
                    self.reply(b"", 304, ETag=tag)
                else:
                    self.reply(picture(number), **({"ETag": tag} if host.validators else {}))

        server.RequestHandlerClass = PicturePages

    with serve(wrap, port=port) as web:
        host.web = web
        try:
            yield host
        finally:
            host.fast.set()
