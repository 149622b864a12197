"""A table of difficult rows, and random filters over it, each with its meaning written a second time in Python."""

from __future__ import annotations

import json
import operator
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from mm_milvus.records import Field, FieldType, Schema
from mm_milvus.store.tokens import tokenize

Row = dict[str, Any]
Meaning = Callable[[Row], bool | None]  # None: unknown
Case = tuple[str, Meaning]

TEXTS = [
    *[
        "red",
        "blue",
        "Nike",
        "Nik",
        "Nil",
        "N",
        "n",
        "é",
        "红色T恤",
        "红",
        "🎉",
        "🎉x",
        "\ue000",
        "\uffff",
        "Ω",
    ],
    *["", " ", 'say "hi"', "it's", "back\\slash", "\\", '\\"', "100%", "a_b", "tab\there", "line\nbreak"],
    *[
        "\u2028",
        "\x7f\x85",
        "{value}",
        "-- x",
        "null",
        "true",
        "$meta",
        "line\n",
        "\r\nx\r",
        "a%b%c",
        "\\%_",
        "_",
    ],
    *["Red shoes", "the SHOE's red-brown 红色T恤", "aaaaaaaaab", "👩\u200d👩 Ünïcode"],
    *["x'] or price >= 0 or id in ['x", 'x"] or price >= 0 or id in ["x'],
]
INTS = [0, 1, -1, 2, 3, 5, 42, -7, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63) + 1]
DOUBLES = [0.0, -0.0, 1.0, 2.5, 0.1, -3.75, 10.0, 99.99, 1e22, -1e300, 5e-324, float(2**53), 1e-7]
SIZES = ["S", "M", "L", "XL", 'q"x', "it's", "均码"]

TYPED = {
    "price": FieldType.DOUBLE,
    "stock": FieldType.INT64,
    "color": FieldType.VARCHAR,
    "featured": FieldType.BOOL,
    "sizes": FieldType.ARRAY_VARCHAR,
    "counts": FieldType.ARRAY_INT64,
    "ratios": FieldType.ARRAY_DOUBLE,
    "flags": FieldType.ARRAY_BOOL,
    "specs": FieldType.JSON,
    "ghost": FieldType.VARCHAR,  # no row has it
}
ODD = {
    "net weight": FieldType.DOUBLE,
    "size-eu": FieldType.INT64,
    'a "b" `c` \\ / ~1': FieldType.VARCHAR,
    "颜色": FieldType.VARCHAR,
    "尺码": FieldType.ARRAY_VARCHAR,
    "in": FieldType.VARCHAR,
}
FIELDS = TYPED | ODD
LAYOUTS = {
    "columns": Schema(tuple(Field(name, kind, typed=name in TYPED) for name, kind in FIELDS.items())),
    "dynamic": Schema(tuple(Field(name, kind, typed=False) for name, kind in FIELDS.items())),
}
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
POOLS: dict[FieldType, list[Any]] = {
    FieldType.DOUBLE: DOUBLES,
    FieldType.INT64: INTS,
    FieldType.VARCHAR: TEXTS,
    FieldType.BOOL: [True, False],
}


def table(count: int = 90) -> list[Row]:
    """Rows with about a third of the values missing; the ids are texts of the difficult kind too."""
    rng = random.Random(5)
    return [_row(rng, number) for number in range(count)]


def _row(rng: random.Random, number: int) -> Row:
    row: Row = {"id": f"{number}-{TEXTS[number % len(TEXTS)]}", "text": rng.choice(TEXTS)}
    row |= {"has_image": rng.random() < 0.5, "has_text": rng.random() < 0.5}
    values = {name: _value(rng, kind) for name, kind in FIELDS.items()}
    return row | {name: value for name, value in values.items() if rng.random() < 0.68 and name != "ghost"}


def _value(rng: random.Random, kind: FieldType) -> Any:
    if kind is FieldType.JSON:
        return _json(rng)
    if kind.element is None:
        return rng.choice(POOLS[kind])
    pool = SIZES if kind.element is FieldType.VARCHAR else POOLS[kind.element]
    return rng.choices(pool, k=rng.randrange(4))


def _json(rng: random.Random) -> Row:
    anything = [1, 0, 2, -3, 2.5, 1.0, 2**53 + 1, True, False, "red", "", 'q"x', "红"]
    values = {
        "mixed": rng.choice(anything),
        "weight": rng.choice([1, 2.0, 3.5]),
        "tags": rng.choices([1, 1.0, 2.5, True, False, "a", "b", -4], k=rng.randrange(4)),
        "a/b ~1": {"in": rng.choice(TEXTS)},
    }
    return {key: value for key, value in values.items() if rng.random() < 0.75}


