"""What a reference to a picture is, what its data URI holds, and how it is shown in a message."""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote_to_bytes

from mm_milvus.errors import MediaError

__all__ = ["Fetched", "Reference", "classify", "one_line", "read_data_uri", "show", "without_credentials"]

_SHOWN = 120  # characters of a reference in a message
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")
_SPACE = re.compile(rb"[ \t\r\n\f]+")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference whose kind is known; ``text`` is the path, the URL or the data URI."""

    kind: Literal["path", "url", "data"]
    text: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """An encoded picture, and a short string that names this version of a URL's content ("" where there is none)."""

    data: bytes
    validator: str
    cached: bool = field(default=False, compare=False)  # how it came: out of the cache


def classify(reference: str | os.PathLike[str]) -> Reference:
    """The kind of a reference. Raises MediaError for what can be no picture: nothing at all, ftp://, file:."""
    if not isinstance(reference, str):
        return Reference("path", os.fsdecode(os.fspath(reference)))
    text = reference.strip()
    if not text:
        raise MediaError("the reference to the picture is empty", stage="fetch")
    if text[:5].lower() == "data:":
        return Reference("data", text)
    if text[:5].lower() == "file:":
        raise MediaError(f"file: URLs are not accepted, write the plain path: {show(text)}", stage="fetch")
    if text.startswith("//"):
        raise MediaError(f"the URL has no scheme, write https: before it: {show(text)}", stage="fetch")
    if scheme := _SCHEME.match(text):
        if scheme[1].lower() not in ("http", "https"):
            raise MediaError(f"only http and https URLs are accepted: {show(text)}", stage="fetch")
        return Reference("url", text)
    return Reference("path", reference)


def show(reference: str) -> str:
    """A reference as messages show it: on one line, without credentials, and not longer than needed."""
    text = without_credentials(reference)
    if text[:5].lower() == "data:":
        return one_line(text if len(text) <= 40 else f"{text[:32]}... ({len(text)} characters)")
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN - 30]}...{text[-27:]}"
    return one_line(text)


def one_line(text: str) -> str:
    """Control characters and lone surrogates become escapes, so that a message stays one printable line."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def without_credentials(url: str) -> str:
    return _USERINFO.sub(r"\1", url)


def read_data_uri(uri: str, *, max_bytes: int) -> bytes:
    """The bytes of ``data:[type][;base64],payload``; the declared type is not trusted and not used.

    Percent escapes are decoded in both forms; base64 may be URL-safe, wrapped, and without its padding.
    """
    header, comma, payload = uri.partition(",")
    if not comma:
        raise MediaError(f"the data URI has no comma before its data: {show(uri)}", stage="fetch")
    is_base64 = header.lower().rstrip().endswith(";base64")
    smallest = len(payload) // 4 if is_base64 else len(payload) // 3  # every character percent-escaped
    if smallest > max_bytes:
        raise MediaError(f"larger than {max_bytes} bytes: {show(uri)}", stage="fetch")
    data = unquote_to_bytes(payload)
    data = _decode_base64(data, uri) if is_base64 else data
    if not data:
        raise MediaError(f"the data URI is empty: {show(uri)}", stage="fetch")
    if len(data) > max_bytes:
        raise MediaError(f"larger than {max_bytes} bytes: {show(uri)}", stage="fetch")
    return data


def _decode_base64(data: bytes, uri: str) -> bytes:
    data = _SPACE.sub(b"", data).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise MediaError(f"the data URI is not valid base64: {show(uri)}", stage="fetch") from error
