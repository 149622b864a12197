"""What a filter means, in plain Python: the reference that all Milvus versions have to agree with."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mm_milvus.store.filters.ast import (
    And,
    Compare,
    Contains,
    Filter,
    In,
    Length,
    Missing,
    Not,
    Or,
    Ref,
    Scalar,
)

__all__ = ["OPERATORS", "matches"]

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(filter: Filter, row: Mapping[str, Any]) -> bool:
    """Whether a row of attributes (with ``id`` and the like, where asked for) passes; absent and None are missing."""
    return _truth(filter, row) is True


def _truth(node: Filter, row: Mapping[str, Any]) -> bool | None:
    """True, False or None for unknown."""
    match node:
        case And(parts):
            return _kleene(parts, row, decisive=False)
        case Or(parts):
            return _kleene(parts, row, decisive=True)
        case Not(part):
            return _negated(_truth(part, row), True)
        case Missing(ref, negated):
            return (_value(ref, row) is None) is not negated
        case Compare(ref, op, value):
            return _compare(_value(ref, row), op, value)
        case In(ref, values, negated):
            found = _value(ref, row)
            return None if found is None else (found in values) is not negated
        case Contains(ref, values, every, negated):
            return _negated(_contains(_value(ref, row), values, every), negated)
        case Length(ref, op, value):
            found = _value(ref, row)
            return None if found is None else OPERATORS[op](len(found), value)
    raise TypeError(f"not a filter: {node!r}")


def _kleene(parts: Sequence[Filter], row: Mapping[str, Any], *, decisive: bool) -> bool | None:
    unknown = False
    for part in parts:
        truth = _truth(part, row)
        if truth is decisive:
            return decisive
        unknown |= truth is None
    return None if unknown else not decisive


def _negated(truth: bool | None, negated: bool) -> bool | None:
    return None if truth is None else truth is not negated


def _value(ref: Ref, row: Mapping[str, Any]) -> Any:
    """The value, None where there is none."""
    value = row.get(ref.name)
    for key in ref.path:
        if isinstance(key, str):
            value = value.get(key) if isinstance(value, Mapping) else None
        else:
            value = value[key] if isinstance(value, list | tuple) and key < len(value) else None
    return value


def _compare(found: Any, op: str, value: Scalar) -> bool | None:
    same_kind = isinstance(found, str) if isinstance(value, str) else isinstance(found, bool | int | float)
    return OPERATORS[op](found, value) if same_kind else None


def _contains(found: Any, values: Sequence[Scalar], every: bool) -> bool | None:
    if found is None:
        return None
    if not isinstance(found, list | tuple):  # a JSON value of another kind
        return False
    return all(value in found for value in values) if every else any(value in found for value in values)