# ---- the language, written a second time


def field(name: str) -> st.SearchStrategy[str]:
    """The ways to write the name of a field."""
    ways = ["`" + name.replace("`", "``") + "`", f"$meta[{json.dumps(name)}]"]
    if all(character.isalnum() or character == "_" for character in name) and name != "in":
        ways.append(name)
    return st.sampled_from(ways)


def literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "False"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=len(value) % 2 == 0)
    return repr(value)


def compared(found: Any, op: str, value: Any) -> bool | None:
    if found is None or isinstance(found, str) != isinstance(value, str) or isinstance(found, list | dict):
        return None
    return bool(OPERATORS[op](found, value))


def unknown_if_missing(name: str, truth: Callable[[Any], bool]) -> Meaning:
    return lambda row: None if row.get(name) is None else truth(row[name])


@st.composite
def comparisons(draw: st.DrawFn) -> Case:
    scalars = [name for name, kind in FIELDS.items() if kind in POOLS] + ["id", "text", "has_image"]
    name = draw(st.sampled_from(scalars))
    kind = FIELDS.get(name, FieldType.BOOL if name == "has_image" else FieldType.VARCHAR)
    pool = [row["id"] for row in table()] if name == "id" else POOLS[kind]
    if kind is FieldType.INT64:
        pool = [*pool, 0.5, -7.25, 3.0]
    if kind is FieldType.DOUBLE:
        pool = [*pool, 3, -5, 2**53]
    op = draw(st.sampled_from(["==", "!="] if kind is FieldType.BOOL else sorted(OPERATORS)))
    value, where = draw(st.sampled_from(pool)), draw(field(name))
    if draw(st.booleans()):
        return f"{where} {op} {literal(value)}", lambda row: compared(row.get(name), op, value)
    return f"{literal(value)} {MIRRORED[op]} {where}", lambda row: compared(row.get(name), op, value)


@st.composite
def chains(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(["price", "stock", "size-eu", "net weight"]))
    low, high = sorted(draw(st.lists(st.sampled_from(INTS), min_size=2, max_size=2)))
    exact = float if FIELDS[name] is FieldType.DOUBLE else int  # a literal takes the type of the field
    text = f"{low} <= {draw(field(name))} < {high}"
    return text, unknown_if_missing(name, lambda found: exact(low) <= found < exact(high))


@st.composite
def memberships(draw: st.DrawFn) -> Case:
    name = draw(
        st.sampled_from(["price", "stock", "color", "featured", "net weight", "颜色", "in", "text", "ghost"])
    )
    pool = POOLS[FIELDS.get(name, FieldType.VARCHAR)]
    values = draw(st.lists(st.sampled_from(pool), max_size=4))
    listed = ", ".join(map(literal, values))
    if draw(st.booleans()):
        return f"{draw(field(name))} in [{listed}]", unknown_if_missing(name, lambda found: found in values)
    return f"{draw(field(name))} not in [{listed}]", unknown_if_missing(
        name, lambda found: found not in values
    )


@st.composite
def prefixes(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(["color", "颜色", "text", "in", "ghost"]))
    whole = draw(st.sampled_from(TEXTS))
    prefix = whole[: draw(st.integers(0, 3))].rstrip("\r\n")
    pattern = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    text = f"{draw(field(name))} like {literal(pattern + '%')}"
    return text, unknown_if_missing(name, lambda found: found.startswith(prefix))


def looks_like(signs: list[str], text: str) -> bool:
    """``like`` by its definition; a sign is a character, "any" or "one"."""
    ends = {0}  # where the signs so far may end
    for sign in signs:
        if sign == "any":
            ends = set(range(min(ends), len(text) + 1)) if ends else ends
        else:
            ends = {end + 1 for end in ends if end < len(text) and sign in ("one", text[end])}
    return len(text) in ends


def as_text(value: Any, truth: Callable[[str], bool]) -> bool | None:
    return truth(value) if isinstance(value, str) else None


