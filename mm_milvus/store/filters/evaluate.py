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
    Like,
    Match,
    Missing,
    Not,
    Or,
    Ref,
    Scalar,
)
from mm_milvus.store.filters.texts import looks_like, words_in

__all__ = ["OPERATORS", "matches", "predicate"]

Row = Mapping[str, Any]
Reader = Callable[[Row], Any]
Truth = Callable[[Row], bool | None]  # None: unknown

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(filter: Filter, row: Row) -> bool:
    """Whether a row of attributes (with ``id`` and the like, where asked for) passes; absent and None are missing."""
    return _compiled(filter)(row) is True


def predicate(filter: Filter) -> Callable[[Row], bool]:
    """``matches`` of this filter, for many rows."""
    truth = _compiled(filter)
    return lambda row: truth(row) is True


def _compiled(node: Filter) -> Truth:
    match node:
        case And(parts):
            return _kleene([_compiled(part) for part in parts], decisive=False)
        case Or(parts):
            return _kleene([_compiled(part) for part in parts], decisive=True)
        case Not(part):
            return _negated(_compiled(part), True)
        case Missing(ref, negated):
            return _missing(_reader(ref), negated)
        case Compare(ref, op, value):
            return _compared(_reader(ref), op, value)
        case In(ref, values, negated):
            return _negated(_among(_reader(ref), values), negated)
        case Contains(ref, values, every, negated):
            return _negated(_of_value(_reader(ref), _containing(values, every)), negated)
        case Length(ref, op, value):
            return _of_value(_reader(ref), lambda found: OPERATORS[op](len(found), value))
        case Like(ref, pattern, negated):
            return _negated(_of_text(_reader(ref), looks_like(pattern)), negated)
        case Match(ref, words, every, negated):
            return _negated(_of_text(_reader(ref), words_in(words, every)), negated)
    raise TypeError(f"not a filter: {node!r}")


def _kleene(parts: Sequence[Truth], *, decisive: bool) -> Truth:
    def truth(row: Row) -> bool | None:
        unknown = False
        for part in parts:
            found = part(row)
            if found is decisive:
                return decisive
            unknown |= found is None
        return None if unknown else not decisive

    return truth


def _negated(truth: Truth, negated: bool) -> Truth:
    if not negated:
        return truth
    return lambda row: None if (found := truth(row)) is None else not found


def _reader(ref: Ref) -> Reader:
    """Reads the value, None where there is none."""
    name, path = ref.name, ref.path
    if not path:
        return lambda row: row.get(name)

    def read(row: Row) -> Any:
        value = row.get(name)
        for key in path:
            if isinstance(key, str):
                value = value.get(key) if isinstance(value, Mapping) else None
            else:
                value = value[key] if isinstance(value, list | tuple) and key < len(value) else None
        return value

    return read


def _of_value(read: Reader, holds: Callable[[Any], bool]) -> Truth:
    """Unknown where there is no value."""
    return lambda row: None if (found := read(row)) is None else holds(found)


def _of_text(read: Reader, holds: Callable[[str], bool]) -> Truth:
    """Unknown where there is no text."""
    return lambda row: holds(found) if isinstance(found := read(row), str) else None


def _missing(read: Reader, negated: bool) -> Truth:
    return lambda row: (read(row) is None) is not negated


def _compared(read: Reader, op: str, value: Scalar) -> Truth:
    """Unknown for a value of another kind too."""
    kinds = _comparable(value)
    compare = OPERATORS[op]
    return lambda row: compare(found, value) if isinstance(found := read(row), kinds) else None


def _among(read: Reader, values: Sequence[Scalar]) -> Truth:
    """Unknown for a value of another kind too, as a comparison with each of ``values`` is."""
    if not values:
        return _of_value(read, lambda found: False)
    wanted = frozenset(values)
    kinds = {_comparable(value) for value in values}
    known = sum(kinds, ())
    otherwise = False if len(kinds) == 1 else None  # not equal to the one kind, and unknown for the other
    return lambda row: (found in wanted or otherwise) if isinstance(found := read(row), known) else None


def _comparable(value: Scalar) -> tuple[type, ...]:
    """What is compared with such a value."""
    return (str,) if isinstance(value, str) else (bool, int, float)


def _containing(values: Sequence[Scalar], every: bool) -> Callable[[Any], bool]:
    """False for a JSON value that is no list."""
    quantifier = all if every else any
    return lambda found: isinstance(found, list | tuple) and quantifier(value in found for value in values)
