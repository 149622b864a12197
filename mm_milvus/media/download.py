"""Pictures from the web: checked addresses, followed redirects, a few retries, and limits on bytes and time."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpcore
import httpx

from mm_milvus.errors import MediaError
from mm_milvus.media.answers import (
    Answer,
    decoded,
    fresh_for,
    headers_of,
    retry_after,
    status_line,
    validator_of,
)
from mm_milvus.media.cache import Kept, PictureCache
from mm_milvus.media.hosts import HostUnavailable, resolve
from mm_milvus.media.network import Clock, GuardedBackend, OutOfTime
from mm_milvus.media.policy import MediaPolicy
from mm_milvus.media.politeness import LONGEST_PAUSE, HostClosed, Hosts
from mm_milvus.media.references import Fetched, one_line, show
from mm_milvus.media.sniff import sniff
from mm_milvus.media.urls import parse_url, redirected

__all__ = ["Downloader"]

_RETRIED = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_MODIFIED = 304
_BACK_OFF = 0.25  # seconds before the first retry; doubles, with jitter
_IDLE_CONNECTIONS = 64
_FAREWELL = 1.0  # seconds that closing waits for downloads that it has interrupted


class _Retryable(Exception):
    """This attempt failed in a way that another may not. ``asked``: seconds that the server asked to wait."""

    def __init__(self, reason: str, asked: float | None = None) -> None:
        super().__init__(reason)
        self.asked = asked


class _NoAnswer(_Retryable):
    """No connection, a timeout, or a connection that broke."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of a URL. Without ``body`` the answer is left after its headers."""

    method: str = "GET"
    body: bool = True
    kept: Kept | None = None  # only a newer picture than this one is wanted
    retries: int = 0

    def conditions(self, url: httpx.URL) -> list[tuple[bytes, bytes]]:
        """Headers that have the server say 304, for the URL that the kept picture came from and no other."""
        if self.kept is None or self.kept.final != str(url):
            return []
        pairs = ((b"If-None-Match", self.kept.etag), (b"If-Modified-Since", self.kept.modified))
        return [(name, value.encode("latin-1")) for name, value in pairs if value]