@st.composite
def text_fields(draw: st.DrawFn) -> tuple[str, Callable[[Row], Any]]:
    """A field, or a part of one, that holds texts."""
    name = draw(st.sampled_from(["color", "颜色", "text", "in", "ghost", "id", "sizes", "specs"]))
    where = draw(field(name))
    if name == "sizes":
        return f"{where}[0]", lambda row: next(iter(row.get(name) or []), None)
    if name == "specs":
        return f'{where}["mixed"]', lambda row: (row.get(name) or {}).get("mixed")
    return where, lambda row: row.get(name)


@st.composite
def patterns(draw: st.DrawFn) -> Case:
    where, value = draw(text_fields())
    whole = draw(st.sampled_from(TEXTS))
    signs: list[str] = list(whole)
    for _ in range(draw(st.integers(0, 3))):  # a stretch of it may be anything
        start, size = draw(st.integers(0, len(signs))), draw(st.integers(0, 6))
        signs[start : start + size] = draw(st.sampled_from([["any"], ["any"], ["one"], ["one"] * size]))
    if draw(st.booleans()):
        start = draw(st.integers(0, len(whole)))
        signs = ["any", *whole[start : start + draw(st.integers(0, 4))], "any"]
    pattern = "".join({"any": "%", "one": "_"}.get(sign) or "\\" * (sign in "%_\\") + sign for sign in signs)
    word = draw(st.sampled_from(["like", "not like"]))
    text = f"{where} {word} {literal(pattern)}"
    return text, lambda row: as_text(value(row), lambda found: looks_like(signs, found) is (word == "like"))


@st.composite
def words(draw: st.DrawFn) -> Case:
    where, value = draw(text_fields())
    asked = " ".join(
        draw(st.lists(st.sampled_from(["red", "Shoe", "brown!", "红色", "x", "M", "none"]), min_size=1))
    )
    function, quantifier = draw(st.sampled_from([("text_match", any), ("text_match_all", all)]))
    wanted = tokenize(asked).split()
    return f"{function}({where}, {literal(asked)})", lambda row: as_text(
        value(row), lambda found: quantifier(word in tokenize(found).split() for word in wanted)
    )


@st.composite
def equalities(draw: st.DrawFn) -> Case:
    """A chain of values of one field, which becomes a list, with a second field between them now and then."""
    names = draw(st.lists(st.sampled_from(["price", "stock", "color", "net weight"]), min_size=2, max_size=5))
    op, word, join = draw(st.sampled_from([("==", "or", _or), ("!=", "and", _and)]))
    asked = [(name, draw(st.sampled_from(POOLS[FIELDS[name]]))) for name in [names[0], *names]]
    text = f" {word} ".join(f"{draw(field(name))} {op} {literal(value)}" for name, value in asked)
    cases = [("", _comparison(name, op, value)) for name, value in asked]
    return text, join(cases)[1]


def _comparison(name: str, op: str, value: Any) -> Meaning:
    return lambda row: compared(row.get(name), op, value)


@st.composite
def nulls(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from([*FIELDS, "id", "has_text"]))
    where = draw(field(name))
    text, present = draw(
        st.sampled_from(
            [(f"{where} is null", False), (f"{where} is not null", True), (f"exists {where}", True)]
        )
    )
    return text, lambda row: (row.get(name) is not None) is present


@st.composite
def arrays(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(["sizes", "counts", "ratios", "flags", "尺码"]))
    element = FIELDS[name].element
    pool = SIZES if element is FieldType.VARCHAR else POOLS[element]  # type: ignore[index]
    where = draw(field(name))
    if draw(st.booleans()):
        length, op = draw(st.integers(0, 4)), draw(st.sampled_from(sorted(OPERATORS)))
        text = f"array_length({where}) {op} {length}"
        return text, unknown_if_missing(name, lambda found: OPERATORS[op](len(found), length))
    if draw(st.booleans()):
        index, value, op = (
            draw(st.integers(0, 2)),
            draw(st.sampled_from(pool)),
            draw(st.sampled_from(["==", "!="])),
        )
        text = f"{where}[{index}] {op} {literal(value)}"
        return text, lambda row: compared(dict(enumerate(row.get(name) or [])).get(index), op, value)
    values = draw(st.lists(st.sampled_from(pool), max_size=3))
    word, quantifier = draw(st.sampled_from([("any", any), ("all", all)]))
    text = f"array_contains_{word}({where}, [{', '.join(map(literal, values))}])"
    return text, unknown_if_missing(name, lambda found: quantifier(value in found for value in values))


