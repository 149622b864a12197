"""Pictures from the web, against a real server on loopback."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mm_milvus.errors import ConfigError, MediaError
from mm_milvus.media import MediaPolicy, MediaReader

from .web import RED_PNG, Shop, serve

pytestmark = pytest.mark.alone


@pytest.fixture
def shop() -> Iterator[Shop]:
    with serve() as shop:
        yield shop


def read(url: str, **policy: Any) -> bytes:
    with MediaReader(MediaPolicy(**({"allow_private_hosts": True} | policy))) as reader:
        return reader.read(url)


def refusal(url: str, **policy: Any) -> str:
    with pytest.raises(MediaError) as caught:
        read(url, **policy)
    assert caught.value.stage == "fetch"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "path", ["/red", "/red#part", "/hops/3", "/zipped", "/flaky", "/drops", "/busy", "/trickle", "/short"]
)
def test_pictures_arrive(shop: Shop, path: str) -> None:
    assert read(shop.url(path)) == RED_PNG


def test_what_is_sent(shop: Shop) -> None:
    read(shop.url("/red?name=ünï code#x", host="localhost"), user_agent="acme/1")
    path, headers = shop.requests[0]
    assert path == "/red?name=%C3%BCn%C3%AF%20code"
    assert headers["host"] == f"localhost:{shop.port}"
    assert headers["user-agent"] == "acme/1"
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "reason", "requests"),
    [
        ("/nothing", "404 Not Found", 1),
        ("/forbidden", "403 Forbidden", 1),
        ("/empty", "the URL answered with nothing", 1),
        ("/html", "the URL answered with an HTML page, not a picture", 1),
        ("/json", "the URL answered with a JSON document, not a picture", 1),
        ("/loop", "more than 3 redirects", 4),
        ("/hops/4", "more than 3 redirects", 4),
        ("/long", "the connection broke (3 attempts)", 3),
        ("/huge", "1000000000 bytes, larger than 1000000", 1),
        ("/endless", "larger than 1000000 bytes", 1),
        ("/bomb", "larger than 1000000 bytes", 1),
        ("/brotli", "the answer has the unknown encoding br", 1),
        ("/down", "502 Bad Gateway (3 attempts)", 3),
        ("/closed", "503 Service Unavailable", 1),  # it asks for an hour
        ("/to?ftp://example.com/a.png", "redirects to a ftp URL", 1),
        ("/to?http://user:secret@example.com/", "the URL contains a user name or password; "
         "only public pictures are fetched", 1),
        ("/to?http://a.example:99999/", "redirects to something that is not a valid URL", 1),
    ],
)  # fmt: skip
def test_refusals_name_reason_and_url(shop: Shop, path: str, reason: str, requests: int) -> None:
    url = shop.url(path)
    assert refusal(url, max_bytes=1_000_000) == f"{reason}: {url}"
    assert len(shop.requests) == requests


def test_a_small_retry_after_is_honoured(shop: Shop) -> None:
    started = time.monotonic()
    assert read(shop.url("/busy")) == RED_PNG
    assert 1.0 <= time.monotonic() - started < 3.0


@pytest.mark.parametrize("path", ["/dribble", "/headers"])
def test_one_byte_now_and_then_does_not_outlive_the_deadline(shop: Shop, path: str) -> None:
    started = time.monotonic()
    url = shop.url(path)
    assert refusal(url, deadline=0.5) == f"not complete within 0.5 s: {url}"
    assert time.monotonic() - started < 1.0


def test_timeouts_are_retried_and_counted(shop: Shop) -> None:
    url = shop.url("/silent")
    assert refusal(url, timeout=0.1, retries=1) == f"timed out after 0.1 s (2 attempts): {url}"
    assert len(shop.requests) == 2


def test_a_closed_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.png"
        assert refusal(url, retries=1).startswith("cannot connect (")
        assert refusal(url, retries=1).endswith(f"(2 attempts): {url}")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:7f00:1]"]
)
def test_private_hosts_are_refused_before_anything_is_sent(shop: Shop, host: str) -> None:
    reason = refusal(shop.url("/red", host), allow_private_hosts=False)
    assert "which is not a public address; use --allow-private-hosts if you trust it: http://" in reason
    assert shop.requests == []


def test_a_redirect_to_a_private_host_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    # No public host can be reached from a test: the first host is declared public, the second is a real check.
    from mm_milvus.media import hosts

    checked = hosts.is_public
    monkeypatch.setattr(hosts, "is_public", lambda address: address == "127.0.0.1" or checked(address))
    url = shop.url(f"/to?http://127.0.0.2:{shop.port}/red")
    reason = refusal(url, allow_private_hosts=False)
    assert reason.startswith("the host 127.0.0.2 is at 127.0.0.2, which is not a public address")
    assert shop.paths() == [f"/to?http://127.0.0.2:{shop.port}/red"]


def test_a_name_is_looked_up_once_and_that_address_is_used(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that gives a public address to the check and a private one to the connection changes nothing."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, *args: Any, **options: Any) -> Any:
        if host != "pictures.test":
            return real(host, *args, **options)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "127.0.0.9", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert read(shop.url("/red", "pictures.test")) == RED_PNG
    assert asked == ["pictures.test"]
    assert shop.requests[0][1]["host"] == f"pictures.test:{shop.port}"


def test_connections_are_reused_and_threads_share_one_reader(shop: Shop) -> None:
    urls = [shop.url(f"/red?{number}") for number in range(200)]
    with MediaReader(MediaPolicy(allow_private_hosts=True)) as reader, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(reader.read, urls)) == [RED_PNG] * 200
    assert sorted(shop.paths()) == sorted(f"/red?{number}" for number in range(200))


def test_a_reader_can_be_used_again_after_it_was_closed(shop: Shop) -> None:
    reader = MediaReader(MediaPolicy(allow_private_hosts=True))
    for _ in range(2):
        assert reader.read(shop.url("/red")) == RED_PNG
        reader.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://", "the URL names no host"),
        ("http:///a.png", "the URL names no host"),
        ("http://[::1", "not a valid URL"),
        ("http://a.example:99999999/x", "not a valid URL"),
        ("http://user:secret@a.example/x.png", "the URL contains a user name or password; only public"),
        ("ftp://a.example/x.png", "only http and https URLs are accepted"),
        ("gopher://127.0.0.1:70/_x", "only http and https URLs are accepted"),
        ("file:///etc/passwd", "file: URLs are not accepted, write the plain path"),
        ("FILE:/etc/passwd", "file: URLs are not accepted, write the plain path"),
        ("//cdn.example/x.png", "the URL has no scheme, write https: before it"),
    ],
)
def test_urls_that_are_refused_unseen(url: str, reason: str) -> None:
    message = refusal(url)
    assert message.startswith(reason)
    assert "secret" not in message


def test_long_urls_are_shortened(shop: Shop) -> None:
    message = refusal(shop.url("/nothing?" + "signature" * 100 + "&end=1"))
    assert len(message) < 160
    assert message.startswith("404 Not Found: http://127.0.0.1")
    assert message.endswith("signature&end=1")


def test_proxies_of_the_environment_are_ignored(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert read(shop.url("/red")) == RED_PNG


def test_a_named_proxy_is_used_but_not_for_private_hosts(shop: Shop) -> None:
    proxy = f"http://name:secret@127.0.0.1:{shop.port}"
    assert read("http://8.8.8.8/a.png", proxy=proxy, allow_private_hosts=False) == RED_PNG
    path, headers = shop.requests[0]
    assert (path, headers["host"]) == ("http://8.8.8.8/a.png", "8.8.8.8")
    assert headers["proxy-authorization"] == "Basic bmFtZTpzZWNyZXQ="
    assert "169.254.169.254" in refusal("http://169.254.169.254/", proxy=proxy, allow_private_hosts=False)
    assert len(shop.requests) == 1


def test_certificates_are_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = _self_signed(tmp_path, "localhost")

    def wrap(server: ThreadingHTTPServer) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)

    with serve(wrap) as shop:
        url = shop.url("/red", "localhost").replace("http:", "https:")
        assert refusal(url) == f"the server's certificate is not valid (self-signed certificate): {url}"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert read(url) == RED_PNG
        other = url.replace("localhost", "127.0.0.1")
        assert refusal(other).startswith("the server's certificate is not valid (IP address mismatch")
        assert shop.paths() == ["/red"]


def _self_signed(folder: Path, name: str) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_bytes", 0), ("per_host", 0), ("retries", -1), ("timeout", 0), ("deadline", float("nan")),
     ("user_agent", "a\nb"), ("proxy", "secret@proxy:3128")],
)  # fmt: skip
def test_limits_that_make_no_sense(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{setting} must be") as caught:
        MediaPolicy(**{setting: value})
    assert "secret" not in str(caught.value)