class Downloader:
    """One pool of connections for many pictures and threads. httpcore's pool does no redirects, cookies,
    environment proxies or decompression of its own, so that each of them happens here, within the limits.

    Once closed, all downloads that still run, and all later ones, fail.
    """

    def __init__(self, policy: MediaPolicy, cache: PictureCache | None = None) -> None:
        self._policy = policy
        self._cache = cache
        self._stop = threading.Event()
        self._clock = Clock(self._stop)
        # Behind a proxy the backend only ever meets the proxy.
        allow_private = policy.allow_private_hosts or policy.proxy is not None
        self._backend = GuardedBackend(self._clock, allow_private=allow_private)
        self._pool = self._open_pool()
        self._hosts = Hosts(policy.per_host, self._clock)
        self._head_agrees: dict[str, bool] = {}  # host -> its HEAD gives the validators of its GET
        self._firsts: dict[str, threading.Lock] = {}
        self._running = 0
        self._idle = threading.Condition()

    def close(self) -> None:
        """Ends what runs, in other threads too: it fails with MediaError within about a second."""
        self._stop.set()
        self._backend.shut()
        with self._idle:
            self._idle.wait_for(lambda: not self._running, timeout=_FAREWELL)
        self._pool.close()

    def fetch(self, url: str) -> Fetched:
        """The encoded picture at ``url``. Raises MediaError(stage="fetch") with the reason and the URL."""
        with self._picture(url):
            parsed = parse_url(url)
            cached = self._kept(parsed)
            kept = None if self._policy.anew else cached  # what a newer picture is asked for in place of
            if kept is not None and kept.fresh():
                return Fetched(kept.data, kept.validator, cached=True)
            try:
                answer = self._with_retries(parsed, _Question(kept=kept, retries=self._policy.retries))
            except MediaError as error:
                if cached is None or not _is_away(error) or self._stop.is_set():
                    raise
                return Fetched(cached.data, cached.validator, cached=True)
            if answer.status == _NOT_MODIFIED and kept is not None:
                if _is_of(answer, kept):
                    # Its ETag may have become a weak one: the newest is what comes next time.
                    newest = validator_of(answer.headers) if "etag" in answer.headers else kept.validator
                    return Fetched(kept.data, newest, cached=True)
                answer = self._with_retries(parsed, _Question(retries=self._policy.retries))
            _refuse_pages(answer.data)
            self._keep(parsed, answer)
            return Fetched(answer.data, validator_of(answer.headers))

    def validator(self, url: str) -> str:
        """What ``fetch`` would give as validator now, "" where the host gives none. Raises MediaError.

        The first picture of a host is asked for by HEAD and by a GET whose body is not read. Only where the two
        agree is HEAD alone trusted for the next ones: what counts is what GET says, since ``fetch`` uses that.
        """
        parsed = parse_url(url)
        if parsed.host in self._head_agrees:
            return self._validator(url)
        with self._idle:
            first = self._firsts.setdefault(parsed.host, threading.Lock())
        with first:  # the others wait for what the first one finds out
            return self._validator(url)

    def _validator(self, url: str) -> str:
        with self._picture(url):
            parsed = parse_url(url)
            agrees = self._head_agrees.get(parsed.host)
            by_head = "" if agrees is False else self._by_head(parsed)
            if agrees and by_head:
                return by_head
            question = _Question(body=False, retries=min(1, self._policy.retries))
            by_get = validator_of(self._with_retries(parsed, question).headers)
            if agrees is None:
                self._head_agrees[parsed.host] = bool(by_head) and by_head == by_get
            return by_get

    def _by_head(self, url: httpx.URL) -> str:
        """The validator that HEAD gives, "" where it gives none or fails: then GET is asked and has the last word."""
        try:
            return validator_of(self._with_retries(url, _Question("HEAD", body=False)).headers)
        except MediaError:
            return ""

    @contextmanager
    def _picture(self, url: str) -> Iterator[None]:
        """The time and the errors of one picture."""
        with self._idle:
            self._running += 1
        try:
            with self._clock.running(self._policy.deadline):
                yield
        except MediaError as error:
            raise MediaError(f"{error}: {show(url)}", stage="fetch") from error.__cause__
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _kept(self, url: httpx.URL) -> Kept | None:
        if self._cache is None:
            return None
        return self._cache.load(str(url), max_bytes=self._policy.max_bytes)

    def _keep(self, url: httpx.URL, answer: Answer) -> None:
        seconds = fresh_for(answer.headers)
        etag, modified = (answer.headers.get(name, "").strip() for name in ("etag", "last-modified"))
        kind = sniff(answer.data)
        if self._cache is None or seconds is None or not (etag or modified or seconds) or kind is None:
            return
        kept = Kept(
            final=str(answer.url),
            validator=validator_of(answer.headers),
            etag=etag,
            modified=modified,
            fresh_until=time.time() + seconds,
            data=answer.data,
        )
        self._cache.store(str(url), kept)

    def _open_pool(self) -> httpcore.ConnectionPool:
        # Any number of connections: the limit is the one per host.
        context = httpx.create_ssl_context()
        if self._policy.proxy is None:
            return httpcore.ConnectionPool(
                ssl_context=context,
                max_connections=None,
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=5.0,
                network_backend=self._backend,
            )
        proxy = httpx.URL(self._policy.proxy)
        return httpcore.HTTPProxy(
            httpcore.URL(scheme=proxy.raw_scheme, host=proxy.raw_host, port=proxy.port, target=b"/"),
            proxy_auth=(proxy.username, proxy.password) if proxy.userinfo else None,
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=5.0,
            network_backend=self._backend,
        )

    def _with_retries(self, url: httpx.URL, question: _Question) -> Answer:
        for attempt in range(1, question.retries + 2):
            try:
                return self._follow(url, question)
            except _Retryable as error:
                self._clock.left()  # where the deadline cut the attempt short, that is the reason
                asked = error.asked
                pause = (
                    _back_off(attempt) if asked is None else 0.0
                )  # what is asked for, all requests wait for
                last = attempt > question.retries or (asked or 0.0) > LONGEST_PAUSE
                if last or pause > self._clock.left():
                    raise MediaError(_counted(str(error), attempt), stage="fetch") from error
                self._clock.sleep(pause)
        raise AssertionError("unreachable")

    def _follow(self, url: httpx.URL, question: _Question) -> Answer:
        """The answer at the end of the redirects, a good one."""
        for _ in range(self._policy.max_redirects + 1):
            answer = self._ask(url, question)
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                return _accepted(answer, question)
            url = redirected(url, answer.headers["location"])
        raise MediaError(f"more than {self._policy.max_redirects} redirects", stage="fetch")

    def _ask(self, url: httpx.URL, question: _Question) -> Answer:
        """One request, whatever the answer is; the host's record is kept."""
        self._check_behind_proxy(url)
        with self._hosts.slot(url.host) as host:
            started = time.monotonic()
            try:
                answer = self._request(url, question)
            except (_NoAnswer, OutOfTime) as error:
                host.failed(str(error), started)
                raise
            asked = retry_after(answer.headers) if answer.status in (429, 503) else None
            if asked is None:
                host.answered()
            else:
                host.pause(asked, status_line(answer.status), started)
            return answer

    def _request(self, url: httpx.URL, question: _Question) -> Answer:
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._clock.limit(self._policy.timeout))
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = self._headers(url) + question.conditions(url)
        try:
            with self._pool.stream(
                question.method, target, headers=headers, extensions={"timeout": timeout}
            ) as response:
                return self._answer(url, response, question)
        except httpcore.TimeoutException as error:
            raise _NoAnswer(f"timed out after {self._policy.timeout:g} s") from error
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
            resolve(url.raw_host.decode(), allow_private=False, timeout=timeout, stop=self._stop)
        except HostUnavailable:
            return  # names that only the proxy can resolve are its business

    def _answer(self, url: httpx.URL, response: httpcore.Response, question: _Question) -> Answer:
        headers = headers_of(response)
        if question.method == "HEAD" or response.status == _NOT_MODIFIED:
            response.read()  # there is no body; the connection can be used again
        elif question.body and 200 <= response.status < 300:
            return Answer(url, response.status, headers, self._body(response, headers))
        return Answer(url, response.status, headers)

    def _body(self, response: httpcore.Response, headers: Mapping[str, str]) -> bytes:
        limit = self._policy.max_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise MediaError(f"{declared} bytes, larger than {limit}", stage="fetch")
        encoding = headers.get("content-encoding", "identity").strip().lower()
        data = bytearray()
        try:
            for block in decoded(response.iter_stream(), encoding):
                self._clock.left()
                data += block
                if len(data) > limit:
                    raise MediaError(f"larger than {limit} bytes", stage="fetch")
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise _Retryable("the connection broke") from error  # but the host has answered
        self._clock.check_open()  # a connection that we shut ourselves looks like the end of the picture
        if not data:
            raise MediaError("the URL answered with nothing", stage="fetch")
        return bytes(data)


