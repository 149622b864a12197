"""Which hosts a picture URL may point at: the guard against requests into private networks."""

from __future__ import annotations

import ipaddress
import socket
import threading

from mm_milvus.errors import MediaError
from mm_milvus.media.references import one_line
from mm_milvus.media.waiting import wait_for

__all__ = ["HostUnavailable", "is_public", "resolve"]

_UNICAST = ipaddress.IPv6Network("2000::/3")  # the only public IPv6 space in use
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# The platform service of one large cloud answers every virtual machine at this address of the public space.
_PLATFORM = ipaddress.IPv4Address("168.63.129.16")
_MOST_ADDRESSES = 4


class HostUnavailable(Exception):
    """The name does not resolve. ``final`` says that it does not exist, so that another try is in vain."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def is_public(address: str) -> bool:
    """True if the IP address is reachable for everyone, also where it wraps an IPv4 address.

    IPv4-mapped, NAT64, 6to4 and Teredo addresses count as the IPv4 address that they reach.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return _is_public_v4(ip)
    if inner := ip.ipv4_mapped or ip.sixtofour:
        return _is_public_v4(inner)
    if ip in _NAT64:
        return _is_public_v4(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    if ip.teredo:
        return False  # a tunnel to any machine behind any router
    return ip.is_global and ip in _UNICAST and not ip.is_multicast


def _is_public_v4(ip: ipaddress.IPv4Address) -> bool:
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and ip != _PLATFORM


def resolve(
    host: str, *, allow_private: bool, timeout: float, stop: threading.Event | None = None
) -> list[str]:
    """IP addresses of ``host`` in the order to try them, at most four; all of them are allowed ones.

    ``host`` is a name or any numeric form that the system accepts (decimal, octal, hex, short): what counts
    is what it resolves to. One private address among them is enough to refuse the host, because a name with
    both kinds is how such a check is tricked.

    Raises MediaError where the host is not public, HostUnavailable where it has no address or the name
    server does not answer within ``timeout`` seconds.
    """
    addresses = _look_up(host, timeout, stop)
    private = next((address for address in addresses if not is_public(address)), None)
    if private is not None and not allow_private:
        raise MediaError(
            f"the host {one_line(host)} is at {private}, which is not a public address; "
            "use --allow-private-hosts if you trust it",
            stage="fetch",
        )
    return addresses[:_MOST_ADDRESSES]


def _look_up(host: str, timeout: float, stop: threading.Event | None) -> list[str]:
    """getaddrinfo within a time limit, which it does not have itself."""

    def ask() -> list[str]:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    try:
        return wait_for(ask, timeout=timeout, stop=stop)
    except TimeoutError as error:
        raise HostUnavailable(f"no answer from the name server for {one_line(host)}") from error
    except (OSError, UnicodeError) as error:
        raise _translated(error, host) from error


def _translated(error: Exception, host: str) -> HostUnavailable:
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return HostUnavailable(f"the name server cannot resolve {one_line(host)} now")
    return HostUnavailable(f"no such host, {one_line(host)}", final=True)
