"""What the answer of a web server says: its status, its body, which version of a picture it is."""

from __future__ import annotations

import hashlib
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpcore
import httpx

from mm_milvus.errors import MediaError
from mm_milvus.media.references import one_line

__all__ = ["Answer", "decoded", "fresh_for", "headers_of", "retry_after", "status_line", "validator_of"]

_LONGEST_VALIDATOR = 200  # characters
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; ``data`` is empty where the body was not read. Names of headers are lower case."""

    url: httpx.URL
    status: int
    headers: Mapping[str, str]
    data: bytes = b""


def headers_of(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def validator_of(headers: Mapping[str, str]) -> str:
    """What names this version of the content: the ETag as it was sent, else Last-Modified and the length.

    "" where there is neither; a hash of them where they are long or not printable.
    """
    validator = headers.get("etag", "").strip()
    if not validator and (modified := headers.get("last-modified", "").strip()):
        validator = f"{modified} {headers.get('content-length', '').strip()}".strip()
    if len(validator) > _LONGEST_VALIDATOR or not (validator.isascii() and validator.isprintable()):
        return "sha256:" + hashlib.sha256(validator.encode("latin-1", "replace")).hexdigest()
    return validator


def fresh_for(headers: Mapping[str, str]) -> float | None:
    """Seconds that the answer may be used again without a question, None where it may not be kept at all."""
    control = headers.get("cache-control", "").lower()
    if "no-store" in control:
        return None
    if "no-cache" in control:
        return 0.0
    age = headers.get("age", "").strip()
    if found := _MAX_AGE.search(control):
        return max(0.0, float(found[1]) - (float(age) if age.isdecimal() else 0.0))
    return 0.0


def status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP status {status}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait, None where there is none that can be read."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def decoded(blocks: Iterable[bytes], encoding: str) -> Iterable[bytes]:
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
