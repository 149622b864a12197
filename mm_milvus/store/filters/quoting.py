"""Strings and names as Milvus reads them. Nothing else may put a user's text into an expression."""

from __future__ import annotations

import json
import re

from mm_milvus.errors import FilterError

__all__ = ["check_text", "is_bare_name", "is_column_name", "one_line", "quote", "shown"]

# Words that a parser of some Milvus takes for itself: a column of such a name cannot be reached in a filter.
_RESERVED = frozenset(
    [
        *("and", "or", "not", "in", "like", "is", "null", "exists", "true", "false", "iso", "interval"),
        *("json_contains", "json_contains_all", "json_contains_any", "array_length"),
        *(
            "array_contains",
            "array_contains_all",
            "array_contains_any",
            "text_match",
            "text_match_fuzzy",
            "phrase_match",
            "threshold",
        ),
        *("match_all", "match_any", "match_exact", "match_least", "match_most", "element_filter"),
        *("minimum_should_match", "random_sample", "st_equals", "st_touches", "st_overlaps", "st_crosses"),
        *("st_contains", "st_intersects", "st_within", "st_dwithin", "st_isvalid", "_seq", "_partition"),
    ]
)
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[^\W\d]\w*")
# The embedded Milvus knows the escapes \n \r \t and none for the other control characters.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def quote(value: str) -> str:
    """``value`` as a string literal that Milvus reads back as the same string.

    Raises FilterError for control characters other than tab and line breaks, and for lone surrogates.
    """
    check_text(value)
    return json.dumps(value, ensure_ascii=False)


def check_text(value: str) -> None:
    """Raises FilterError when Milvus cannot read ``value`` in a filter."""
    if bad := _CONTROL.search(value):
        raise FilterError(f"a filter cannot hold the control character U+{ord(bad[0]):04X}; leave it out")
    if bad := _SURROGATE.search(value):
        raise FilterError(
            f"a filter cannot hold U+{ord(bad[0]):04X}, half of a surrogate pair; it is not text"
        )


def is_column_name(name: str) -> bool:
    """Whether filters of every Milvus can reach a typed column of that name; if not, keep the field dynamic."""
    return _COLUMN.fullmatch(name) is not None and name.lower() not in _RESERVED


def is_bare_name(name: str) -> bool:
    """Whether the name stands in a filter as it is; others need backquotes or ``$meta["..."]``."""
    return _WORD.fullmatch(name) is not None and name.lower() not in _RESERVED


def shown(name: str) -> str:
    """The name as a user has to write it in a filter."""
    return name if is_bare_name(name) else "`" + one_line(name.replace("`", "``")) + "`"


def one_line(text: str) -> str:
    """``text`` for a message: short, and with line breaks and the like as escapes."""
    text = text if len(text) <= 60 else text[:57] + "..."
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
