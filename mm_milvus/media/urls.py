"""The URLs that pictures may be fetched from."""

from __future__ import annotations

import httpx

from mm_milvus.errors import MediaError
from mm_milvus.media.references import one_line

__all__ = ["parse_url", "redirected"]


def parse_url(url: str) -> httpx.URL:
    """``url`` without its fragment. Raises MediaError where it is none, or one that is not fetched."""
    try:
        parsed = _canonical(httpx.URL(url))
    except (httpx.InvalidURL, ValueError) as error:
        raise MediaError("not a valid URL", stage="fetch") from error
    return _checked(parsed)


def redirected(url: httpx.URL, location: str) -> httpx.URL:
    """Where the Location header ``location`` of an answer from ``url`` leads. Raises MediaError."""
    try:
        # Headers arrive as latin-1; what servers write unescaped in them is UTF-8.
        joined = _canonical(url.join(location.encode("latin-1").decode("utf-8", "replace")))
    except (httpx.InvalidURL, ValueError) as error:
        raise MediaError("redirects to something that is not a valid URL", stage="fetch") from error
    return _checked(joined)


def _canonical(url: httpx.URL) -> httpx.URL:
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError(f"no such port: {url.port}")
    return url.copy_with(fragment=None)


def _checked(url: httpx.URL) -> httpx.URL:
    if url.scheme not in ("http", "https"):
        raise MediaError(f"redirects to a {one_line(url.scheme)} URL", stage="fetch")
    if not url.host:
        raise MediaError("the URL names no host", stage="fetch")
    if url.userinfo:
        raise MediaError(
            "the URL contains a user name or password; only public pictures are fetched", stage="fetch"
        )
    return url
