"""A filter -> the expression that one kind of Milvus understands, with the same meaning everywhere.

``not`` is pushed down to the comparisons, and every negative comparison asks first whether there is a value: a
server counts ``color != "red"`` as true for a row without a colour, the embedded Milvus does so for ``not in``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from mm_milvus.errors import FilterError, UnknownField
from mm_milvus.records import FieldType, Schema
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
from mm_milvus.store.filters.check import OWN_FIELDS, is_listable
from mm_milvus.store.filters.evaluate import OPERATORS
from mm_milvus.store.filters.quoting import is_column_name, quote
from mm_milvus.store.filters.texts import is_inner

__all__ = ["Dialect", "can_render", "render", "without_not"]

_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
# No server takes a bare true or false. Ids are texts, and no text comes before the empty one.
_TRUE, _FALSE = 'id >= ""', 'id < ""'
_CHAIN = 20  # parts that Milvus Lite is given


class Dialect(Enum):
    """Which Milvus is going to read the expression."""

    LITE = "lite"  # Milvus Lite 3.2: typed nullable columns
    NULLABLE = "nullable"  # servers from 2.5 on: typed nullable columns
    DYNAMIC = "dynamic"  # server 2.3: no nulls, so attributes live in the dynamic field


def can_render(filter: Filter, dialect: Dialect) -> bool:
    """Whether this Milvus can answer exactly what the filter asks.

    ``like "%text%"`` it can from 2.4 on. Of other patterns versions differ in the escapes and in how they read line
    breaks, and Milvus Lite differs with the rest of the filter; words are cut by our own rules. A list of values
    stands behind a whole field, for a server tells numbers and flags apart in parts of JSON. Milvus Lite looks through
    all rows for each part of a chain: 500 parts took 24 s for 20,000 products.
    """
    match filter:
        case And(parts) | Or(parts):
            short = len(parts) <= _CHAIN or dialect is not Dialect.LITE
            return short and all(can_render(part, dialect) for part in parts)
        case Not(part):
            return can_render(part, dialect)
        case Like(ref, pattern):
            return dialect is not Dialect.DYNAMIC and not ref.path and is_inner(pattern)
        case In(ref, values):
            return not values or is_listable(ref) or (dialect is not Dialect.LITE and not ref.path)
    return not isinstance(filter, Match)


def render(filter: Filter, schema: Schema, dialect: Dialect) -> str:
    """The expression for ``dialect``. ``schema`` is the stored one: ``typed`` says which attributes are columns.

    Raises UnknownField when the filter was parsed against other fields, TypeError for what is not ``can_render``.
    """
    if not can_render(filter, dialect):
        raise TypeError(f"{dialect.value} Milvus cannot answer a part of {filter!r}")
    return _Renderer(schema, dialect).text(without_not(filter))


def without_not(filter: Filter) -> Filter:
    """The same filter with its ``Not`` pushed down into the conditions."""
    return _pushed(filter, negated=False)


def _pushed(node: Filter, *, negated: bool) -> Filter:
    """Unknown stays unknown, so a negated comparison is the opposite one."""
    match node:
        case Not(part):
            return _pushed(part, negated=not negated)
        case And(parts) | Or(parts):
            inside = tuple(_pushed(part, negated=negated) for part in parts)
            return And(*inside) if isinstance(node, And) is not negated else Or(*inside)
    return _opposite(node) if negated else node


def _opposite(leaf: Filter) -> Filter:
    match leaf:
        case Compare(ref, op, value):
            return Compare(ref, _OPPOSITE[op], value)
        case Length(ref, op, value):
            return Length(ref, _OPPOSITE[op], value)
        case In(ref, values, negated):
            return In(ref, values, not negated)
        case Contains(ref, values, every, negated):
            return Contains(ref, values, every, not negated)
        case Missing(ref, negated):
            return Missing(ref, not negated)
        case Like(ref, pattern, negated):
            return Like(ref, pattern, not negated)
        case Match(ref, words, every, negated):
            return Match(ref, words, every, not negated)
    raise TypeError(f"not a filter: {leaf!r}")


class _Renderer:
    def __init__(self, schema: Schema, dialect: Dialect) -> None:
        self._fields = {field.name: field for field in schema.fields}
        self._dialect = dialect

    def text(self, node: Filter) -> str:
        match node:
            case And(parts):
                return _joined(" and ", [self.text(part) for part in parts]) or _TRUE
            case Or(parts):
                return _joined(" or ", [self.text(part) for part in parts]) or _FALSE
            case Missing(ref, negated):
                return self._present(ref) if negated else self._missing(ref)
            case Compare(ref, op, value):
                return self._compare(ref, op, value)
            case In():
                return self._in(node)
            case Contains():
                return self._contains(node)
            case Length(ref, op, value):
                return self._length(ref, op, value)
            case Like(ref, pattern, negated):
                condition = f"{self._place(ref)} like {quote(pattern)}"
                return self._guarded(ref, f"(not ({condition}))") if negated else condition
        raise TypeError(f"not a filter: {node!r}")

    # ---- where a value lives

    def _is_column(self, name: str) -> bool:
        if name in OWN_FIELDS:
            return True
        field = self._fields.get(name)
        if field is None:
            raise UnknownField(f"the collection has no field '{name}'")
        if field.typed and not is_column_name(name):
            raise FilterError(f"Milvus cannot filter by a typed column of the name '{name}'; keep it dynamic")
        return field.typed

    def _is_never_null(self, name: str) -> bool:
        """A column of server 2.3 (there is one only for the partition key) always has a value."""
        return name in OWN_FIELDS or (self._dialect is Dialect.DYNAMIC and self._is_column(name))

    def _place(self, ref: Ref) -> str:
        base = ref.name if self._is_column(ref.name) else f"$meta[{quote(ref.name)}]"
        return base + _brackets(ref.path)

    def _word(self, ref: Ref) -> str:
        """The place for ``in`` and array functions, where the embedded Milvus does not take ``$meta``."""
        return ref.name + _brackets(ref.path) if self._dialect is Dialect.LITE else self._place(ref)

    # ---- is there a value

    def _present(self, ref: Ref) -> str:
        if self._is_never_null(ref.name):
            return _TRUE
        if self._dialect is Dialect.LITE:
            return f"{self._place(ref)} is not null"
        if not self._is_column(ref.name):
            return f"(exists {self._place(ref)})"  # exists binds weaker than `and`
        if not ref.path:
            return f"{ref.name} is not null"
        if ref.type is FieldType.JSON:
            return f"(exists {self._place(ref)})"
        return f"({ref.name} is not null and array_length({ref.name}) > {ref.path[0]})"

    def _missing(self, ref: Ref) -> str:
        if self._is_never_null(ref.name):
            return _FALSE
        if self._dialect is Dialect.LITE:
            return f"{self._place(ref)} is null"
        if not self._is_column(ref.name) or (ref.path and ref.type is FieldType.JSON):
            return f"(not {self._present(ref)})"
        if not ref.path:
            return f"{ref.name} is null"
        return f"({ref.name} is null or array_length({ref.name}) <= {ref.path[0]})"

    def _guarded(self, ref: Ref, condition: str) -> str:
        """``condition``, only where there is a value."""
        if self._is_never_null(ref.name):
            return condition
        return f"({self._present(ref)} and {condition})"

    # ---- comparisons

    def _compare(self, ref: Ref, op: str, value: Scalar) -> str:
        if ref.type is FieldType.JSON:
            return self._compare_json(ref, op, value)
        if ref == Ref("id", FieldType.VARCHAR) and op == "==":
            return f"id in [{_literal(value)}]"  # a look-up by key; the embedded Milvus scans for ==
        if ref.type is FieldType.BOOL and op == "!=":
            op, value = "==", not value
        condition = f"{self._place(ref)} {op} {_literal(value)}"
        return self._guarded(ref, condition) if op == "!=" else condition

    def _compare_json(self, ref: Ref, op: str, value: Scalar) -> str:
        """``!=`` is "smaller or greater", so that values of another kind stay out."""
        if op == "!=":
            return f"({self._compare_json(ref, '<', value)} or {self._compare_json(ref, '>', value)})"
        place = self._place(ref)
        ways = [f"{place} {op} {_literal(value)}"]
        if not isinstance(value, str) and self._dialect is not Dialect.LITE:
            # Lite compares true as 1; a server does not compare it with numbers at all.
            ways += [
                f"{place} == {_literal(truth)}" for truth in (True, False) if OPERATORS[op](truth, value)
            ]
        return _joined(" or ", ways)

    def _in(self, node: In) -> str:
        ref = node.ref
        if not node.values:
            return self._present(ref) if node.negated else _FALSE
        values = ", ".join(_literal(value) for value in node.values)
        if 0.0 in node.values and ref.type is FieldType.DOUBLE:
            values += ", -0.0"  # the embedded Milvus tells the two zeros apart here
        condition = f"{self._word(ref)} {'not in' if node.negated else 'in'} [{values}]"
        return self._guarded(ref, condition) if node.negated else condition

    # ---- arrays

    def _contains(self, node: Contains) -> str:
        ref = node.ref
        typed = ref.type is not FieldType.JSON and (
            self._dialect is Dialect.LITE or self._is_column(ref.name)
        )
        function = f"{'array' if typed else 'json'}_contains_{'all' if node.every else 'any'}"
        values = self._all_spellings(node.values) if ref.type is FieldType.JSON else node.values
        condition = f"{function}({self._word(ref)}, [{', '.join(_literal(value) for value in values)}])"
        return self._guarded(ref, f"(not {condition})") if node.negated else condition

    def _all_spellings(self, values: Sequence[Scalar]) -> list[Scalar]:
        """A server tells 1, 1.0 and true apart inside of JSON arrays."""
        spellings = list(values)
        for value in values if self._dialect is not Dialect.LITE else ():
            if isinstance(value, int) and abs(value) <= 2**53:
                spellings.append(float(value))
            if value in (0, 1):
                spellings.append(value == 1)
        return spellings

    def _length(self, ref: Ref, op: str, value: int) -> str:
        if self._dialect is Dialect.LITE or self._is_column(ref.name):
            return self._guarded(ref, f"array_length({self._word(ref)}) {op} {value}")
        # Server 2.3 has only == for lengths, and 0 for a missing array: ask for the last element instead.
        reaches, exceeds = self._reaches(ref, value), self._reaches(ref, value + 1)
        conditions = {
            ">=": reaches,
            ">": exceeds,
            "<": f"(not {reaches})",
            "<=": f"(not {exceeds})",
            "==": f"({reaches} and (not {exceeds}))",
            "!=": f"((not {reaches}) or {exceeds})",
        }
        return self._guarded(ref, conditions[op])

    def _reaches(self, ref: Ref, length: int) -> str:
        """That the array has at least so many elements."""
        place = self._place(ref)
        return f"(exists {place}[{length - 1}])" if length else f"(exists {place})"


def _joined(word: str, parts: Sequence[str]) -> str:
    return f"({word.join(parts)})" if len(parts) > 1 else "".join(parts)


def _brackets(path: Sequence[str | int]) -> str:
    return "".join(f"[{quote(key) if isinstance(key, str) else key}]" for key in path)


def _literal(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else repr(value)
