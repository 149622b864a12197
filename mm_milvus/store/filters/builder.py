"""Filters written in Python: ``F`` makes conditions, and values reach Milvus without being quoted by hand.

    (F.price < 100) & F.color.in_(["red", "blue"])          F.featured & ~F.discontinued
    F.price.between(10, 20) | F.brand.startswith("Nor")     F.color.is_null()
    F.title.contains_text("shoe") & ~F.title.like("A_ %")   F.title.text_match("red shoes", every=True)
    F.sizes.contains("M") & (F.sizes.length() > 2)          F["net weight"] < 2
    F.specs["weight"]["kg"] > 3                             F.sizes[0] == "M"

A condition is a tree without types; it becomes the same filter as an expression in a string once it meets the fields
of a collection, and ``repr`` writes it as such an expression. Conditions have no truth value of their own: write ``&``,
``|`` and ``~`` for and, or and not, with parentheses around comparisons.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from mm_milvus.errors import FilterError
from mm_milvus.records import FieldType
from mm_milvus.store.filters import check
from mm_milvus.store.filters.ast import And, Filter, Not, Or, Ref, Scalar
from mm_milvus.store.filters.chains import shortened, terms
from mm_milvus.store.filters.parser import MAX_DEPTH
from mm_milvus.store.filters.quoting import is_bare_name, one_line
from mm_milvus.store.filters.texts import escaped
from mm_milvus.store.filters.tokens import BUILT

__all__ = ["Condition", "F", "Part"]

Fields = Mapping[str, FieldType]


class Condition:
    """One condition on the attributes, or several of them joined. Immutable."""

    __slots__ = ()
    _depth = 0  # of conditions in each other

    def bind(self, fields: Fields) -> Filter:
        """The filter for these fields (id, text, has_image and has_text come along).

        Raises FilterError for a value that does not fit its field, UnknownField with the nearest name.
        """
        if self._depth > MAX_DEPTH:
            raise FilterError(f"conditions nested in each other more than {MAX_DEPTH} deep")
        filter = shortened(self._bound(fields))
        if terms(filter) > check.MAX_TERMS:
            raise FilterError(
                f"more than {check.MAX_TERMS} comparisons; use .in_([...]) for many values of one field"
            )
        return filter

    def _bound(self, fields: Fields) -> Filter:
        raise NotImplementedError

    def __and__(self, other: Condition) -> Condition:
        return _Joined.of(And, self, other)

    def __or__(self, other: Condition) -> Condition:
        return _Joined.of(Or, self, other)

    def __rand__(self, other: Any) -> NoReturn:
        """``F.price < 100 & F.stock > 0`` is ``100 & F.stock`` to Python."""
        _refuse_joining(other)

    __ror__ = __rand__

    def __invert__(self) -> Condition:
        return _Inverted(self)

    def __bool__(self) -> NoReturn:
        raise FilterError(
            "a condition is neither true nor false; write & for and, | for or, ~ for not, .between(a, b) for a range"
        )


class _Leaf(Condition):
    """A comparison."""

    __slots__ = ("_bind", "_written")

    def __init__(self, bind: Callable[[Fields], Filter], written: Callable[[], str]) -> None:
        self._bind = bind
        self._written = written  # not before it is asked for: there may be many values

    def __repr__(self) -> str:
        return self._written()

    def _bound(self, fields: Fields) -> Filter:
        return self._bind(fields)


class _Inverted(Condition):
    __slots__ = ("_depth", "_part")

    def __init__(self, part: Condition) -> None:
        self._part = part
        self._depth = part._depth + 1

    def __repr__(self) -> str:
        return f"not {self._part!r}" if isinstance(self._part, Part) else f"not ({self._part!r})"

    def _bound(self, fields: Fields) -> Filter:
        return Not(self._part._bound(fields))


class _Joined(Condition):
    """Conditions joined by ``&`` or by ``|``; a long chain of one kind stays flat."""

    __slots__ = ("_depth", "_kind", "_parts")
    _kind: type[And] | type[Or]

    def __init__(self, kind: type[And] | type[Or], left: Condition, right: Condition) -> None:
        sides = [
            (side._parts, side._depth)
            if isinstance(side, _Joined) and side._kind is kind
            else ((side,), side._depth + 1)
            for side in (left, right)
        ]
        self._kind = kind
        self._parts: tuple[Condition, ...] = (*sides[0][0], *sides[1][0])
        self._depth = max(depth for _, depth in sides)

    def __repr__(self) -> str:
        parts = (f"({part!r})" if isinstance(part, _Joined) else repr(part) for part in self._parts)
        return (" and " if self._kind is And else " or ").join(parts)

    @classmethod
    def of(cls, kind: type[And] | type[Or], left: Condition, right: Condition) -> _Joined:
        if not isinstance(right, Condition):
            _refuse_joining(right)
        return cls(kind, left, right)

    def _bound(self, fields: Fields) -> Filter:
        return self._kind(*(part._bound(fields) for part in self._parts))


def _refuse_joining(other: Any) -> NoReturn:
    raise FilterError(
        f"a condition can only be joined with another one, not with {one_line(repr(other))}; "
        "put comparisons in parentheses: (F.price < 100) & (F.stock > 0)"
    )


class _Comparable:
    """What ``== != < <= > >=`` make a condition of."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # equality makes a condition

    def _compare(self, op: str, value: Any) -> Condition:
        raise NotImplementedError

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return self._compare("==", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return self._compare("!=", value)

    def __lt__(self, value: Any) -> Condition:
        return self._compare("<", value)

    def __le__(self, value: Any) -> Condition:
        return self._compare("<=", value)

    def __gt__(self, value: Any) -> Condition:
        return self._compare(">", value)

    def __ge__(self, value: Any) -> Condition:
        return self._compare(">=", value)


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Part(_Comparable, Condition):
    """A field, or a part of it: ``F.price``, ``F["net weight"]``, ``F.specs["kg"]``, ``F.sizes[0]``.

    A bool field is a condition as it stands: ``F.featured``, ``~F.featured``.
    """

    _name: str
    _path: tuple[str | int, ...] = ()

    def __getitem__(self, key: str | int) -> Part:
        if isinstance(key, bool) or not isinstance(key, str | int) or (isinstance(key, int) and key < 0):
            raise FilterError(f"a part of a field is named by a key or an index from 0, not by {key!r}")
        return replace(self, _path=(*self._path, key))

    def __repr__(self) -> str:
        name = self._name if is_bare_name(self._name) else "`" + self._name.replace("`", "``") + "`"
        return name + "".join(f"[{_written(key)}]" for key in self._path)

    def __iter__(self) -> NoReturn:
        raise FilterError("a field is no list; use F.field.contains(value)")

    def __bool__(self) -> NoReturn:
        raise FilterError(
            f"a field is neither true nor false; a flag is asked for by F.{one_line(self._name)} or "
            f"~F.{one_line(self._name)}, joined by & for and, | for or"
        )

    def _bound(self, fields: Fields) -> Filter:
        return check.truth(self._resolve(fields), BUILT)

    def between(self, lowest: Any, highest: Any) -> Condition:
        """``lowest <= field <= highest``."""
        return self._compare(">=", lowest) & self._compare("<=", highest)

    def in_(self, values: Iterable[Any]) -> Condition:
        """The value is one of these; many values cost little."""
        wanted = _scalars(values)
        return self._make(
            lambda ref: check.membership(ref, wanted, negated=False, at=BUILT),
            lambda: f"{self!r} in {_listed(wanted)}",
        )

    def not_in(self, values: Iterable[Any]) -> Condition:
        """There is a value, and it is none of these."""
        wanted = _scalars(values)
        return self._make(
            lambda ref: check.membership(ref, wanted, negated=True, at=BUILT),
            lambda: f"{self!r} not in {_listed(wanted)}",
        )

    def startswith(self, beginning: str) -> Condition:
        """The text begins like this; upper and lower case differ."""
        return self.like(f"{escaped(_text(beginning))}%")

    def endswith(self, ending: str) -> Condition:
        """The text ends like this; upper and lower case differ."""
        return self.like(f"%{escaped(_text(ending))}")

    def contains_text(self, part: str) -> Condition:
        """The text has this somewhere, be it within a word; upper and lower case differ."""
        return self.like(f"%{escaped(_text(part))}%")

    def like(self, pattern: str) -> Condition:
        """As ``like`` in an expression: ``"Nor%"``, ``"%shoe%"``; ``%`` is any text, ``_`` one character."""
        wanted = _text(pattern)
        return self._make(
            lambda ref: check.like(ref, wanted, BUILT), lambda: f"{self!r} like {_written(wanted)}"
        )

    def text_match(self, words: str, *, every: bool = False) -> Condition:
        """The text has one of these words, or ``every`` one, whatever their case and endings."""
        wanted = _text(words)
        function = "text_match_all" if every else "text_match"
        return self._make(
            lambda ref: check.match(ref, wanted, every, BUILT),
            lambda: f"{function}({self!r}, {_written(wanted)})",
        )

    def is_null(self) -> Condition:
        """There is no value."""
        return self._make(lambda ref: check.missing(ref, negated=False), lambda: f"{self!r} is null")

    def is_not_null(self) -> Condition:
        """There is a value."""
        return self._make(lambda ref: check.missing(ref, negated=True), lambda: f"{self!r} is not null")

    def contains(self, value: Any) -> Condition:
        """The array (or the JSON list) holds this value."""
        return self._contains([value], every=False)

    def contains_any(self, values: Iterable[Any]) -> Condition:
        """It holds one of these values."""
        return self._contains(values, every=False)

    def contains_all(self, values: Iterable[Any]) -> Condition:
        """It holds all of these values."""
        return self._contains(values, every=True)

    def length(self) -> _Length:
        """Number of elements of the array, to be compared: ``F.sizes.length() > 2``."""
        return _Length(self)

    def _compare(self, op: str, value: Any) -> Condition:
        if value is None and op in ("==", "!="):
            return self.is_null() if op == "==" else self.is_not_null()
        literal = _scalar(value)
        return self._make(
            lambda ref: check.compare(ref, op, literal, BUILT), lambda: f"{self!r} {op} {_written(literal)}"
        )

    def _contains(self, values: Iterable[Any], *, every: bool) -> Condition:
        wanted = _scalars(values)
        kind = "json" if any(isinstance(key, str) for key in self._path) else "array"
        function = f"{kind}_contains_{'all' if every else 'any'}"
        return self._make(
            lambda ref: check.contains(ref, wanted, every, BUILT),
            lambda: f"{function}({self!r}, {_listed(wanted)})",
        )

    def _make(self, make: Callable[[Ref], Filter], written: Callable[[], str]) -> Condition:
        return _Leaf(lambda fields: make(self._resolve(fields)), written)

    def _resolve(self, fields: Fields) -> Ref:
        return check.resolve(self._name, self._path, fields, BUILT)


@dataclass(frozen=True, eq=False, slots=True)
class _Length(_Comparable):
    _part: Part

    def _compare(self, op: str, value: Any) -> Condition:
        literal = _scalar(value)
        return self._part._make(
            lambda ref: check.length(check.array(ref, BUILT), op, literal, BUILT),
            lambda: f"array_length({self._part!r}) {op} {_written(literal)}",
        )


class _Fields:
    """``F.name`` and ``F["any name"]``."""

    def __getattr__(self, name: str) -> Part:
        if name.startswith("__"):  # what Python itself asks for, to copy an object for instance
            raise AttributeError(name)
        return Part(name)

    def __getitem__(self, name: str) -> Part:
        if not isinstance(name, str):
            raise FilterError(f"a field has a name, not {name!r}")
        return Part(name)


F = _Fields()


def _scalar(value: Any) -> Scalar:
    """Plain numbers, texts and flags; those of numpy too."""
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if isinstance(plain, bool | int | float | str):
        return plain
    if isinstance(value, Condition | _Length):
        raise FilterError("a field is compared with a value, not with another field")
    raise FilterError(
        f"a field is compared with a number, a text or a flag, not with {one_line(repr(value))}"
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise FilterError(f"a text is compared with a text, not with {one_line(repr(value))}")
    return value


def _scalars(values: Iterable[Any]) -> list[tuple[Scalar, int]]:
    """As the checks want them: each with its position."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise FilterError(f"expected a list of values, got {one_line(repr(values))}")
    return [(_scalar(value), BUILT) for value in values]


def _written(value: Scalar) -> str:
    """The literal, as an expression has it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _listed(values: Iterable[tuple[Scalar, int]]) -> str:
    return f"[{', '.join(_written(value) for value, _ in values)}]"
