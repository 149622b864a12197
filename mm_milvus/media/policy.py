"""What reading a picture may touch and how much it may cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mm_milvus.errors import ConfigError

__all__ = ["DEFAULT_MAX_PIXELS", "MediaPolicy"]

DEFAULT_MAX_PIXELS = 64_000_000


@dataclass(frozen=True, slots=True)
class MediaPolicy:
    """Limits of a :class:`MediaReader`. Sizes are in bytes and pixels, times in seconds.

    Proxies of the environment are ignored: behind a proxy it is the proxy that resolves host names, so that
    the check for private addresses can only see literal ones. Name a trusted one in ``proxy`` to use it.
    How hosts that are busy or do not answer are treated is told in :mod:`mm_milvus.media.politeness`.
    Raises ConfigError where a limit makes no sense.
    """

    roots: tuple[Path, ...] = ()  # folders that local pictures may come from; empty: any folder
    allow_private_hosts: bool = False  # let URLs point at loopback, private and other non-public addresses
    max_bytes: int = 32 * 1024 * 1024  # of one encoded picture
    max_pixels: int = DEFAULT_MAX_PIXELS  # of one decoded picture
    timeout: float = 10.0  # for each phase of a request: connect, send, receive
    deadline: float = 30.0  # for one picture in all, with redirects and retries, without waiting for its turn
    per_host: int = 8  # requests at a time to one host
    cache: Path | None = None  # folder that keeps downloaded pictures; it may be deleted at any time
    anew: bool = False  # download what the cache has too; it serves only while its host is away
    retries: int = 2  # after connection errors, timeouts, 429 and 500-504
    max_redirects: int = 3
    user_agent: str = "mm-milvus/0.1 (product picture indexer)"
    proxy: str | None = None  # URL of an HTTP proxy that is trusted to guard private networks

    def __post_init__(self) -> None:
        for name, least in (
            ("max_bytes", 1),
            ("max_pixels", 1),
            ("per_host", 1),
            ("retries", 0),
            ("max_redirects", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not (self.user_agent.isascii() and self.user_agent.isprintable()):
            raise ConfigError(f"user_agent must be plain printable ASCII, got {self.user_agent!r}")
        if self.proxy is not None and not self.proxy.lower().startswith(("http://", "https://")):
            raise ConfigError("proxy must be an http:// or https:// URL")  # not shown: it may hold a password
        for name in ("timeout", "deadline"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be more than 0 seconds, got {getattr(self, name)}")
