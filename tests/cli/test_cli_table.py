from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from mm_milvus_cli.table import attribute_names, facet_lines, page_table, summary
from mm_milvus_cli.text import one_line, plain
from rich.cells import cell_len
from rich.console import Console

from mm_milvus.records import FacetCounts, Hit, Page, Query


def _page(*products: dict[str, Any], total: int = 84, offset: int = 0) -> Page:
    hits = tuple(
        Hit(product.pop("id", f"p{place}"), 0.9 - place / 10, product)
        for place, product in enumerate(products)
    )
    return Page(hits, total, 31.4, offset=offset)


def _lines(page: Page, width: int = 100, fields: tuple[str, ...] | None = None) -> list[str]:
    target = io.StringIO()
    Console(file=target, width=width, markup=False, emoji=False).print(
        page_table(page, width=width, fields=fields)
    )
    return target.getvalue().splitlines()


def test_a_row_shows_rank_score_id_title_and_the_attributes_people_compare_by() -> None:
    page = _page(
        {
            "id": "a",
            "stock": 3,
            "brand": "Acme",
            "price": 109.99,
            "title": "Shoe",
            "description": "x",
            "featured": True,
        },
        {
            "id": "b",
            "stock": 12,
            "brand": "B&R",
            "price": 9.5,
            "title": "Boot",
            "description": "y",
            "featured": False,
        },
    )
    header, first, second = _lines(page)
    assert header.split() == ["#", "score", "id", "title", "price", "brand", "stock", "featured"]
    assert first.split() == ["1", "0.900", "a", "Shoe", "109.99", "Acme", "3", "yes"]
    assert second.split() == ["2", "0.800", "b", "Boot", "9.50", "B&R", "12", "no"]
    assert first.index("109.99") + len("109.99") == second.index("9.50") + len("9.50")  # right-aligned


def test_markup_emoji_codes_and_terminal_escapes_in_titles_are_printed_literally() -> None:
    text = "\n".join(
        _lines(_page({"title": "[red]not red[/red] :smile: [/]"}, {"title": "a\x1b[31mb\r\nc\u202ed"}))
    )
    assert "[red]not red[/red] :smile: [/]" in text
    assert "a [31mb c d" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_wide_characters_count_twice(width: int) -> None:
    page = _page(
        {"title": "红色连衣裙夏季新款雪纺长裙" * 3, "brand": "优衣库", "price": 199.0, "color": "红色"},
        {"title": "👗 Dress " * 12, "brand": "A brand with quite a long name", "price": 5, "color": "🔴"},
    )
    lines = _lines(page, width)
    assert max(map(cell_len, lines)) <= width
    assert all("…" in line for line in lines[1:] if width < 120)


def test_a_long_title_gives_room_to_the_price() -> None:
    header, row = _lines(_page({"title": "word " * 50, "price": 3.5}), 60)
    assert header.split() == ["#", "score", "id", "title", "price"]
    assert row.split()[-1] == "3.5"
    assert row.split()[-2].endswith("…")


def test_chosen_fields_are_shown_in_their_order_whatever_they_are() -> None:
    page = _page({"title": "Shoe", "price": 5, "description": "soft", "tags": ["a", "b"]}, {"title": "Boot"})
    header, first, second = _lines(page, fields=("tags", "description", "nothing"))
    assert header.split() == ["#", "score", "id", "title", "tags", "description", "nothing"]
    assert first.split() == ["1", "0.900", "p0", "Shoe", "a,", "b", "soft"]
    assert second.split() == ["2", "0.800", "p1", "Boot"]


def test_attributes_that_few_products_have_and_long_texts_do_not_crowd_out_the_others() -> None:
    hits = _page(
        {"currency": "CNY", "gender": "F", "note": "x" * 61, "price": 1},
        {"gender": "M", "price": 2},
        {"gender": "F", "price": 3},
    ).hits
    assert attribute_names(hits) == ["price", "gender", "currency"]


def test_without_titles_there_is_no_title_column() -> None:
    assert _lines(_page({"price": 1}))[0].split() == ["#", "score", "id", "price"]


def test_the_line_below_the_table() -> None:
    query = Query(())
    assert summary(_page({}, {}), query) == "2 of 84 products · 31 ms"
    assert summary(_page({}, total=1), query) == "1 of 1 product · 31 ms"
    assert summary(_page({}, {}, offset=10), query) == "11-12 of 84 products · 31 ms"
    many = replace(_page({}, total=1000), total_exact=False)
    assert summary(many, query) == "1 of at least 1,000 products · 31 ms"
    assert summary(_page(total=0), query) == "no products match"
    assert summary(_page(total=84, offset=100), query) == "no products from rank 101 on: 84 match"


def test_the_line_below_a_table_of_groups_counts_groups() -> None:
    one, three = Query((), group_by="color"), Query((), group_by="color", group_size=3)
    assert summary(_page({}, {}, total=11), one) == "2 of 11 groups · 31 ms"
    assert summary(_page({}, total=1), one) == "1 of 1 group · 31 ms"
    assert summary(_page({}, {}, total=11, offset=4), one) == "5-6 of 11 groups · 31 ms"
    assert summary(_page({}, {}, total=11), three) == "2 products out of 11 groups · 31 ms"
    assert summary(_page(total=11, offset=20), one) == "no products from group 21 on: 11 groups match"
    assert summary(_page(total=0), one) == "no products match"


def test_facets_count_further_values_in_singular_and_plural() -> None:
    counts = (("red", 12), ("blue", 9))
    facets = (FacetCounts("color", counts, others=1), FacetCounts("size", counts, others=1200))
    assert list(facet_lines(replace(_page(), facets=facets))) == [
        "color: red 12 · blue 9 · 1 more value",
        "size: red 12 · blue 9 · 1,200 more values",
    ]


def test_ranks_go_on_after_an_offset() -> None:
    assert [line.split()[0] for line in _lines(_page({}, {}, offset=9))] == ["#", "10", "11"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (5, "5"),
        (5.0, "5"),
        (109.99, "109.99"),
        (0.00001, "1e-05"),
        (1e20, "1e+20"),
        (12345678901234567890, "12345678901234567890"),
        (["red", "blue"], "red, blue"),
        ({"w": 3, "unit": "厘米"}, '{"w": 3, "unit": "厘米"}'),
        ("a\n b\tc", "a b c"),
    ],
)
def test_values_read_as_people_write_them(value: Any, text: str) -> None:
    assert plain(value) == text


def test_joined_emoji_and_persian_joiners_survive_and_lone_surrogates_do_not() -> None:
    assert one_line("👩‍🚀 می‌خواهم") == "👩‍🚀 می‌خواهم"
    assert one_line("a\ud800b") == "a b"