@st.composite
def json_paths(draw: st.DrawFn) -> Case:
    value = draw(st.sampled_from([1, 0, 2, 2.5, 1.0, -3, 2**53 + 1, True, False, "red", "", 'q"x', "红"]))
    key = draw(st.sampled_from(["mixed", "weight", "nothing"]))
    ordered = not isinstance(value, bool)
    op = draw(st.sampled_from(sorted(OPERATORS) if ordered else ["==", "!="]))
    text = f"specs[{json.dumps(key)}] {op} {literal(value)}"
    return text, lambda row: compared((row.get("specs") or {}).get(key), op, value)


@st.composite
def json_others(draw: st.DrawFn) -> Case:
    if draw(st.booleans()):
        value = draw(st.sampled_from(TEXTS))
        text = f'specs["a/b ~1"]["in"] == {literal(value)}'
        return text, lambda row: compared(
            ((row.get("specs") or {}).get("a/b ~1") or {}).get("in"), "==", value
        )
    key = draw(st.sampled_from(["mixed", "weight", "tags", "a/b ~1", "nothing"]))
    if draw(st.booleans()):
        return f"exists specs[{json.dumps(key)}]", lambda row: (row.get("specs") or {}).get(key) is not None
    values = draw(st.lists(st.sampled_from([1, 2.5, True, 0, "a", -4, 7]), min_size=1, max_size=3))
    word, quantifier = draw(st.sampled_from([("any", any), ("all", all)]))
    text = f"json_contains_{word}(specs[{json.dumps(key)}], [{', '.join(map(literal, values))}])"
    return text, lambda row: _holds((row.get("specs") or {}).get(key), values, quantifier)


def _holds(found: Any, values: list[Any], quantifier: Callable[[Any], bool]) -> bool | None:
    if found is None:
        return None
    return isinstance(found, list) and quantifier(value in found for value in values)


def leaves() -> st.SearchStrategy[Case]:
    bare = st.sampled_from(
        [("featured", lambda row: row.get("featured")), ("has_image", lambda row: row["has_image"])]
    )
    kinds = [
        comparisons(),
        chains(),
        memberships(),
        prefixes(),
        patterns(),
        words(),
        equalities(),
        nulls(),
        arrays(),
        json_paths(),
        json_others(),
        bare,
    ]
    return st.one_of(kinds)


def _not(case: Case) -> Case:
    text, meaning = case
    return f"not ({text})", lambda row: None if (truth := meaning(row)) is None else not truth


def _and(cases: list[Case]) -> Case:
    def meaning(row: Row) -> bool | None:
        truths = [one(row) for _, one in cases]
        return False if False in truths else None if None in truths else True

    return " and ".join(f"({text})" for text, _ in cases), meaning


def _or(cases: list[Case]) -> Case:
    def meaning(row: Row) -> bool | None:
        truths = [one(row) for _, one in cases]
        return True if True in truths else None if None in truths else False

    return " || ".join(f"({text})" for text, _ in cases), meaning


def filters(of: st.SearchStrategy[Case] | None = None) -> st.SearchStrategy[Case]:
    """Random filters of these conditions, or of all kinds: (text, meaning)."""

    def grown(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
        several = st.lists(inner, min_size=2, max_size=3)
        return st.one_of(inner.map(_not), several.map(_and), several.map(_or))

    return st.recursive(leaves() if of is None else of, grown, max_leaves=6)


def text_filters() -> st.SearchStrategy[Case]:
    return filters(st.one_of(patterns(), prefixes(), words()))


def rows() -> st.SearchStrategy[Row]:
    """Rows of any texts and numbers, each value missing now and then."""
    texts = st.sampled_from(TEXTS) | st.text(max_size=12)
    scalars = {
        FieldType.VARCHAR: texts,
        FieldType.DOUBLE: st.sampled_from(DOUBLES) | st.floats(allow_nan=False, allow_infinity=False),
        FieldType.INT64: st.sampled_from(INTS) | st.integers(-(2**63), 2**63 - 1),
        FieldType.BOOL: st.booleans(),
    }

    def values(kind: FieldType) -> st.SearchStrategy[Any]:
        if kind is FieldType.JSON:
            return st.randoms(use_true_random=False).map(_json)
        return scalars[kind] if kind.element is None else st.lists(scalars[kind.element], max_size=4)

    own = {"id": texts, "text": texts, "has_image": st.booleans(), "has_text": st.booleans()}
    attributes = {name: values(kind) for name, kind in FIELDS.items() if name != "ghost"}
    return st.fixed_dictionaries(own, optional=attributes)
