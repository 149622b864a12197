"""Which value may meet which field. Every node of a filter is made here, with its literals in the field's type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import floor, isfinite

from mm_milvus.errors import FilterError, UnknownField
from mm_milvus.records import FieldType
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
    Or,
    Ref,
    Scalar,
)
from mm_milvus.store.filters.quoting import check_text, is_bare_name, one_line, shown
from mm_milvus.store.filters.texts import literal, pieces, words
from mm_milvus.store.filters.tokens import fail

__all__ = [
    "MAX_PATTERN",
    "MAX_TERMS",
    "MAX_VALUES",
    "OWN_FIELDS",
    "array",
    "compare",
    "contains",
    "is_listable",
    "length",
    "like",
    "match",
    "membership",
    "missing",
    "resolve",
    "truth",
]

MAX_VALUES = 100_000  # of one `in`
MAX_PATTERN = 1_000  # characters of a pattern with wildcards, or of the words to look for
MAX_TERMS = 500  # a server takes seconds to parse a thousand, most of a minute for 5,000

# Columns of ours that filters may name. Every row has them, on every Milvus.
OWN_FIELDS = {
    "id": FieldType.VARCHAR,
    "text": FieldType.VARCHAR,
    "has_image": FieldType.BOOL,
    "has_text": FieldType.BOOL,
}
_MAX_INT = 2**63 - 1  # and its negative: a server cannot read -2**63
_MAX_LENGTH = 65_536
_A = {FieldType.INT64: "an int64", FieldType.JSON: "json"}
_KINDS = {bool: "bool", int: "integer", float: "number", str: "string"}


def resolve(name: str, path: Sequence[str | int], fields: Mapping[str, FieldType], at: int) -> Ref:
    """The field, or the part of it. Raises UnknownField with the nearest name, FilterError for a wrong path."""
    known = {**fields, **OWN_FIELDS}
    if name not in known:
        near = get_close_matches(name, list(known), n=1)
        hint = f"; did you mean '{shown(near[0])}'?" if near else _known(known)
        raise UnknownField(f"the collection has no field '{one_line(name)}'{hint}")
    check_text(name)
    kind = known[name]
    if not path:
        return Ref(name, kind)
    if kind is FieldType.JSON:
        return Ref(name, kind, _json_path(path, at))
    if kind.element is None:
        fail(at, f"{shown(name)} is {_a(kind)}; only json and array fields have parts in brackets")
    if len(path) > 1 or not isinstance(path[0], int):
        fail(at, f"{shown(name)} is {_a(kind)}; its elements are {shown(name)}[0], {shown(name)}[1], ...")
    return Ref(name, kind.element, tuple(path))


def _known(known: Mapping[str, FieldType]) -> str:
    names = ", ".join(shown(name) for name in sorted(known)[:20])
    return f"; it has {names}" + (", ..." if len(known) > 20 else "")


def _json_path(path: Sequence[str | int], at: int) -> tuple[str | int, ...]:
    for key in path:
        if key == "":
            fail(at, "a json key cannot be empty")
        if isinstance(key, str):
            check_text(key)
    return tuple(path)


def truth(ref: Ref, at: int) -> Filter:
    """A field that stands alone."""
    if ref.type is not FieldType.BOOL:
        fail(at, f"{_part(ref)} is {_a(ref.type)} and needs a comparison, like {_example(ref)}")
    return Compare(ref, "==", True)


def compare(ref: Ref, op: str, literal: Scalar, at: int) -> Filter:
    """``ref op literal``; ``at`` is where the literal stands."""
    _comparable(ref, at)
    value = _coerce(ref, ref.type, literal, at)
    if isinstance(literal, bool) and op not in ("==", "!="):
        fail(at, f"true and false have no order; compare {_part(ref)} with == or !=")
    if ref.type is FieldType.INT64 and isinstance(value, float):
        return _between_integers(ref, op, value)
    if ref.type is FieldType.BOOL and op == "!=":
        return Compare(ref, "==", not value)
    return Compare(ref, op, value)


def membership(ref: Ref, literals: Sequence[tuple[Scalar, int]], negated: bool, at: int) -> Filter:
    """``ref in [...]``; each literal comes with its position."""
    _comparable(ref, at)
    if len(literals) > MAX_VALUES:
        fail(at, f"a list of {len(literals)} values; {MAX_VALUES} are the most")
    values = tuple(dict.fromkeys(_coerce(ref, ref.type, value, where) for value, where in literals))
    if ref.type is FieldType.INT64:
        values = tuple(value for value in values if not isinstance(value, float))
    if negated and len({isinstance(value, str) for value in values}) > 1:
        fail(at, "the values of one 'not in' must be all numbers or all strings")
    if not values or is_listable(ref) or len(values) > MAX_TERMS:
        return In(ref, values, negated)
    if negated:
        return And(*(Compare(ref, "!=", value) for value in values))
    return Or(*(Compare(ref, "==", value) for value in values))


def is_listable(ref: Ref) -> bool:
    """Whether the part may stand before ``in``: the embedded Milvus takes only a plain name there."""
    return not ref.path and is_bare_name(ref.name)


def like(ref: Ref, pattern: str, at: int) -> Filter:
    """``ref like "%abc_"``: ``%`` is any text, ``_`` one character; ``\\%`` and ``\\_`` stand for themselves.

    A prefix becomes a range of strings: all Milvus versions order strings by code point, while their ``like``
    differ.
    """
    _textual(ref, "'like'", at)
    _coerce(ref, FieldType.VARCHAR, pattern, at)
    beginning, *others = pieces(pattern)
    start = literal(beginning)
    if start is not None and others in ([], [""]):
        simple = _beginning(ref, start) if others else Compare(ref, "==", start)
        if simple is not None:
            return simple
    if len(pattern) > MAX_PATTERN:
        fail(at, f"a pattern of {len(pattern)} characters; {MAX_PATTERN} are the most")
    return Like(ref, "%".join([beginning, *others]))


def _beginning(ref: Ref, prefix: str) -> Filter | None:
    """The range of the texts that begin so; None where no filter can hold its end."""
    kept = prefix.rstrip("\U0010ffff")
    start = Compare(ref, ">=", prefix)
    if not kept:
        return start
    if kept[-1] in "\r\n":  # a control character follows
        return None
    last = "\ue000" if kept[-1] == "\ud7ff" else chr(ord(kept[-1]) + 1)
    return And(start, Compare(ref, "<", kept[:-1] + last))


def match(ref: Ref, text: str, every: bool, at: int) -> Filter:
    """``text_match(ref, text)``, or ``text_match_all``: the words of ``text`` are in the field."""
    _textual(ref, "text_match", at)
    if len(text) > MAX_PATTERN:
        fail(at, f"words of {len(text)} characters; {MAX_PATTERN} are the most")
    found = words(text)
    if not found:
        fail(at, f"there is no word in {one_line(repr(text))}")
    return Match(ref, found, every)


def _textual(ref: Ref, use: str, at: int) -> None:
    _comparable(ref, at)
    if ref.type not in (FieldType.VARCHAR, FieldType.JSON):
        fail(at, f"{_part(ref)} is {_a(ref.type)}; {use} needs a varchar")


def contains(ref: Ref, literals: Sequence[tuple[Scalar, int]], every: bool, at: int) -> Filter:
    """``array_contains*(ref, ...)`` on an array field or anywhere below a JSON field."""
    element = FieldType.JSON if ref.type is FieldType.JSON else ref.type.element
    if element is None:
        fail(at, f"{_part(ref)} is {_a(ref.type)}; array functions need an array")
    _bare(ref, at)
    if len(literals) > MAX_VALUES:
        fail(at, f"a list of {len(literals)} values; {MAX_VALUES} are the most")
    values = dict.fromkeys(_coerce(ref, element, value, where) for value, where in literals)
    possible = tuple(v for v in values if not (element is FieldType.INT64 and isinstance(v, float)))
    if every and len(possible) < len(values):
        return In(ref, ())
    if not possible:
        return In(ref, (), negated=every)
    if every and element is FieldType.JSON:
        return And(*(Contains(ref, (value,)) for value in possible))
    return Contains(ref, possible, every)


def length(ref: Ref, op: str, literal: Scalar, at: int) -> Filter:
    """``array_length(ref) op literal``."""
    if isinstance(literal, bool) or not isinstance(literal, int):
        fail(at, f"a length is compared with a whole number, not with {_literal(literal)}")
    if not 0 <= literal <= _MAX_LENGTH:
        fail(at, f"no array has a length of {literal}")
    return Length(ref, op, literal)


def array(ref: Ref, at: int) -> Ref:
    """``ref`` if ``array_length`` can be asked of it."""
    if ref.type.element is None:
        fail(at, f"{_part(ref)} is {_a(ref.type)}; array_length needs an array field")
    _bare(ref, at)
    return ref


def missing(ref: Ref, negated: bool) -> Filter:
    return Missing(ref, negated)


def _bare(ref: Ref, at: int) -> None:
    if not is_bare_name(ref.name):
        fail(
            at,
            f"array functions need a field name of letters, digits and '_', not {shown(ref.name)}; map the field",
        )


def _comparable(ref: Ref, at: int) -> None:
    if ref.type.element is not None:
        fail(
            at,
            f"{_part(ref)} is {_a(ref.type)}; use array_contains({shown(ref.name)}, ...) or {shown(ref.name)}[0]",
        )
    if ref.type is FieldType.JSON and not ref.path:
        fail(at, f'{_part(ref)} is json; name a key of it, like {shown(ref.name)}["key"]')


def _coerce(ref: Ref, kind: FieldType, literal: Scalar, at: int) -> Scalar:
    """The literal in the type of the field; a float stays one where an int64 can never equal it."""
    convert = _CONVERSIONS[kind]
    try:
        value = convert(literal)
    except FilterError as error:
        fail(at, str(error))
    except OverflowError:
        fail(at, f"{_literal(literal)} is out of the range of {_part(ref)}, {_a(kind)}")
    if value is None:
        fail(at, f"{_part(ref)} is {_a(ref.type)}, cannot be compared with {_literal(literal)}")
    return value


def _to_text(literal: Scalar) -> Scalar | None:
    if not isinstance(literal, str):
        return None
    check_text(literal)
    return literal


def _to_bool(literal: Scalar) -> Scalar | None:
    return literal if isinstance(literal, bool) else None


def _to_int(literal: Scalar) -> Scalar | None:
    if isinstance(literal, bool | str):
        return None
    if isinstance(literal, float) and not (isfinite(literal) and literal.is_integer()):
        return _to_double(literal)
    if abs(literal) > _MAX_INT:
        raise OverflowError
    return int(literal)


def _to_double(literal: Scalar) -> Scalar | None:
    if isinstance(literal, bool | str):
        return None
    if not isfinite(float(literal)):
        raise OverflowError
    return float(literal) + 0.0  # -0.0 becomes 0.0


def _to_json(literal: Scalar) -> Scalar | None:
    if isinstance(literal, str):
        return _to_text(literal)
    if isinstance(literal, float) and abs(literal) > _MAX_INT:
        return _to_double(literal)
    return _to_int(int(literal) if isinstance(literal, bool) else literal)


_CONVERSIONS: Mapping[FieldType, Callable[[Scalar], Scalar | None]] = {
    FieldType.VARCHAR: _to_text,
    FieldType.BOOL: _to_bool,
    FieldType.INT64: _to_int,
    FieldType.DOUBLE: _to_double,
    FieldType.JSON: _to_json,
}


def _between_integers(ref: Ref, op: str, value: float) -> Filter:
    """An int64 against 3.5, exactly: Milvus would round big integers to doubles."""
    if op in ("==", "!="):
        return In(ref, (), negated=op == "!=")
    return Compare(ref, "<=" if op in ("<", "<=") else ">", floor(value))


def _a(kind: FieldType) -> str:
    return _A.get(kind) or f"{'an' if kind.element else 'a'} {kind.value}"


def _part(ref: Ref) -> str:
    return shown(ref.name) + "".join(f"[{key!r}]" for key in ref.path)


def _literal(literal: Scalar) -> str:
    text = ("false", "true")[literal] if isinstance(literal, bool) else repr(literal)
    return f"the {_KINDS[type(literal)]} {one_line(text)}"


def _example(ref: Ref) -> str:
    if ref.type is FieldType.VARCHAR:
        return f'{_part(ref)} == "..."'
    if ref.type is FieldType.JSON and not ref.path:
        return f'{_part(ref)}["key"] > 0'
    return f"array_contains({_part(ref)}, ...)" if ref.type.element else f"{_part(ref)} > 0"
