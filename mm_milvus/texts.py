"""Texts that Milvus can store unchanged."""

from __future__ import annotations

from mm_milvus.errors import InvalidValue

__all__ = ["STRING_BYTES", "check_string", "check_unicode"]

STRING_BYTES = 65_535  # of a VARCHAR; servers count UTF-8 bytes


def check_unicode(name: str, value: str) -> int:
    """Bytes of ``value`` in UTF-8. Raises InvalidValue when it has none, or what Milvus takes for its end."""
    try:
        size = len(value if value.isascii() else value.encode())
    except UnicodeEncodeError:
        raise InvalidValue(f"{name}: not valid Unicode (a lone surrogate)") from None
    if "\0" in value:
        raise InvalidValue(f"{name}: holds a NUL character")
    return size


def check_string(name: str, value: str) -> str:
    """``value`` itself. Raises InvalidValue when Milvus could not store it unchanged."""
    if (size := check_unicode(name, value)) > STRING_BYTES:
        raise InvalidValue(f"{name}: {size:,} bytes of UTF-8, the limit is {STRING_BYTES:,}")
    return value
