"""The value of an image column -> references as written: paths, URLs, data URIs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mm_milvus.errors import InvalidValue
from mm_milvus.texts import check_unicode

__all__ = ["is_data_uri", "references"]

_URL = re.compile(r"https?://", re.IGNORECASE)
_KEYS = ("bytes", "url", "src", "href", "link", "path")  # of a picture that is an object


def references(value: Any, *, text: bool, several: bool) -> list[str]:
    """References in their order, without blanks and repetitions.

    ``text``: the value is from CSV, where a list is separated by ``|`` or ``;`` or written as JSON. ``several``:
    the column is for more pictures, where a comma separates them as well. Raises InvalidValue for anything else.
    """
    found = [reference.strip() for reference in _flat(value, text, several)]
    for reference in found:
        check_unicode("image", reference)
    return list(dict.fromkeys(reference for reference in found if reference))


def is_data_uri(reference: str) -> bool:
    return reference[:5].lower() == "data:"


def _flat(value: Any, text: bool, several: bool) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, str):
        yield from _split(value, text, several)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item, text=False, several=False)
    elif isinstance(value, Mapping) and (key := next((key for key in _KEYS if value.get(key)), None)):
        yield from _flat(value[key], text=False, several=False)
    else:
        raise InvalidValue(f"image: expected a path, a URL or a list of them, got {repr(value)[:80]}")


def _split(value: str, text: bool, several: bool) -> Iterator[str]:
    if is_data_uri(value.lstrip()) or not (text or several):
        yield value
        return
    if value.lstrip().startswith("["):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            listed = value
        if isinstance(listed, list):
            yield from _flat(listed, text=False, several=False)
            return
    for mark in ("|", ";", ",") if several else ("|", ";"):
        if len(parts := _cut(value, mark)) > 1:
            yield from parts
            return
    yield value


def _cut(value: str, mark: str) -> list[str]:
    """The parts of a list; ; and , also stand in URLs and names, so there every part must look like a picture."""
    if mark != "|" and _URL.match(value):
        return re.split(rf"{mark}\s*(?={_URL.pattern})", value, flags=re.IGNORECASE)
    parts = [part for part in value.split(mark) if part.strip()]
    return (
        parts
        if mark == "|" or all(os.path.splitext(part.strip())[1][1:].isalnum() for part in parts)
        else [value]
    )
