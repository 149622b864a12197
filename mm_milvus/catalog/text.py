"""The text template: which attributes are embedded as words, and how they become one text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mm_milvus.catalog.names import DESCRIPTIVE, nearest, normalized
from mm_milvus.errors import ConfigError
from mm_milvus.records import FieldType

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.records import Schema

__all__ = ["choose_text_fields", "render_text"]

_TEXTUAL = {FieldType.VARCHAR, FieldType.ARRAY_VARCHAR}
_UNSPACED = 0x0E00  # scripts from Thai on are not cut at blanks


def choose_text_fields(schema: Schema, settings: Settings) -> tuple[str, ...]:
    """Names of the attributes that are embedded, in order: ``settings.text_fields``, or else title, the short
    attributes that describe (color, category, brand, ...) and the description.

    Raises ConfigError for a name that the schema does not have.
    """
    known = schema.types()
    if settings.text_fields is not None:
        if unknown := next((name for name in settings.text_fields if name not in known), None):
            raise ConfigError(
                f"text_fields: the catalog has no attribute {unknown!r}{nearest(unknown, known)}"
            )
        return settings.text_fields
    rank = {name: position for position, name in enumerate(DESCRIPTIVE)}
    textual = [name for name, kind in known.items() if kind in _TEXTUAL]
    short = sorted(
        (name for name in textual if normalized(name) in rank), key=lambda name: rank[normalized(name)]
    )
    ends = ("title", "description")
    short = [name for name in short if name not in ends]
    return (*(n for n in ends[:1] if n in textual), *short, *(n for n in ends[1:] if n in textual))


def render_text(attributes: Mapping[str, Any], text_fields: Sequence[str], max_chars: int) -> str:
    """The text of a product, at most ``max_chars`` characters: the short parts joined by commas, then the
    description. "" for a product without words."""
    short = ", ".join(
        part for name in text_fields if name != "description" for part in _parts(attributes.get(name))
    )
    long = " ".join(_parts(attributes.get("description"))) if "description" in text_fields else ""
    if short and long:
        return _cut(short + (" " if short.endswith(tuple(".!?。！？")) else ". ") + long, max_chars)
    return _cut(short or long, max_chars)


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)
    elif value is not None and (text := _words(value)):
        yield text


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).replace("\0", " ").split())


def _cut(text: str, limit: int) -> str:
    """The beginning of the text, without half a word at its end unless it is all one word."""
    if len(text) <= limit:
        return text
    end = limit
    while end > 0 and _within_word(text, end):
        end -= 1
    return text[: end or limit].rstrip(" ,") or text[:limit].rstrip()


def _within_word(text: str, position: int) -> bool:
    before, after = text[position - 1], text[position]
    spaced = ord(before) < _UNSPACED and ord(after) < _UNSPACED
    return spaced and not before.isspace() and not after.isspace()
