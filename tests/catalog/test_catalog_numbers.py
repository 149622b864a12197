"""Prices as the world writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_milvus.catalog.numbers import decimal_mark, is_plain_number, parse_money


@pytest.mark.parametrize(
    ("text", "money", "mark"),
    [
        ("$1,299.99", (1299.99, "$"), "."),
        ("1.299,99 €", (1299.99, "€"), ","),
        ("1 299,99 EUR", (1299.99, "EUR"), ","),
        ("1\u202f299,99\u00a0€", (1299.99, "€"), ","),
        ("¥1200", (1200.0, "¥"), None),
        ("￥1,200", (1200.0, "¥"), None),
        ("1200元", (1200.0, "元"), None),
        ("CHF 1'299.50", (1299.5, "CHF"), "."),
        ("CHF 1\u2019299.50", (1299.5, "CHF"), "."),
        ("15,550.00 USD", (15550.0, "USD"), "."),
        ("₹1,29,999.00", (129999.0, "₹"), "."),
        ("1.299.000 ₫", (1299000.0, "₫"), ","),
        ("1.299 €", (1299.0, "€"), None),
        ("$1.299", (1.299, "$"), None),
        ("1,299", (1299.0, ""), None),
        ("0,999", (0.999, ""), ","),
        ("-5 USD", (-5.0, "USD"), None),
        ("€-5", (-5.0, "€"), None),
        ("HK$ 3", (3.0, "HK$"), None),
        *[
            (text, None, None)
            for text in ("", "abc", "USD", "007", "10 - 20", "12 cats", "12.5.1", "$5 €", "1,29,99")
        ],
        ("1,299,99", None, ","),
    ],
)
def test_money(text: str, money: tuple[float, str] | None, mark: str | None) -> None:
    assert parse_money(text) == money
    assert decimal_mark(text) == mark


def test_the_column_decides_what_one_price_leaves_open() -> None:
    assert parse_money("1.299", ",") == (1299.0, "")
    assert parse_money("1.299 €", ".") == (1.299, "€")
    assert parse_money("1,299", ",") == (1.299, "")


@given(st.integers(0, 10**9), st.integers(0, 99), st.sampled_from([",.", ".,", " ,", "'.", " ."]))
def test_every_grouping_gives_the_same_amount(whole: int, cents: int, marks: str) -> None:
    text = f"{whole:,}".replace(",", marks[0]) + f"{marks[1]}{cents:02d} EUR"
    assert parse_money(text) == (float(f"{whole}.{cents:02d}"), "EUR")


@given(st.text(max_size=70))
def test_nothing_crashes(text: str) -> None:
    if is_plain_number(text):
        float(text)
    parse_money(text)
    decimal_mark(text)


def test_plain_numbers() -> None:
    assert all(map(is_plain_number, ["0", "12", "-3.5", ".5", " 7 ", "1e-07", "1e+16"]))
    assert not any(
        map(is_plain_number, ["", "007", "1,299", "12E4", "1e5", "nan", "inf", "0x10", "1_000", "٣", "--1"])
    )
