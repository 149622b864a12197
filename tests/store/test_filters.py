"""The filter language without a database: what is accepted, what is refused and why, what it renders to."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_milvus.errors import FilterError, UnknownField
from mm_milvus.records import Field, FieldType, Schema
from mm_milvus.store import Mirror
from mm_milvus.store.filters import (
    And,
    Dialect,
    Filter,
    Not,
    Or,
    ids_filter,
    is_column_name,
    matches,
    parse,
    quote,
    render,
)
from mm_milvus.store.resolve import resolved

TYPES = {
    "price": FieldType.DOUBLE,
    "stock": FieldType.INT64,
    "color": FieldType.VARCHAR,
    "featured": FieldType.BOOL,
    "sizes": FieldType.ARRAY_VARCHAR,
    "counts": FieldType.ARRAY_INT64,
    "specs": FieldType.JSON,
    "net weight": FieldType.DOUBLE,
    "颜色": FieldType.VARCHAR,
    "尺码": FieldType.ARRAY_VARCHAR,
}
COLUMNS = Schema(tuple(Field(name, kind, typed=is_column_name(name)) for name, kind in TYPES.items()))
NO_COLUMNS = Schema(tuple(Field(name, kind, typed=False) for name, kind in TYPES.items()))


def rendered(expression: str, dialect: Dialect) -> str:
    return render(parse(expression, TYPES), NO_COLUMNS if dialect is Dialect.DYNAMIC else COLUMNS, dialect)


RENDERED = [
    # expression, Milvus Lite, newer server (None: the same), server 2.3
    ("price < 100", "price < 100.0", None, '$meta["price"] < 100.0'),
    ("100 > price", "price < 100.0", None, '$meta["price"] < 100.0'),
    ("5 < stock <= 7", "(stock > 5 and stock <= 7)", None, '($meta["stock"] > 5 and $meta["stock"] <= 7)'),
    ("price in [1, 2.5]", "price in [1.0, 2.5]", None, '$meta["price"] in [1.0, 2.5]'),
    ("stock < 3.5", "stock <= 3", None, '$meta["stock"] <= 3'),
    ("stock == 3.0", "stock == 3", None, '$meta["stock"] == 3'),
    ("stock == 3.5", 'id < ""', None, 'id < ""'),
    ("color in []", 'id < ""', None, 'id < ""'),
    ("color not in []", "color is not null", None, '(exists $meta["color"])'),
    ("featured", "featured == true", None, '$meta["featured"] == true'),
    ("not featured", "featured == false", None, '$meta["featured"] == false'),
    (
        "not (color == 'red')",
        '(color is not null and color != "red")',
        None,
        '((exists $meta["color"]) and $meta["color"] != "red")',
    ),
    (
        "color NOT IN ['red'] && price >= 1e3",
        '((color is not null and color not in ["red"]) and price >= 1000.0)',
        None,
        '(((exists $meta["color"]) and $meta["color"] not in ["red"]) and $meta["price"] >= 1000.0)',
    ),
    ("color is null", "color is null", None, '(not (exists $meta["color"]))'),
    (
        "specs['t'] is null",
        'specs["t"] is null',
        '(not (exists specs["t"]))',
        '(not (exists $meta["specs"]["t"]))',
    ),
    ("not exists color", "color is null", None, '(not (exists $meta["color"]))'),
    ("id == 'a'", 'id in ["a"]', None, 'id in ["a"]'),
    ("id is null or has_image", '(id < "" or has_image == true)', None, '(id < "" or has_image == true)'),
    (
        "color like 'Ni%'",
        '(color >= "Ni" and color < "Nj")',
        None,
        '($meta["color"] >= "Ni" and $meta["color"] < "Nj")',
    ),
    (
        r"color like '50\%%'",
        '(color >= "50%" and color < "50&")',
        None,
        '($meta["color"] >= "50%" and $meta["color"] < "50&")',
    ),
    ("color like 'Nike'", 'color == "Nike"', None, '$meta["color"] == "Nike"'),
    ("color like '%%'", 'color >= ""', None, '$meta["color"] >= ""'),
    (
        "not array_contains(sizes, 'M')",
        '(sizes is not null and (not array_contains_any(sizes, ["M"])))',
        None,
        '((exists $meta["sizes"]) and (not json_contains_any($meta["sizes"], ["M"])))',
    ),
    (
        "array_contains_all(counts, [-1, 2])",
        "array_contains_all(counts, [-1, 2])",
        None,
        'json_contains_all($meta["counts"], [-1, 2])',
    ),
    (
        "array_length(sizes) < 3",
        "(sizes is not null and array_length(sizes) < 3)",
        None,
        '((exists $meta["sizes"]) and (not (exists $meta["sizes"][2])))',
    ),
    (
        "sizes[1] != 'M'",
        '(sizes[1] is not null and sizes[1] != "M")',
        '((sizes is not null and array_length(sizes) > 1) and sizes[1] != "M")',
        '((exists $meta["sizes"][1]) and $meta["sizes"][1] != "M")',
    ),
    (
        'specs["a"]["b"] >= 1',
        'specs["a"]["b"] >= 1',
        '(specs["a"]["b"] >= 1 or specs["a"]["b"] == true)',
        '($meta["specs"]["a"]["b"] >= 1 or $meta["specs"]["a"]["b"] == true)',
    ),
    (
        'specs["a"] != "x"',
        '(specs["a"] < "x" or specs["a"] > "x")',
        None,
        '($meta["specs"]["a"] < "x" or $meta["specs"]["a"] > "x")',
    ),
    (
        'json_contains(specs["t"], 2)',
        'json_contains_any(specs["t"], [2])',
        'json_contains_any(specs["t"], [2, 2.0])',
        'json_contains_any($meta["specs"]["t"], [2, 2.0])',
    ),
    (
        "`net weight` in [1, 2]",
        '($meta["net weight"] == 1.0 or $meta["net weight"] == 2.0)',
        None,
        '($meta["net weight"] == 1.0 or $meta["net weight"] == 2.0)',
    ),
    ('$meta["颜色"] in ["红"]', '颜色 in ["红"]', '$meta["颜色"] in ["红"]', '$meta["颜色"] in ["红"]'),
    (
        "array_contains(尺码, '均码')",
        'array_contains_any(尺码, ["均码"])',
        'json_contains_any($meta["尺码"], ["均码"])',
        'json_contains_any($meta["尺码"], ["均码"])',
    ),
]


@pytest.mark.parametrize(
    ("expression", "lite", "nullable", "dynamic"), RENDERED, ids=[case[0] for case in RENDERED]
)
def test_rendering(expression: str, lite: str, nullable: str | None, dynamic: str) -> None:
    assert rendered(expression, Dialect.LITE) == lite
    assert rendered(expression, Dialect.NULLABLE) == (nullable or lite)
    assert rendered(expression, Dialect.DYNAMIC) == dynamic


REFUSED = [
    ("", "the filter is empty"),
    ("price <", "at character 8: expected a value after '<', found the end"),
    ("price < 'cheap'", "at character 9: price is a double, cannot be compared with the string 'cheap'"),
    ("color == 5", "at character 10: color is a varchar, cannot be compared with the integer 5"),
    ("stock == true", "at character 10: stock is an int64, cannot be compared with the bool true"),
    ("featured == 1", "at character 13: featured is a bool, cannot be compared with the integer 1"),
    ("featured < true", "at character 12: true and false have no order; compare featured with == or !="),
    ("price = 5", "at character 7: use '==' to compare"),
    ("price <> 5", "at character 7: use '!=' for 'is not equal'"),
    ("price == null", "at character 10: nothing equals null; use 'field is null' or 'field is not null'"),
    ("price < 5 & stock > 1", "at character 11: expected 'and', 'or' or the end, found &"),
    ("price between 1 and 2", "at character 7: write a range as 1 <= field <= 2"),
    ("price * 2 < 5", "at character 7: '*': filters do not calculate; put such a name in `backquotes`"),
    ("specs.weight > 3", 'at character 6: a part of a json field is written field["key"]'),
    ("specs > 3", 'at character 9: specs is json; name a key of it, like specs["key"]'),
    (
        "sizes == 'M'",
        "at character 10: sizes is an array<varchar>; use array_contains(sizes, ...) or sizes[0]",
    ),
    (
        "'M' in sizes",
        "at character 5: a field stands before 'in'; for an array field use array_contains(field, value)",
    ),
    ("price", "at character 1: price is a double and needs a comparison, like price > 0"),
    ("1 < 2", "at character 5: a comparison needs a field on one side"),
    ("1 < price > 0", "at character 11: a chain has the form 1 < field < 2 or 2 > field > 1"),
    (
        "price < stock",
        "at character 9: expected a value, not stock; a field is compared with a value, texts stand in quotes",
    ),
    (
        "stock < 9223372036854775808",
        "at character 9: the integer 9223372036854775808 is out of the range of stock, an int64",
    ),
    ("price < 1e999", "at character 9: the number inf is out of the range of price, a double"),
    ("(price < 5", "at character 11: expected ')', found the end"),
    ("price < 5)", "at character 10: expected 'and', 'or' or the end, found )"),
    ("color == 'red", "at character 10: the text that begins with ' has no end"),
    (r"color == '\q'", r"at character 10: unknown escape '\\q'; write a backslash as two"),
    (
        r"color == '\u0001'",
        "at character 10: a filter cannot hold the control character U+0001; leave it out",
    ),
    (
        r"color == '\ud800'",
        "at character 10: a filter cannot hold U+D800, half of a surrogate pair; it is not text",
    ),
    ("price like 'a%'", "at character 12: price is a double; 'like' needs a varchar"),
    (
        "sizes like 'a%'",
        "at character 12: sizes is an array<varchar>; use array_contains(sizes, ...) or sizes[0]",
    ),
    ("color like 5", "at character 12: expected a pattern in quotes after 'like', found 5"),
    ("color like '%" + "x" * 1000 + "'", "at character 12: a pattern of 1001 characters; 1000 are the most"),
    ("color like '%\\b'", "at character 12: a filter cannot hold the control character U+0008; leave it out"),
    ("text_match(stock, 'a')", "at character 19: stock is an int64; text_match needs a varchar"),
    ("text_match(color, ' !?')", "at character 19: there is no word in ' !?'"),
    ("text_match(color, 5)", "at character 19: expected words in quotes, found 5"),
    ("text_match_all(color 'a')", "at character 22: expected ',', found 'a'"),
    (
        "text_match(color, '" + "x" * 1001 + "')",
        "at character 19: words of 1001 characters; 1000 are the most",
    ),
    (
        "match(color, 'a')",
        "at character 1: unknown function 'match'; there are array_length, array_contains, array_contains_any, "
        "array_contains_all, json_contains, json_contains_any, json_contains_all, text_match, text_match_all",
    ),
    (
        "array_length(sizes) > 1.5",
        "at character 23: a length is compared with a whole number, not with the number 1.5",
    ),
    ("array_contains(color, 'a')", "at character 16: color is a varchar; array functions need an array"),
    (
        "sizes['a'] == 'M'",
        "at character 1: sizes is an array<varchar>; its elements are sizes[0], sizes[1], ...",
    ),
    (
        "specs['a'] not in [1, 'x']",
        "at character 12: the values of one 'not in' must be all numbers or all strings",
    ),
    ("price ; drop", "at character 7: unexpected character ';'"),
    ("price < 5 -- x", "at character 11: expected 'and', 'or' or the end, found -"),
    ("(" * 51 + "price < 5" + ")" * 51, "at character 51: more than 50 parentheses in each other"),
    (
        " or ".join(f"stock <= {number}" for number in range(501)),
        "at character 7891: more than 500 comparisons; use 'field in [...]' for many values of one field",
    ),
    ("color == '" + "x" * (1 << 20) + "'", "the filter has 1048587 characters; 1048576 are the most"),
]


@pytest.mark.parametrize(("expression", "message"), REFUSED, ids=[case[0][:40] for case in REFUSED])
def test_refusals(expression: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(expression, TYPES)
    assert str(caught.value) == message


def test_unknown_fields_name_the_nearest() -> None:
    with pytest.raises(UnknownField, match="^the collection has no field 'pricee'; did you mean 'price'\\?$"):
        parse("pricee < 5", TYPES)
    with pytest.raises(
        UnknownField, match="^the collection has no field 'netweight'; did you mean '`net weight`'\\?$"
    ):
        parse("netweight < 5", TYPES)
    with pytest.raises(UnknownField, match="^the collection has no field 'wxyz'; it has color, .*, 颜色$"):
        parse("wxyz is null", TYPES)
    with pytest.raises(UnknownField, match="^the collection has no field 'price'$"):
        render(parse("price < 5", TYPES), Schema(), Dialect.LITE)


def test_a_column_that_no_filter_can_reach_is_refused() -> None:
    for name in ("interval", "IN", "net weight", "颜色", "1st", ""):
        assert not is_column_name(name)
    kinds = {"interval": FieldType.INT64}
    filter = parse("`interval` > 3", kinds)
    assert (
        render(filter, Schema((Field("interval", FieldType.INT64, typed=False),)), Dialect.LITE)
        == '$meta["interval"] > 3'
    )
    with pytest.raises(FilterError, match="'interval'; keep it dynamic"):
        render(filter, Schema((Field("interval", FieldType.INT64),)), Dialect.LITE)


def test_partition_key_of_a_server_without_nulls_is_a_column() -> None:
    schema = Schema((Field("color", FieldType.VARCHAR, typed=True),))
    assert render(parse("color != 'red'", TYPES), schema, Dialect.DYNAMIC) == 'color != "red"'
    assert render(parse("color is null", TYPES), schema, Dialect.DYNAMIC) == 'id < ""'


MEANINGS = [
    # the row {"color": "red", "stock": 5, "price": None}; missing values are unknown, and so is their negation
    ("color == 'red'", True),
    ("color != 'red'", False),
    ("price < 5", False),
    ("not (price < 5)", False),
    ("not (price < 5) or stock == 5", True),
    ("not (price < 5 and stock == 6)", True),
    ("price not in [1]", False),
    ("price not in []", False),
    ("price is null", True),
    ("not price is null", False),
    ("array_length(sizes) == 0", False),
    ("not array_contains(sizes, 'M')", False),
    ("not specs['a'] == 1", False),
    ("4 < stock < 6", True),
    ("stock > 4.5 and stock < 5.5", True),
    (r"color like 'r\u0065%'", True),
    ("true == featured or featured is null", True),
    ("color like 'r%d'", True),
    ("color like '%red%' and color like '%r%e%d%'", True),
    ("color like 're%ed'", False),
    ("color like '_e_' and color not like '__' and color not like '%____%'", True),
    ("color like '%e'", False),
    ("color like '%RED%'", False),
    ("not price is null or not (specs['a'] like '%b%')", False),
    ("text_match(color, 'Reds, or none')", True),
    ("text_match_all(color, 'red none')", False),
    ("not text_match(color, 'blue')", True),
    ("not text_match(text, 'blue')", False),
]


@pytest.mark.parametrize(("expression", "expected"), MEANINGS)
def test_meaning(expression: str, expected: bool) -> None:
    assert matches(parse(expression, TYPES), {"color": "red", "stock": 5, "price": None}) is expected


CHAINS = [
    ("price == 1 or price == 2", "price in [1, 2]"),
    ("price == 1 || (price == 2 or 3 == price) or price in [4, 1]", "price in [1, 2, 3, 4]"),
    (
        "featured or price == 1 or stock == 5 or price == 2 or stock == 6",
        "featured or price in [1, 2] or stock in [5, 6]",
    ),
    (
        "price == 1 or (stock == 1 and price == 2) or price == 3",
        "price in [1, 3] or (stock == 1 and price == 2)",
    ),
    ("price != 1 and price != 2 and price not in [3]", "price not in [1, 2, 3]"),
    ("not (price == 1 or price == 2) and stock > 1", "not (price in [1, 2]) and stock > 1"),
    ("price == 1 or price != 2 or price != 3", "price == 1 or (price != 2 or price != 3)"),
    ("price == 1 and price == 2", "price == 1 and price == 2"),
    ("stock == 1.5 or stock == 2", "stock in [2]"),
    ('$meta["price"] == 1 or price == 2', "price in [1, 2]"),
]


@pytest.mark.parametrize(("chain", "short"), CHAINS)
def test_chains_of_one_field_are_lists(chain: str, short: str) -> None:
    assert parse(chain, TYPES) == parse(short, TYPES)


def test_only_what_can_be_a_list_may_be_a_long_chain() -> None:
    for name, count in (("stock", 5_000), ("specs['a']", 500), ("`net weight`", 500)):
        for op, word in (("==", "or"), ("!=", "and")):
            parse(f" {word} ".join(f"{name} {op} {number}" for number in range(count)), TYPES)
    for name in ("specs['a']", "`net weight`"):
        with pytest.raises(FilterError, match="more than 500 comparisons"):
            parse(" or ".join(f"{name} == {number}" for number in range(501)), TYPES)
    halves = [f"stock in {list(range(start, start + 60_000))}" for start in (0, 60_000)]
    assert len(parse(" or ".join(halves), TYPES).parts) == 2  # type: ignore[attr-defined]  # too long for one


def test_combinators_join_filters() -> None:
    mine = parse("has_image", {})
    joined = And(parse("price < 5 or stock == 1", TYPES), Not(mine))
    assert render(joined, COLUMNS, Dialect.LITE) == "((price < 5.0 or stock == 1) and has_image == false)"
    assert joined == And(parse("price < 5 or stock == 1", TYPES), Not(mine))
    assert render(Not(Or()), COLUMNS, Dialect.LITE) == 'id >= ""'


ATTACKS = [
    "zzz'] or price >= 0 or id in ['zzz",
    'zzz"] or price >= 0 or id in ["zzz',
    "\\",
    '\\"',
    "\n",
    "'\"`",
]


def test_literals_stay_literals() -> None:
    found = rendered("color == " + json.dumps(ATTACKS[1]), Dialect.LITE)
    assert found == 'color == "zzz\\"] or price >= 0 or id in [\\"zzz"'
    for attack in ATTACKS:
        for text in (json.dumps(attack), json.dumps(attack, ensure_ascii=False)):
            filter = parse(f"color == {text}", TYPES)
            assert matches(filter, {"color": attack})
            assert render(filter, COLUMNS, Dialect.LITE) == "color == " + quote(attack)
        assert render(ids_filter([attack, "b"]), COLUMNS, Dialect.LITE) == f'id in [{quote(attack)}, "b"]'


def test_quote_refuses_what_milvus_cannot_read() -> None:
    assert quote("a\"b\\c'\n\t🎉\u2028") == '"a\\"b\\\\c\'\\n\\t🎉\u2028"'
    for bad in ("\x00", "a\x1fb", "\x0b", "\ud83c", "\udf89x"):
        with pytest.raises(FilterError):
            quote(bad)
        with pytest.raises(FilterError):
            ids_filter([bad])
    assert parse(r"color == '\ud83c\udf89'", TYPES) == parse("color == '🎉'", TYPES)


def test_long_lists() -> None:
    started = time.perf_counter()
    ids = [f"id-{number}" for number in range(100_000)]
    expression = render(ids_filter(ids), COLUMNS, Dialect.LITE)
    assert expression.startswith('id in ["id-0", "id-1"') and expression.count(",") == 99_999
    numbers = parse(f"stock in {list(range(100_000))}", TYPES)
    assert matches(numbers, {"stock": 99_999}) and not matches(numbers, {"stock": 100_000})
    assert time.perf_counter() - started < 10
    with pytest.raises(FilterError, match="^100001 ids in one filter; 100000 are the most$"):
        ids_filter([*ids, "one more"])


WORDS = [
    *TYPES,
    "id",
    "`net weight`",
    "$meta",
    '$meta["price"]',
    "and",
    "or",
    "not",
    "in",
    "like",
    "is",
    "null",
    "exists",
    "text_match",
]
WORDS += [
    "array_contains",
    "json_contains_all",
    "array_length",
    "foo",
    "true",
    "False",
    "1",
    "-2.5",
    "1e400",
    "'a'",
    '"%b"',
]
WORDS += [
    "'\\ud800'",
    "(",
    ")",
    "[",
    "]",
    ",",
    "==",
    "!=",
    "<",
    ">=",
    "=",
    "!",
    "-",
    "+",
    "*",
    ".",
    "&",
    "||",
    "\\",
    "`",
    "'",
]


def _asked(filter: Filter, dialect: Dialect) -> str:
    """As a collection without products asks it."""
    schema = NO_COLUMNS if dialect is Dialect.DYNAMIC else COLUMNS
    return render(resolved(filter, dialect, lambda: Mirror([])), schema, dialect)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    message = ""
    try:
        filter = parse(text, TYPES)
    except FilterError as error:
        message = str(error)
    else:
        assert isinstance(filter, Filter)
        assert all(_asked(filter, dialect) for dialect in Dialect)
    assert message.isprintable()
