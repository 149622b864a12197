"""The parts of a parsed filter: immutable, typed against the fields, free of text and of quoting.

Meaning: a comparison with a missing value is *unknown*, as in SQL. ``not`` leaves unknown unknown, ``and`` and
``or`` follow Kleene, and a row passes when the whole is true. So both ``color == "red"`` and its negation leave
out a row without a colour; ``color is null`` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mm_milvus.records import FieldType

__all__ = [
    "And",
    "Compare",
    "Contains",
    "Filter",
    "In",
    "Length",
    "Like",
    "Match",
    "Missing",
    "Not",
    "Or",
    "Ref",
    "Scalar",
    "fields_of",
]

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Ref:
    """A field, or the part of it that ``path`` names (keys of JSON, an index of an array)."""

    name: str
    type: (
        FieldType  # of the part: the element type for an array element, JSON for anything below a JSON field
    )
    path: tuple[str | int, ...] = ()


class Filter:
    """Base of all nodes. Nodes compare by value."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Compare(Filter):
    """``ref op value``, op one of ``== != < <= > >=``; the value has the type of the reference.

    Below a JSON field only values of one kind compare, any others are unknown; true counts as 1, false as 0.
    """

    ref: Ref
    op: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class In(Filter):
    """The value is one of ``values``. With no values it is false wherever there is a value at all."""

    ref: Ref
    values: tuple[Scalar, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Missing(Filter):
    """The field has no value. Never unknown."""

    ref: Ref
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Contains(Filter):
    """The array holds any (or ``every``) one of ``values``, which are not empty."""

    ref: Ref
    values: tuple[Scalar, ...]
    every: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Length(Filter):
    """The number of elements of the array compares so with ``value`` (>= 0)."""

    ref: Ref
    op: str
    value: int


@dataclass(frozen=True, slots=True)
class Like(Filter):
    """The text looks like ``pattern`` (see ``texts``). Below a JSON field it is unknown for what is no text."""

    ref: Ref
    pattern: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Match(Filter):
    """The text has any (or ``every``) one of ``words``, which are as ``texts.words`` gives them and not empty."""

    ref: Ref
    words: tuple[str, ...]
    every: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True, init=False)
class And(Filter):
    """``And(a, b, ...)``: all parts hold; true without parts."""

    parts: tuple[Filter, ...]

    def __init__(self, *parts: Filter) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True, init=False)
class Or(Filter):
    """``Or(a, b, ...)``: one of the parts holds; false without parts."""

    parts: tuple[Filter, ...]

    def __init__(self, *parts: Filter) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """``Not(a)``: the part is false (not unknown)."""

    part: Filter


def fields_of(filter: Filter) -> set[str]:
    """The names of all fields that the filter asks about."""
    match filter:
        case And(parts) | Or(parts):
            return set().union(*map(fields_of, parts))
        case Not(part):
            return fields_of(part)
    ref: Ref = filter.ref  # type: ignore[attr-defined]
    return {ref.name}