def _is_away(error: MediaError) -> bool:
    """Whether the host gives no answer now; one that says that there is no picture does."""
    return isinstance(error, (HostClosed, OutOfTime)) or isinstance(error.__cause__, _Retryable)


def _accepted(answer: Answer, question: _Question) -> Answer:
    status = answer.status
    if status in _RETRIED:
        asked = retry_after(answer.headers) if status in (429, 503) else None
        raise _Retryable(status_line(status), asked)
    unchanged = status == _NOT_MODIFIED and bool(question.conditions(answer.url))
    if not (200 <= status < 300 or unchanged):
        raise MediaError(status_line(status), stage="fetch")
    return answer


def _is_of(answer: Answer, kept: Kept) -> bool:
    """False where a 304 names another version than the one that we have, as some caches of hosts do."""
    return answer.headers.get("etag", kept.etag).strip().removeprefix("W/") == kept.etag.removeprefix("W/")


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
        return _NoAnswer(f"cannot connect ({one_line(str(error)) or 'no reason given'})")
    if isinstance(error, httpcore.ProxyError):
        return _NoAnswer(f"the proxy refused ({one_line(str(error))})")
    return _NoAnswer("the connection broke")


def _counted(reason: str, attempts: int) -> str:
    return reason if attempts == 1 else f"{reason} ({attempts} attempts)"


def _back_off(attempt: int) -> float:
    return _BACK_OFF * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)
