"""One value -> the value that is stored, in the type of its attribute, or InvalidValue with the reason."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_milvus.catalog.numbers import is_plain_number, parse_money
from mm_milvus.errors import InvalidValue
from mm_milvus.records import FieldType
from mm_milvus.texts import STRING_BYTES, check_string

__all__ = ["Conversion", "check_id", "check_name", "convert", "is_missing"]

_NAME_BYTES = 255
_ID_BYTES = 512
_DEPTH = 50
_ELEMENTS = 4_096
_EXACT = 2**53  # integers above it are not all doubles
_INT64 = 2**63
_NUMBER_CHARS = 64  # no number that is written as text is longer
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARCHAR, _DOUBLE = FieldType.VARCHAR, FieldType.DOUBLE
_LIST_MARKS = ("|", ";", ",")
_FLAGS = {"true": True, "false": False}
_SAID_FLAGS = _FLAGS | {"yes": True, "ja": True, "oui": True, "sí": True, "sì": True, "1": True}
_SAID_FLAGS |= {"no": False, "nein": False, "non": False, "0": False}


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the values of one attribute are read."""

    name: str
    type: FieldType | None = None  # None: not in the schema, stored as it is
    numeric_text: bool = False  # text may be an amount, a number or "1,299.99 USD"
    forced: bool = False  # the user set the type: text and numbers are turned into it
    mark: str | None = None  # decimal mark of the column
    currency: str | None = None  # attribute that the currency of an amount goes to


def is_missing(value: Any, *, text: bool) -> bool:
    """None is missing everywhere; blank text is missing where there is nothing but text (CSV)."""
    return value is None or (text and isinstance(value, str) and not value.strip())


def convert(value: Any, to: Conversion, *, text: bool = False) -> Any:
    """``value`` in the type of the attribute. ``text``: it was read from CSV, so numbers are text.

    Raises InvalidValue when it contradicts the type or cannot be stored.
    """
    if to.type is _VARCHAR and value.__class__ is str:  # nearly all values: no need to look any further
        return check_string(to.name, value)
    try:
        return _convert(value, to, text)
    except _Contradiction:
        expected = to.type.value if to.type else "a value"
        raise InvalidValue(f"{to.name}: expected {expected}, got {_shown(value)}") from None


class _Contradiction(Exception):
    """The value is not of the type."""


def _convert(value: Any, to: Conversion, text: bool) -> Any:
    kind = to.type
    if kind is _DOUBLE:
        return _scalar(value, to, kind, text)
    if kind is None:
        return _check_json(to.name, value)
    if kind is FieldType.JSON:
        return _json(value, to, text)
    if kind.element is not None:
        return _array(value, to, kind.element, text)
    return _scalar(value, to, kind, text)


def _scalar(value: Any, to: Conversion, kind: FieldType, text: bool) -> Any:
    if kind is _VARCHAR:
        return _varchar(value, to)
    if isinstance(value, str):
        value = _from_text(value, to, kind, text)
    if kind is FieldType.BOOL:
        return value if isinstance(value, bool) else _refuse()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Contradiction
    return _double(value, to) if kind is _DOUBLE else _int64(value, to)


def _varchar(value: Any, to: Conversion) -> str:
    if to.forced and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return check_string(to.name, value) if isinstance(value, str) else _refuse()


def _double(value: float, to: Conversion) -> float:
    if isinstance(value, int) and abs(value) > _EXACT:
        raise InvalidValue(f"{to.name}: {_shown(value)} does not fit a double exactly")
    if not math.isfinite(value):
        raise InvalidValue(f"{to.name}: {value} is not a finite number")
    return float(value)


def _int64(value: float, to: Conversion) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise _Contradiction
    if not -_INT64 <= value < _INT64:
        raise InvalidValue(f"{to.name}: {_shown(value)} does not fit 64 bits")
    return int(value)


