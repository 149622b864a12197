"""The text template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_milvus.catalog import choose_text_fields, render_text
from mm_milvus.config import Settings
from mm_milvus.errors import ConfigError
from mm_milvus.records import Field, FieldType, Schema

SHIRT = {"title": "Red Printed T-shirt", "color": "red", "category": "apparel", "description": "Soft cotton."}
FIELDS = ("title", "color", "category", "description")


def test_the_default_fields_are_those_that_describe() -> None:
    kinds = {
        "title": "varchar", "description": "varchar", "image": "varchar", "price": "double", "current_stock": "double",
        "gender": "varchar", "brand": "varchar", "season": "double", "baseColour": "varchar",
        "Category": "array<varchar>",
        "link": "varchar", "featured": "bool",
    }  # fmt: skip
    schema = Schema(tuple(Field(name, FieldType(kind)) for name, kind in kinds.items()))
    assert choose_text_fields(schema, Settings()) == (
        "title", "baseColour", "Category", "brand", "gender", "description",
    )  # fmt: skip
    assert choose_text_fields(schema, Settings(text_fields=("brand", "title"))) == ("brand", "title")
    with pytest.raises(ConfigError, match="no attribute 'brnad'; did you mean 'brand'"):
        choose_text_fields(schema, Settings(text_fields=("brnad",)))
    names = ("Größe", "Geschlecht", "matière", "Marke", "categoría", "Farbe", "Gewicht", "title")
    schema = Schema(tuple(Field(name, FieldType.VARCHAR) for name in names))
    assert choose_text_fields(schema, Settings()) == (
        "title", "Farbe", "categoría", "Marke", "matière", "Geschlecht",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "limit", "text"),
    [
        (SHIRT, 200, "Red Printed T-shirt, red, apparel. Soft cotton."),
        (SHIRT, 45, "Red Printed T-shirt, red, apparel. Soft"),
        (SHIRT, 35, "Red Printed T-shirt, red, apparel."),
        (SHIRT, 22, "Red Printed T-shirt"),
        (SHIRT, 2, "Re"),
        ({"title": "Tee\0 \n red", "color": ["red", " ", "blue"]}, 99, "Tee red, red, blue"),
        ({"title": "Nice!", "description": "Soft"}, 99, "Nice! Soft"),
        ({"description": "Soft"}, 99, "Soft"),
        ({"title": "红色印花T恤短袖"}, 5, "红色印花T"),
        ({"title": ",", "color": "|"}, 1, ","),
        ({"title": ", ,;"}, 2, ","),
        ({"title": 5.0, "color": True}, 99, "5, true"),
        ({}, 99, ""),
    ],
)
def test_render(attributes: dict[str, object], limit: int, text: str) -> None:
    assert render_text(attributes, FIELDS, limit) == text


def test_only_the_named_fields_are_rendered_in_their_order() -> None:
    assert render_text(SHIRT, ("category", "title"), 99) == "apparel, Red Printed T-shirt"


@given(st.dictionaries(st.sampled_from(FIELDS), st.text()), st.integers(1, 40))
def test_the_text_is_a_prefix_within_the_limit(attributes: dict[str, str], limit: int) -> None:
    whole = render_text(attributes, FIELDS, 10**6)
    text = render_text(attributes, FIELDS, limit)
    assert len(text) <= limit
    assert whole.startswith(text)
    assert "\0" not in whole
    assert whole == " ".join(whole.split())
