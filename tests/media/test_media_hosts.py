"""Which hosts a picture URL may point at. Every host here is numeric or local, so that no name server is asked."""

from __future__ import annotations

import socket

import pytest

from mm_milvus.errors import MediaError
from mm_milvus.media.hosts import HostUnavailable, is_public, resolve

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
