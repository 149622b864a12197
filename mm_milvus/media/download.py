"""Pictures from the web: checked addresses, followed redirects, a few retries, and limits on bytes and time."""

from __future__ import annotations

import random
import ssl
import time
import zlib
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpcore
import httpx

from mm_milvus.errors import MediaError
from mm_milvus.media.hosts import HostUnavailable, resolve
from mm_milvus.media.network import Clock, GuardedBackend
from mm_milvus.media.policy import MediaPolicy
from mm_milvus.media.references import one_line, show
from mm_milvus.media.sniff import sniff

__all__ = ["Downloader"]

_RETRIED = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BACK_OFF = 0.25  # seconds before the first retry; doubles, with jitter
_LONGEST_PAUSE = 5.0  # a server that asks for more has the picture counted as failed
_CONNECTIONS = 64


class _Retryable(Exception):
    """This attempt failed in a way that another may not; ``pause`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Downloader:
    """One pool of connections for many pictures and threads. httpcore's pool does no redirects, cookies,
    environment proxies or decompression of its own, so that each of them happens here, within the limits."""

    def __init__(self, policy: MediaPolicy) -> None:
        self._policy = policy
        self._clock = Clock()
        self._pool = self._open_pool()

    def close(self) -> None:
        self._pool.close()

    def fetch(self, url: str) -> bytes:
        """The encoded picture at ``url``. Raises MediaError(stage="fetch") with the reason and the URL."""
        try:
            with self._clock.running(self._policy.deadline):
                data = self._with_retries(_parse(url))
            _refuse_pages(data)
        except MediaError as error:
            raise MediaError(f"{error}: {show(url)}", stage="fetch") from error.__cause__
        return data

    def _open_pool(self) -> httpcore.ConnectionPool:
        context = httpx.create_ssl_context()
        if self._policy.proxy is None:
            backend = GuardedBackend(self._clock, allow_private=self._policy.allow_private_hosts)
            return httpcore.ConnectionPool(
                ssl_context=context,
                max_connections=_CONNECTIONS,
                keepalive_expiry=5.0,
                network_backend=backend,
            )
        proxy = httpx.URL(self._policy.proxy)
        return httpcore.HTTPProxy(
            httpcore.URL(scheme=proxy.raw_scheme, host=proxy.raw_host, port=proxy.port, target=b"/"),
            proxy_auth=(proxy.username, proxy.password) if proxy.userinfo else None,
            ssl_context=context,
            max_connections=_CONNECTIONS,
            keepalive_expiry=5.0,
            network_backend=GuardedBackend(self._clock, allow_private=True),  # it only ever meets the proxy
        )

    def _with_retries(self, url: httpx.URL) -> bytes:
        attempts = self._policy.retries + 1
        for attempt in range(1, attempts + 1):
            try:
                return self._follow(url)
            except _Retryable as error:
                self._clock.left()  # where the deadline cut the attempt short, that is the reason
                pause = _pause(attempt, error.pause)
                if attempt == attempts or pause > min(_LONGEST_PAUSE, self._clock.left()):
                    raise MediaError(_counted(str(error), attempt), stage="fetch") from error
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _follow(self, url: httpx.URL) -> bytes:
        for _ in range(self._policy.max_redirects + 1):
            answer = self._get(url)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise MediaError(f"more than {self._policy.max_redirects} redirects", stage="fetch")

    def _get(self, url: httpx.URL) -> bytes | httpx.URL:
        """The body of an answer, or where it redirects to."""
        self._check_behind_proxy(url)
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._clock.limit(self._policy.timeout))
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        try:
            with self._pool.stream(
                "GET", target, headers=self._headers(url), extensions={"timeout": timeout}
            ) as response:
                return self._answer(url, response)
        except httpcore.TimeoutException as error:
            raise _Retryable(f"timed out after {self._policy.timeout:g} s") from error
        except (httpcore.UnsupportedProtocol, httpcore.LocalProtocolError) as error:
            raise MediaError(f"not a valid URL ({one_line(str(error))})", stage="fetch") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            raise _failure(error) from error

    def _headers(self, url: httpx.URL) -> list[tuple[bytes, bytes]]:
        return [
            (b"Host", url.netloc),
            (b"User-Agent", self._policy.user_agent.encode()),
            (b"Accept", b"image/*,*/*;q=0.5"),
            (b"Accept-Encoding", b"identity"),
        ]

    def _check_behind_proxy(self, url: httpx.URL) -> None:
        """A proxy connects for us, so that all that can be checked here is what resolves here."""
        if self._policy.proxy is None or self._policy.allow_private_hosts:
            return
        timeout = min(self._policy.timeout, self._clock.left())
        try:
            resolve(url.raw_host.decode(), allow_private=False, timeout=timeout)
        except HostUnavailable:
            return  # names that only the proxy can resolve are its business

    def _answer(self, url: httpx.URL, response: httpcore.Response) -> bytes | httpx.URL:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
        }
        status = response.status
        if status in _REDIRECTS and "location" in headers:
            return _redirected(url, headers["location"])
        if status in _RETRIED:
            raise _Retryable(_status_line(status), _retry_after(headers))
        if not 200 <= status < 300:
            raise MediaError(_status_line(status), stage="fetch")
        return self._body(response, headers)

    def _body(self, response: httpcore.Response, headers: Mapping[str, str]) -> bytes:
        limit = self._policy.max_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise MediaError(f"{declared} bytes, larger than {limit}", stage="fetch")
        encoding = headers.get("content-encoding", "identity").strip().lower()
        data = bytearray()
        for block in _decoded(response.iter_stream(), encoding):
            self._clock.left()
            data += block
            if len(data) > limit:
                raise MediaError(f"larger than {limit} bytes", stage="fetch")
        if not data:
            raise MediaError("the URL answered with nothing", stage="fetch")
        return bytes(data)


def _parse(url: str) -> httpx.URL:
    try:
        parsed = _canonical(httpx.URL(url))
    except (httpx.InvalidURL, ValueError) as error:
        raise MediaError("not a valid URL", stage="fetch") from error
    return _checked(parsed)


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
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


def _decoded(blocks: Iterable[bytes], encoding: str) -> Iterable[bytes]:
    """We ask for no compression; a server that compresses all the same is decoded 1 MiB at a time at most."""
    if encoding in ("", "identity"):
        yield from blocks
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise MediaError(f"the answer has the unknown encoding {one_line(encoding)[:40]}", stage="fetch")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip and zlib headers alike
    try:
        for block in blocks:
            rest = block
            while rest and not inflate.eof:
                yield inflate.decompress(rest, 1 << 20)
                rest = inflate.unconsumed_tail
    except zlib.error as error:
        raise MediaError("the answer is damaged (its compression)", stage="fetch") from error
    if not inflate.eof:
        raise MediaError("the answer is cut off", stage="fetch")


def _refuse_pages(data: bytes) -> None:
    kind = sniff(data)
    if kind is not None and not kind.picture:
        raise MediaError(f"the URL answered with {kind.name}, not a picture", stage="fetch")


def _failure(error: Exception) -> Exception:
    """Certificates do not get better by trying again, everything else about a connection may."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return MediaError(f"the server's certificate is not valid ({cause.verify_message})", stage="fetch")
    if isinstance(error, httpcore.ConnectError):
        return _Retryable(f"cannot connect ({one_line(str(error)) or 'no reason given'})")
    if isinstance(error, httpcore.ProxyError):
        return _Retryable(f"the proxy refused ({one_line(str(error))})")
    return _Retryable("the connection broke")


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP status {status}"


def _counted(reason: str, attempts: int) -> str:
    return reason if attempts == 1 else f"{reason} ({attempts} attempts)"


def _pause(attempt: int, asked: float | None) -> float:
    back_off = _BACK_OFF * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)
    return back_off if asked is None else max(asked, back_off)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait, None where there is none that can be read."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
