"""Which hosts a picture URL may point at. Every host here is numeric or local, so that no name server is asked."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from mm_milvus.errors import MediaError
from mm_milvus.media import MediaPolicy, MediaReader, hosts
from mm_milvus.media.hosts import HostUnavailable, is_public, resolve

from .web import serve

PRIVATE = {
    "localhost": "127.0.0.1",
    "127.0.0.1": "127.0.0.1",
    "127.1": "127.0.0.1",
    "127.255.255.254": "127.255.255.254",
    "2130706433": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "0": "0.0.0.0",
    "0.0.0.0": "0.0.0.0",
    "10.0.0.1": "10.0.0.1",
    "10.1": "10.0.0.1",
    "172.16.0.1": "172.16.0.1",
    "192.168.1.1": "192.168.1.1",
    "3232235777": "192.168.1.1",
    "169.254.169.254": "169.254.169.254",
    "100.64.0.1": "100.64.0.1",
    "100.100.100.200": "100.100.100.200",
    "168.63.129.16": "168.63.129.16",
    "192.0.2.1": "192.0.2.1",
    "198.18.0.1": "198.18.0.1",
    "203.0.113.7": "203.0.113.7",
    "224.0.0.1": "224.0.0.1",
    "240.0.0.1": "240.0.0.1",
    "255.255.255.255": "255.255.255.255",
    "::": "::",
    "::1": "::1",
    "::127.0.0.1": "::127.0.0.1",
    "::ffff:127.0.0.1": "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe": "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1": "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe": "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1": "64:ff9b:1::1",
    "2002:7f00:1::1": "2002:7f00:1::1",
    "2002:a9fe:a9fe::": "2002:a9fe:a9fe::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1": "2001:db8::1",
    "fe80::1": "fe80::1",
    "fec0::1": "fec0::1",
    "fc00::1": "fc00::1",
    "fd00:ec2::254": "fd00:ec2::254",
    "ff02::1": "ff02::1",
}
PUBLIC = (
    "8.8.8.8",
    "1.1.1.1",
    "134744072",  # 8.8.8.8
    "0x08.0x08.0x08.0x08",
    "172.32.0.1",
    "100.63.255.255",
    "2606:4700:4700::1111",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "::ffff:8.8.8.8",
)


@pytest.mark.parametrize(("host", "address"), PRIVATE.items())
def test_hosts_that_are_not_public_are_refused(host: str, address: str) -> None:
    with pytest.raises(MediaError) as caught:
        resolve(host, allow_private=False, timeout=5)
    assert caught.value.stage == "fetch"
    assert f"the host {host} is at " in str(caught.value)
    assert "not a public address; use --allow-private-hosts" in str(caught.value)
    shown = str(caught.value).split(" is at ")[1].split(",")[0]
    assert not is_public(shown)
    if host != "localhost":
        assert socket.inet_pton(_family(shown), shown) == socket.inet_pton(_family(address), address)


@pytest.mark.parametrize("host", PUBLIC)
def test_public_hosts_pass(host: str) -> None:
    addresses = resolve(host, allow_private=False, timeout=5)
    assert len(addresses) == 1
    assert is_public(addresses[0])


def test_private_hosts_pass_when_they_are_trusted() -> None:
    assert resolve("0x7f.1", allow_private=True, timeout=5) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 64 + ".example", "1.2.3.4.5", "::zz"])
def test_a_host_that_does_not_resolve(host: str) -> None:
    with pytest.raises(HostUnavailable, match=r"no such host|name server"):
        resolve(host, allow_private=False, timeout=20)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


# Everything below goes the whole way, from the URL in a catalog to the network.

ZEROS = "0" * 30
SPELLINGS = [
    "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.0.0.2", "127.255.255.254", "2130706433", "0x7f000001", "0X7F.1",
    "0x7f.0x0.0x0.0x1", "0177.0.0.1", "017700000001", "0177.0x0.1", f"0{ZEROS}177.0.0.1", "0", "0.0.0.0", "00", "0x0",
    "localhost", "LOCALHOST", "localhost.", "LocalHost.", "ip6-localhost",
    "[::1]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[::7f00:1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:7f00:1::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[::1%25lo]", "[::1%lo]", "[fe80::1%25lo]", "[fe80::1]", "[fc00::1]",
    "[fd00:ec2::254]", "10.0.0.1", "10.1", "172.16.0.1", "192.168.1.1", "3232235777", "169.254.169.254", "0xa9fea9fe",
    "2852039166", "[::ffff:169.254.169.254]", "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255",
    "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127．0．0．1", "lo\u00adcalhost", "ⓛocalhost",
    "ｌｏｃａｌｈｏｓｔ",
    "%31%32%37.0.0.1", "127.0.0.1%00.example.com", "127.0.0.1\t", "127.0.0.1\\@example.com",
    "user@127.0.0.1", "user:secret@127.0.0.1", "example.com@127.0.0.1", "example.com%40127.0.0.1",
    "127.0.0.1.nip.test", "7f000001.nip.test", "mixed.nip.test", "mapped.nip.test",
]  # fmt: skip
NAMES = {
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "7f000001.nip.test": ["127.0.0.1"],
    "mixed.nip.test": ["8.8.8.8", "127.0.0.1"],
    "mapped.nip.test": ["::ffff:127.0.0.1"],
}


class Canary:
    """Listens where a request into this machine would arrive, and records every connection of the process."""

    def __init__(self, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached: list[Any] = []
        self.listeners = [stack.enter_context(socket.socket())]
        self.listeners[0].bind(("0.0.0.0", 0))  # every spelling of this machine, as 127.0.0.2
        self.port = self.listeners[0].getsockname()[1]
        if socket.has_ipv6:
            with suppress(OSError):  # a machine without IPv6 cannot be reached by it
                six = stack.enter_context(socket.socket(socket.AF_INET6))
                six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                six.bind(("::", self.port))
                self.listeners.append(six)
        for listener in self.listeners:
            listener.listen(8)
            listener.setblocking(False)
        connect = socket.socket.connect

        def recording(sock: socket.socket, address: Any) -> None:
            self.reached.append(address)
            connect(sock, address)

        monkeypatch.setattr(socket.socket, "connect", recording)

    def touched(self) -> list[Any]:
        """Who has arrived, and whatever was connected to."""
        for listener in self.listeners:
            with suppress(BlockingIOError):
                connection, peer = listener.accept()
                connection.close()
                self.reached.append(peer)
        return self.reached


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    real = socket.getaddrinfo

    def resolver(host: str, *args: Any, **options: Any) -> Any:
        if host in NAMES:
            return [entry for address in NAMES[host] for entry in real(address, *args, **options)]
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with ExitStack() as stack:
        yield Canary(stack, monkeypatch)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
def test_no_spelling_of_a_private_address_is_connected_to(canary: Canary, spelling: str) -> None:
    url = f"http://{spelling}:{canary.port}/a.png"
    with MediaReader(MediaPolicy(retries=0, timeout=2, deadline=2)) as reader:
        for ask in (reader.fetch, reader.validator):
            with pytest.raises(MediaError) as caught:
                ask(url)
            assert caught.value.stage == "fetch"
            assert str(caught.value).isprintable()
            assert "secret" not in str(caught.value)
            reasons = "not a public address|not a valid URL|user name or password|no such host|name server"
            assert re.search(reasons, str(caught.value)), str(caught.value)
    assert canary.touched() == []


@pytest.mark.parametrize("spelling", ["127.0.0.2", "0x7f.3", "[::1]", "7f000001.nip.test"])
def test_the_canary_sees_what_reaches_it(canary: Canary, spelling: str) -> None:
    if spelling == "[::1]" and len(canary.listeners) < 2:
        pytest.skip("this machine has no IPv6")
    policy = MediaPolicy(allow_private_hosts=True, retries=0, timeout=0.1)
    with MediaReader(policy) as reader, pytest.raises(MediaError, match="timed out"):
        reader.fetch(f"http://{spelling}:{canary.port}/a.png")
    assert len(canary.touched()) == 2  # it was connected to, and it has noticed


@pytest.mark.parametrize(
    "spelling", [name for name in SPELLINGS if not re.search(r"[\t\\@①ⓛ１ｌ。．\u00ad]", name)]
)
def test_no_redirect_leads_there(canary: Canary, spelling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host that redirects is declared public: no public host can be reached from a test."""
    checked = hosts.is_public
    monkeypatch.setattr(hosts, "is_public", lambda address: address == "127.9.9.9" or checked(address))
    target = f"http://{spelling}:{canary.port}/a.png"
    with serve(host="127.9.9.9") as shop, MediaReader(MediaPolicy(retries=0, deadline=2)) as reader:
        with pytest.raises(MediaError, match=r"not a public|not a valid|user name|no such host|name server"):
            reader.fetch(shop.url(f"/to?{target}", host="127.9.9.9"))
        assert shop.methods == ["GET"]
        assert canary.touched() == [("127.9.9.9", shop.port)]