def _from_text(value: str, to: Conversion, kind: FieldType, text: bool) -> bool | float:
    """A number or flag that is written as text; only where the source or the name of the column says so."""
    stripped = value.strip() if len(value) <= _NUMBER_CHARS else _refuse()
    if kind is FieldType.BOOL:
        flags = _SAID_FLAGS if text and to.forced else _FLAGS if text or to.forced else {}
        flag = flags.get(unicodedata.normalize("NFC", stripped).lower())
        return flag if flag is not None else _refuse()
    if not (text or to.forced or to.numeric_text):
        raise _Contradiction
    amounts = to.numeric_text or (text and to.forced)
    if is_plain_number(stripped) and not (amounts and _is_ambiguous(stripped, to)):
        return float(stripped) if re.search(r"[.eE]", stripped) else int(stripped)
    if to.forced and re.fullmatch(r"[0-9]{1,19}", stripped):  # leading zeros that the user does not want
        return int(stripped)
    money = parse_money(stripped, to.mark) if amounts else None
    # A column that is no price has nowhere to keep a currency.
    return money[0] if money and (to.numeric_text or not money[1]) else _refuse()


def _is_ambiguous(text: str, to: Conversion) -> bool:
    """1.299 in a column that writes 9,99: the dot marks thousands there."""
    return to.mark == "," and "." in text


def _array(value: Any, to: Conversion, element: FieldType, text: bool) -> list[Any]:
    if isinstance(value, str) and (text or to.forced):
        value = _split(value, to)
    if not isinstance(value, list | tuple):
        raise _Contradiction
    if len(value) > _ELEMENTS:
        raise InvalidValue(f"{to.name}: {len(value):,} elements, the limit is {_ELEMENTS:,}")
    return [_scalar(item, to, element, text) for item in value]


def _split(value: str, to: Conversion) -> list[Any]:
    if value.lstrip().startswith("["):
        parsed = _parse(value, to)
        return parsed if isinstance(parsed, list) else _refuse()
    mark = next((mark for mark in _LIST_MARKS if mark in value), "|")
    return [part.strip() for part in value.split(mark) if part.strip()]


def _json(value: Any, to: Conversion, text: bool) -> Any:
    value = _check_json(to.name, _parse(value, to) if text and isinstance(value, str) else value)
    if (size := len(json.dumps(value, ensure_ascii=False).encode())) > STRING_BYTES:
        raise InvalidValue(f"{to.name}: {size:,} bytes of JSON, the limit is {STRING_BYTES:,}")
    return value


def _parse(value: str, to: Conversion) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise InvalidValue(f"{to.name}: expected JSON, got {_shown(value)}") from None


def _check_json(name: str, value: Any, depth: int = 0) -> Any:
    """A value of any shape, if all of it can be stored."""
    if depth > _DEPTH:
        raise InvalidValue(f"{name}: nested deeper than {_DEPTH} levels")
    if isinstance(value, str):
        return check_string(name, value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _int64(value, Conversion(name))
    if isinstance(value, float):
        return _double(value, Conversion(name))
    if isinstance(value, list | tuple):
        return [_check_json(name, item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {check_name(key): _check_json(name, item, depth + 1) for key, item in value.items()}
    raise InvalidValue(f"{name}: {_shown(value)} cannot be stored")


def check_name(name: str) -> str:
    """The name of an attribute itself. Raises InvalidValue when it cannot be one."""
    if not name.strip():
        raise InvalidValue("an attribute has an empty name")
    check_string(f"the attribute name {name[:40]!r}", name)
    if _CONTROL.search(name):
        raise InvalidValue(f"the attribute name {name[:40]!r} holds control characters")
    if len(name.encode()) > _NAME_BYTES:
        raise InvalidValue(f"the attribute name {name[:40]!r}... is longer than {_NAME_BYTES} bytes")
    return name


def check_id(value: Any) -> str:
    """The id as text, without blanks around it, which nobody sees and exports add at will.

    Raises InvalidValue for what cannot be one; only text and integers can.
    """
    if value is None:
        raise InvalidValue("no id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidValue(f"id: expected text or an integer, got {_shown(value)}")
    name = check_string("id", str(value)).strip()
    if not name:
        raise InvalidValue("the id is empty")
    if _CONTROL.search(name):
        raise InvalidValue(f"id: {_shown(name)} holds control characters")
    if (size := len(name.encode())) > _ID_BYTES:
        raise InvalidValue(f"id: {size:,} bytes of UTF-8, the limit is {_ID_BYTES}")
    return name


def _refuse() -> Any:
    raise _Contradiction


def _shown(value: Any) -> str:
    """The value and its kind on one short line: 'abc' (string)."""
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "a huge integer"
    text = text if len(text) <= 80 else text[:77] + "..."
    return f"{text} ({kinds.get(type(value), type(value).__name__)})"
