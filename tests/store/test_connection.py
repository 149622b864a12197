"""Every way in which a connection fails is one clear line of the right class, soon, and without noise."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mm_milvus import Client
from mm_milvus.config import Settings
from mm_milvus.errors import (
    AuthenticationFailed,
    CollectionNotFound,
    ConfigError,
    ConnectionFailed,
)
from mm_milvus.store import Store
from tests.milvus_server import free_port, running
from tests.store.failing import SECRET, command, failure

pytestmark = pytest.mark.alone

# --- addresses at which there is no Milvus ------------------------------------------------------------------


class WebPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def web_server() -> Iterator[str]:
    """An HTTP server that is no Milvus."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), WebPage)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A socket that listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_closed_port_is_named_at_once() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    found = failure(uri)
    assert (found.kind, found.message) == (
        ConnectionFailed,
        f"nothing answers at {uri}: Connection refused",
    )
    assert found.seconds < 3


def test_a_host_that_does_not_exist_is_named() -> None:
    found = failure("http://no-such-host.invalid:19530")
    assert found.kind is ConnectionFailed
    assert found.message.startswith("nothing answers at http://no-such-host.invalid:19530: ")


def test_a_server_that_never_answers_ends_with_the_timeout(
    silent_server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    failure(f"http://127.0.0.1:{free_port()}")  # what is imported late is imported now
    found = failure(silent_server, timeout=1.5)
    assert (found.kind, found.message) == (
        ConnectionFailed,
        f"{silent_server} accepts connections but did not answer within 1.5 s: is it Milvus, and is it up?",
    )
    assert 1.4 < found.seconds < 4
    assert capfd.readouterr() == ("", "")


def test_a_web_server_is_not_taken_for_one_that_wants_a_token(
    web_server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for token in (None, f"root:{SECRET}"):
        found = failure(web_server, token)
        assert (found.kind, found.message) == (
            ConnectionFailed,
            f"{web_server} answers, but not like a Milvus server; "
            "check the port, and whether it is http:// or https://",
        )
        assert found.seconds < 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("", "at least 1 character"),
        ("  ", "expected http://host:port, https://host:port or a local path"),
        ("ftp://host:21", "expected http://host:port, https://host:port or a local path"),
        ("://host", "expected http://host:port, https://host:port or a local path"),
        ("http://", "it names no host"),
        ("http://:19530", "it names no host"),
        ("http://host:notaport", "Port could not be cast to integer value as 'notaport'"),
        ("http://host:99999", "Port out of range 0-65535"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://[::1]:19530", "pymilvus takes no IPv6 address, write the name of the host"),
        ("http://" + "a" * 70 + ".example", "no host can have that name"),
        ("localhost:19530", "write http:// before the address of a server"),
        ("10.0.0.7:19530", "write http:// before the address of a server"),
        ("http:/host:19530", "write http:// before the address of a server"),
        (f"http://root:{SECRET}@host:19530", "user and password belong into --token user:password"),
        (f"http://root:{SECRET}@host:99999", "it cannot be parsed"),
        (f"ftp://root:{SECRET}@host", "expected http://host:port, https://host:port or a local path"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_a_uri_that_cannot_be_one_is_refused_before_anything_is_touched(
    uri: str, problem: str, tmp_path: Path
) -> None:
    with chdir(tmp_path), pytest.raises(ConfigError) as caught:
        Store(Settings(timeout=5).replace(uri=uri), create=True)
    assert problem in str(caught.value)
    assert "uri" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_the_command_line_says_it_in_one_line(web_server: str, silent_server: str, tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    for uri, code, reason in (
        (dead, 21, "nothing answers at"),
        (silent_server, 21, "did not answer within 1 s"),
        (web_server, 21, "not like a Milvus server"),
        (web_server.replace("http", "https", 1), 21, "not like a Milvus server"),
        ("http://host:notaport", 2, "bad uri"),
    ):
        got, out, err = command(
            "collections", "--uri", uri, "--token", SECRET, "--timeout", "1", folder=tmp_path
        )
        assert (got, out, err.count("\n")) == (code, "", 1), err
        assert err.startswith("error: ")
        assert reason in err


# --- a server that asks for a token -------------------------------------------------------------------------


@dataclass
class Guarded:
    """A Milvus with authorization; its user is root, the password Milvus."""

    uri: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A second real Milvus beside that of the other tests."""
    with running(tmp_path_factory.mktemp("guarded"), authorization=True) as server:
        yield Guarded(f"http://127.0.0.1:{server.listen_port}", server.server_proc)


@pytest.mark.server
@pytest.mark.slow
class TestToken:
    def test_a_wrong_token_and_no_token_are_told_apart(
        self, guarded: Guarded, capfd: pytest.CaptureFixture[str]
    ) -> None:
        start = f"cannot connect to {guarded.uri}: "
        refused = f"{start}the server does not accept the token; set --token user:password"
        for token in (f"root:{SECRET}", f"nobody:{SECRET}", SECRET, f"红:{SECRET}", "root:"):
            found = failure(guarded.uri, token)
            assert (found.kind, found.message) == (AuthenticationFailed, refused)
            assert found.seconds < 3
        found = failure(guarded.uri)
        assert (found.kind, found.message) == (
            AuthenticationFailed,
            f"{start}the server asks for a token; set --token user:password",
        )
        assert capfd.readouterr() == ("", "")

    def test_the_right_token_opens(self, guarded: Guarded) -> None:
        with Client(guarded.uri, token="root:Milvus") as shop:
            assert shop.collections() == []
            with pytest.raises(
                CollectionNotFound, match=r"no collection 'products'.*collections there: none"
            ):
                shop.info()

    def test_a_user_without_the_right_is_told_so(self, guarded: Guarded) -> None:
        from mm_milvus.store.failures import translated

        with Store(Settings(uri=guarded.uri, token="root:Milvus")) as root:
            root._link.client.create_user("clerk", f"clerk-{SECRET}")
        with Store(Settings(uri=guarded.uri, token=f"clerk:clerk-{SECRET}")) as clerk:
            with pytest.raises(AuthenticationFailed) as caught, translated("cannot create it"):
                clerk._link.client.create_collection("theirs", dimension=4, timeout=5)
            assert str(caught.value).startswith(
                "cannot create it: the user of the token has no right to do so"
            )

    def test_the_command_line_keeps_the_token_to_itself(self, guarded: Guarded, tmp_path: Path) -> None:
        address = ("--uri", guarded.uri, "--token", f"root:{SECRET}")
        code, out, err = command("info", *address, folder=tmp_path)
        assert (code, out) == (22, "")
        assert (
            err == f"error: cannot connect to {guarded.uri}: the server does not accept the token; "
            "set --token user:password\n"
        )
        code, out, err = command("doctor", *address, "--json", folder=tmp_path)
        assert (code, err) == (1, "")
        (check,) = [check for check in json.loads(out)["checks"] if check["name"] == "milvus"]
        assert (check["status"], "does not accept the token" in check["detail"]) == ("fail", True)
        code, out, err = command(
            "collections", "--uri", guarded.uri, "--token", "root:Milvus", folder=tmp_path
        )
        assert (code, out, err) == (0, "", "")

    def test_a_server_that_goes_away_between_two_calls(
        self, guarded: Guarded, capfd: pytest.CaptureFixture[str]
    ) -> None:
        settings = Settings(uri=guarded.uri, token="root:Milvus", timeout=3)
        with Client(config=settings) as shop:
            assert shop.collections() == []
            guarded.process.kill()
            guarded.process.wait()
            for call in (shop.collections, shop.info, lambda: shop.query("shoe")):
                started = time.monotonic()
                with pytest.raises(ConnectionFailed, match="Milvus does not answer") as caught:
                    call()
                assert time.monotonic() - started < 5
                assert "\n" not in str(caught.value)
        assert failure(guarded.uri).message == f"nothing answers at {guarded.uri}: Connection refused"
        assert capfd.readouterr() == ("", "")
