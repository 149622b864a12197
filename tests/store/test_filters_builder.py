"""``F`` says the same as an expression in a string, and says what is wrong in the same words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_milvus import F
from mm_milvus.errors import FilterError, UnknownField
from mm_milvus.records import FieldType
from mm_milvus.store.filters import And, Condition, Dialect, Filter, Not, Or, can_render, matches, parse
from mm_milvus.store.filters.ast import Compare, Contains, In, Length, Like, Match, Missing, Ref
from mm_milvus.store.filters.builder import Part
from tests.store.test_filters_cases import FIELDS, Case, Row, filters, literal, rows, table, text_filters

ROWS = table()
EQUAL: list[tuple[Condition, str]] = [
    (F.price < 100, "price < 100"),
    ((F.price >= 10) & (F.price <= 20), "price >= 10 and price <= 20"),
    (F.price.between(10, 20), "price >= 10 and price <= 20"),
    (F.color == "red", 'color == "red"'),
    (F.color != 'q"uo\\te', 'color != "q\\"uo\\\\te"'),
    (F.color == None, "color is null"),  # noqa: E711
    (F.color != None, "exists color"),  # noqa: E711
    (F.color.is_null(), "color is null"),
    (F.color.is_not_null(), "color is not null"),
    (F.color.in_(["red", "blue"]), 'color in ["red", "blue"]'),
    (F.color.in_(word for word in ("red",)), 'color in ["red"]'),
    (F.color.not_in(["红色"]), 'color not in ["红色"]'),
    (F.color.in_([]), "color in []"),
    (F.color.startswith("Ni"), 'color like "Ni%"'),
    (F.color.startswith("100%_\\"), 'color like "100\\\\%\\\\_\\\\\\\\%"'),
    (F.color.like("N%"), 'color like "N%"'),
    (F.color.like("%k_%"), 'color like "%k_%"'),
    (F.color.endswith("100%"), 'color like "%100\\%"'),
    (F.color.contains_text("ik"), 'color like "%ik%"'),
    (F.color.contains_text(""), 'color like "%%"'),
    (~F.color.contains_text("_"), 'color not like "%\\_%"'),
    (F.color.text_match("Red SHOES"), 'text_match(color, "red shoe shoe")'),
    (F.color.text_match("红色", every=True), 'text_match_all(color, "红色")'),
    (F.specs["a"].contains_text("b"), 'specs["a"] like "%b%"'),
    (F.featured == True, "featured"),  # noqa: E712
    (F.featured, "featured"),
    (~F.featured, "not featured"),
    (~~F.featured, "not (not featured)"),
    (F.featured & (F.price < 3), "featured and price < 3"),
    ((F.price < 3) | F.featured | ~F.has_image, "price < 3 or featured or not has_image"),
    (F.sizes.contains("M"), 'array_contains(sizes, "M")'),
    (F.sizes.contains_any(["S", "M"]), 'array_contains_any(sizes, ["S", "M"])'),
    (F.sizes.contains_all(("S", "M")), 'array_contains_all(sizes, ["S", "M"])'),
    (F.sizes.length() > 2, "array_length(sizes) > 2"),
    (F.sizes[0] == "M", 'sizes[0] == "M"'),
    (F.specs["weight"] > 3, 'specs["weight"] > 3'),
    (F.specs["tags"].contains("a"), 'json_contains(specs["tags"], "a")'),
    (F["net weight"] < 2, "`net weight` < 2"),
    (F["颜色"] == "红", '颜色 == "红"'),
    (F.stock == np.int64(3), "stock == 3"),
    (F.price > np.float32(0.5), "price > 0.5"),
    ((F.price < 1) | (F.stock > 1) | (F.color == "x"), 'price < 1 or stock > 1 or color == "x"'),
    (~((F.price < 1) | F.stock.in_([1])), "not (price < 1 or stock in [1])"),
]


@pytest.mark.parametrize(
    ("condition", "text"), EQUAL, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_condition_is_the_filter_of_the_expression(condition: Condition, text: str) -> None:
    assert condition.bind(FIELDS) == parse(text, FIELDS)


@pytest.mark.parametrize("condition", [condition for condition, _ in EQUAL], ids=repr)
def test_a_condition_is_written_as_an_expression_that_means_the_same(condition: Condition) -> None:
    assert parse(repr(condition), FIELDS) == condition.bind(FIELDS)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ((F.price < 100) & ~F.featured, "price < 100 and not featured"),
        (
            F.price.between(1, 2) & (F.color.in_(["red", 'b"']) | (F.stock == -3)),
            'price >= 1 and price <= 2 and (color in ["red", "b\\""] or stock == -3)',
        ),
        (~(F.featured == True), "not (featured == true)"),  # noqa: E712
        (F["net `weight`"] > 1.5, "`net ``weight``` > 1.5"),
        (F.specs["kg"][0].contains("a"), 'json_contains_any(specs["kg"][0], ["a"])'),
        (F.color.startswith("100%"), 'color like "100\\\\%%"'),
        (F.specs, "specs"),
    ],
)
def test_what_a_condition_looks_like(condition: Condition, text: str) -> None:
    assert repr(condition) == text


def _part(ref: Ref) -> Part:
    part = F[ref.name]
    for key in ref.path:
        part = part[key]
    return part


def _compared(left: Any, op: str, value: Any) -> Condition:
    by_op = {
        "==": left.__eq__, "!=": left.__ne__, "<": left.__lt__, "<=": left.__le__, ">": left.__gt__,
        ">=": left.__ge__,
    }  # fmt: skip
    return by_op[op](value)


def rebuilt(node: Filter) -> Condition:
    """The same filter, by ``F``."""
    match node:
        case And(parts) | Or(parts):
            first, *others = map(rebuilt, parts)
            for other in others:
                first = first & other if isinstance(node, And) else first | other
            return first
        case Not(part):
            return ~rebuilt(part)
        case Compare(ref, op, value):
            return _compared(_part(ref), op, value)
        case In(ref, (), negated) if (
            ref.type.element or ref.type is FieldType.JSON
        ):  # array_contains_*(ref, [])
            return _part(ref).contains_all([]) if negated else _part(ref).contains_any([])
        case In(ref, values, negated):
            return _part(ref).not_in(values) if negated else _part(ref).in_(values)
        case Missing(ref, negated):
            return _part(ref).is_not_null() if negated else _part(ref).is_null()
        case Contains(ref, values, every, negated):
            found = _part(ref).contains_all(values) if every else _part(ref).contains_any(values)
            return ~found if negated else found
        case Length(ref, op, value):
            return _compared(_part(ref).length(), op, value)
        case Like(ref, pattern, negated):
            return ~_part(ref).like(pattern) if negated else _part(ref).like(pattern)
        case Match(ref, words, every, negated):
            found = _part(ref).text_match(" ".join(words), every=every)
            return ~found if negated else found
    raise TypeError(node)


def _path(ref: Ref) -> str:
    return f"$meta[{literal(ref.name)}]" + "".join(
        f"[{literal(key) if isinstance(key, str) else key}]" for key in ref.path
    )


def _list(values: Iterable[Any]) -> str:
    return f"[{', '.join(map(literal, values))}]"


def written(node: Filter) -> str:
    """The same filter, as an expression."""
    match node:
        case And(parts) | Or(parts):
            return "(" + (" and " if isinstance(node, And) else " or ").join(map(written, parts)) + ")"
        case Not(part):
            return f"not ({written(part)})"
        case Compare(ref, op, value):
            return f"{_path(ref)} {op} {literal(value)}"
        case In(ref, (), negated) if ref.type.element or ref.type is FieldType.JSON:
            return f"array_contains_{'all' if negated else 'any'}({_path(ref)}, [])"
        case In(ref, values, negated):
            return f"{_path(ref)} {'not ' * negated}in {_list(values)}"
        case Missing(ref, negated):
            return f"{_path(ref)} is {'not ' * negated}null"
        case Contains(ref, values, every, negated):
            return (
                f"{'not ' * negated}array_contains_{'all' if every else 'any'}({_path(ref)}, {_list(values)})"
            )
        case Length(ref, op, value):
            return f"array_length({_path(ref)}) {op} {value}"
        case Like(ref, pattern, negated):
            return f"{_path(ref)} {'not ' * negated}like {literal(pattern)}"
        case Match(ref, words, every, negated):
            return f"{'not ' * negated}text_match{'_all' * every}({_path(ref)}, {literal(' '.join(words))})"
    raise TypeError(node)


RANDOM = settings(max_examples=400, deadline=None, derandomize=True, database=None)


@RANDOM
@given(filters() | text_filters())
def test_expressions_and_conditions_make_the_same_tree(case: Case) -> None:
    tree = parse(case[0], FIELDS)
    assert parse(written(tree), FIELDS) == tree
    condition = rebuilt(tree)
    assert condition.bind(FIELDS) == tree
    assert parse(repr(condition), FIELDS) == tree


@RANDOM
@given(filters() | text_filters(), st.lists(rows(), max_size=5))
def test_any_rows_pass_as_the_filter_means(case: Case, some: list[Row]) -> None:
    text, meaning = case
    tree = parse(text, FIELDS)
    for row in [*ROWS, *some]:
        assert matches(tree, row) is (meaning(row) is True), (text, row)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: F.prise < 1, UnknownField, "did you mean 'price'"),
        (lambda: F.price < "1", FilterError, "price is a double, cannot be compared with the string '1'"),
        (lambda: F.color == F.ghost, FilterError, "not with another field"),
        (lambda: F.color == [1], FilterError, "a number, a text or a flag, not with"),
        (lambda: F.color.in_("red"), FilterError, "expected a list of values, got 'red'"),
        (lambda: F.color.in_([None]), FilterError, "not with None"),
        (lambda: F.color.startswith(3), FilterError, "a text is compared with a text, not with 3"),
        (lambda: F.color.endswith(None), FilterError, "not with None"),
        (lambda: F.price.contains_text("5"), FilterError, "price is a double; 'like' needs a varchar"),
        (lambda: F.sizes.text_match("red"), FilterError, "use array_contains"),
        (lambda: F.color.text_match("..."), FilterError, "there is no word in '...'"),
        (lambda: F.color.contains_text("x" * 999), FilterError, "a pattern of 1001 characters; 1000 are"),
        (lambda: F.sizes == "M", FilterError, "use array_contains"),
        (lambda: F.sizes[-1] == "M", FilterError, "an index from 0, not by -1"),
        (lambda: F.price.contains(1), FilterError, "array functions need an array"),
        (lambda: F.color == "\ud800", FilterError, "half of a surrogate pair"),
        (lambda: (F.price < 1) & 3, FilterError, "put comparisons in parentheses"),
        (lambda: F.price < 100 & F.stock > 0, FilterError, "not with 100; put comparisons in parentheses"),
        (lambda: F.price < 100 | F.featured, FilterError, "not with 100; put comparisons in parentheses"),
        (lambda: 1 < F.price < 3, FilterError, "write & for and"),
        (lambda: F.price < 1 and F.stock > 1, FilterError, "write & for and"),
        (lambda: not F.featured, FilterError, "a flag is asked for by F.featured or ~F.featured"),
        (lambda: F.price, FilterError, "price is a double and needs a comparison, like price > 0"),
        (lambda: ~F.color & F.featured, FilterError, 'needs a comparison, like color == "..."'),
        (lambda: F.specs | F.featured, FilterError, 'needs a comparison, like specs["key"] > 0'),
        (lambda: F.featured & True, FilterError, "put comparisons in parentheses"),
        (lambda: list(F.sizes), FilterError, "F.field.contains"),
        (lambda: F.price < float("inf"), FilterError, "out of the range"),
    ],
)
def test_what_is_wrong_is_said(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make().bind(FIELDS)
    assert message in str(caught.value)
    assert "at character" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_long_chains_are_lists_or_flat_and_longer_ones_refused() -> None:
    listed, flat = F.stock == 0, F.stock <= 0
    for number in range(1, 5_000):
        listed |= F.stock == number
    assert listed.bind(FIELDS) == F.stock.in_(range(5_000)).bind(FIELDS)
    for number in range(1, 500):
        flat |= F.stock <= number
    filter = flat.bind(FIELDS)
    assert isinstance(filter, Or)
    assert len(filter.parts) == 500
    with pytest.raises(FilterError, match=r"more than 500 comparisons; use \.in_"):
        (flat | (F.stock <= 500)).bind(FIELDS)


def test_what_a_long_chain_is_advised_to_be_is_taken() -> None:
    many = list(range(501))
    for part in (F.specs["size-eu"], F["net weight"], F.specs["a"]["b"]):
        chain = part == 0
        for number in many[1:]:
            chain |= part == number
        with pytest.raises(FilterError, match=r"more than 500 comparisons; use \.in_"):
            chain.bind(FIELDS)
        filter = part.in_(many).bind(FIELDS)
        assert isinstance(filter, In)
        assert filter.values == tuple(many)
        assert not can_render(filter, Dialect.LITE)
        assert matches(filter, {"specs": {"size-eu": 42, "a": {"b": 500}}, "net weight": 42.0})
    with pytest.raises(FilterError, match="must be all numbers or all strings"):
        F.specs["a"].not_in([*many, "x"]).bind(FIELDS)


def test_deep_conditions_are_refused() -> None:
    deep = F.stock == 0
    for number in range(2_000):
        deep = (deep & (F.price < number)) | (F.stock == number)
    with pytest.raises(FilterError, match="more than 50 deep"):
        deep.bind(FIELDS)
    assert F.stock.in_(range(50_000)).bind(FIELDS) == In(Ref("stock", FIELDS["stock"]), tuple(range(50_000)))
