from __future__ import annotations

import click
import pytest
from mm_milvus_cli.values import boost, crop, example, facet, names, pair, signal_of, sort, split_weight

from mm_milvus.records import Boost, Crop, Facet, Signal, Sort


@pytest.mark.parametrize(
    ("written", "value", "weight"),
    [
        ("red", "red", None),
        ("red^0.7", "red", 0.7),
        ("without heels^-0.4", "without heels", -0.4),
        ("red^+2", "red", 2.0),
        ("red^.5", "red", 0.5),
        ("red^1.", "red", 1.0),
        ("red^1e-2", "red", 0.01),
        ("red^0", "red", 0.0),
        ("red^", "red^", None),
        ("red^x", "red^x", None),
        ("red^0.7x", "red^0.7x", None),
        ("red^ 0.7", "red^ 0.7", None),
        ("red^nan", "red^nan", None),
        ("red^inf", "red^inf", None),
        ("red^１", "red^１", None),  # digits of other scripts are words
        ("2^3^0.5", "2^3", 0.5),
        (r"2\^3", "2^3", None),
        (r"2\^3^0.5", "2^3", 0.5),
        (r"\^_\^", "^_^", None),
        (r"C:\pictures\shoe.jpg^0.5", r"C:\pictures\shoe.jpg", 0.5),
        ("红色连衣裙^0.3", "红色连衣裙", 0.3),
        ("two\nlines^2", "two\nlines", 2.0),
        ("^0.5", "", 0.5),
        ("", "", None),
    ],
)
def test_the_weight_of_a_signal_follows_the_last_caret(
    written: str, value: str, weight: float | None
) -> None:
    assert split_weight(written) == (value, weight)


def test_a_signal_keeps_its_kind_value_and_weight() -> None:
    assert signal_of("id")("sku-9^-0.4") == Signal("id", "sku-9", -0.4)
    assert signal_of("image")("a/b.jpg") == Signal("image", "a/b.jpg", None)


@pytest.mark.parametrize(
    ("written", "reason"), [("^2", "nothing to search"), (" ", "nothing"), ("a^1e999", "too large")]
)
def test_a_signal_without_content_or_with_an_infinite_weight_is_refused(written: str, reason: str) -> None:
    with pytest.raises(click.BadParameter, match=reason):
        signal_of("text")(written)


@pytest.mark.parametrize("written", ["a^-0.5", "a^0", "a^-0"])
def test_an_example_weighs_more_than_nothing(written: str) -> None:
    assert example("a^0.5") == Signal("id", "a", 0.5)
    assert example("a") == Signal("id", "a")
    with pytest.raises(click.BadParameter, match="the weight of 'a' has to be above 0"):
        example(written)


def test_a_crop_is_four_whole_numbers() -> None:
    assert crop("10, 20,300,400") == Crop(10, 20, 300, 400)


@pytest.mark.parametrize(
    "written", ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "-1,2,3,4", "1.5,2,3,4", "1,2,0,4", "1,2,3,0"]
)
def test_a_bad_crop_is_refused(written: str) -> None:
    with pytest.raises(click.BadParameter):
        crop(written)


def test_a_sort_a_boost_and_a_facet_are_read_as_in_python() -> None:
    assert sort(" -price") == Sort("price", descending=True)
    assert boost("recency:listed=30") == Boost("listed", "recency", 30.0)
    assert boost("first: stock") == Boost("stock", "first")
    assert facet("price=50, 100") == Facet("price", bounds=(50.0, 100.0))
    for parse, bad, reason in (
        (sort, "-", "name of an attribute"),
        (boost, "first", "then :FIELD"),
        (boost, "add:price=x", "then :FIELD"),
        (facet, "price=x", "FIELD=NUMBER"),
    ):
        with pytest.raises(click.BadParameter, match=reason):
            parse(bad)


def test_names_are_split_at_commas_and_pairs_at_the_first_equals_sign() -> None:
    assert names(" title, brand ,,color") == ("title", "brand", "color")
    assert pair("title = name=en ") == ("title", "name=en")
    for bad in ("title", "=name", "title="):
        with pytest.raises(click.BadParameter, match="FIELD=VALUE"):
            pair(bad)
    with pytest.raises(click.BadParameter, match="commas"):
        names(" , ")
