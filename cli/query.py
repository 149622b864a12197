"""``mm-milvus query``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import open_shop, private_hosts_option, search_options, shared_options
from .output import print_json, print_table, say, terminal_width, write_page
from .text import one_line
from .values import boost, crop, example, facet, names, signal_of, sort

if TYPE_CHECKING:
    from mm_milvus import Client
    from mm_milvus.records import Crop, Page, Query, Signal

__all__ = ["query"]


@click.command(
    short_help="Find products by words, pictures, known products and any mix of them.",
    context_settings={"allow_extra_args": True},  # which get an answer of our own
)
@click.option(
    "--text",
    type=signal_of("text"),
    multiple=True,
    metavar="WORDS[^W]",
    help="Words to search for. Repeatable.",
)
@click.option(
    "--image",
    type=signal_of("image"),
    multiple=True,
    metavar="PICTURE[^W]",
    help="Picture to search for: a path or a URL. Repeatable.",
)
@click.option(
    "--id",
    type=signal_of("id"),
    multiple=True,
    metavar="ID[^W]",
    help="Stored product to find the like of; it is left out itself. Repeatable.",
)
@click.option(
    "--like",
    type=example,
    multiple=True,
    metavar="ID[^W]",
    help="The same beside --unlike: a product that somebody liked. Repeatable.",
)
@click.option(
    "--unlike",
    type=example,
    multiple=True,
    metavar="ID[^W]",
    help="Stored product to stay away from, half as strong as --like draws near. Repeatable.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="ID",
    help="Stored product to leave out, such as one that is in the basket. Repeatable.",
)
@click.option(
    "--crop", type=crop, metavar="X,Y,W,H", help="Part of the query picture, in pixels. Default: all."
)
@click.option(
    "--filter",
    metavar="FILTER",
    help="Condition on the attributes, such as 'price < 100 and color == \"red\"'.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Number of products. Default: 10.")
@click.option(
    "--offset", type=click.IntRange(min=0), metavar="N", help="Number of best products to skip. Default: 0."
)
@click.option(
    "--fields",
    type=names,
    metavar="A,B",
    help="Attributes to return. Default: all; the table shows what fits.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "vector", "text", "hybrid"]),
    help="Compare vectors, words, or both. Default: auto, which is hybrid for words alone, else vector.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    metavar="A",
    help="Share of the vectors in a hybrid ranking; the words have the rest. Default: 0.5.",
)
@click.option(
    "--combine",
    type=click.Choice(["weighted", "rrf"]),
    help="How a hybrid ranking joins both: weighted scores, or reciprocal ranks. Default: weighted.",
)
@click.option(
    "--rrf-k",
    type=click.IntRange(1, 1_000),
    metavar="K",
    help="Of --combine rrf: 1 / (K + rank) is added. A low one counts the first ranks more. Default: 60.",
)
@click.option(
    "--composition",
    type=click.Choice(["sum", "product", "slerp"]),
    help="How words and pictures become one score: added, multiplied (both must fit), or, with CLIP, one direction "
    "between them. Default: sum.",
)
@click.option(
    "--strategy",
    type=click.Choice(["average_vector", "best_score"]),
    help="Several signals: near their mean, or near the best of them. Default: average_vector.",
)
@click.option(
    "--bridge",
    type=click.FloatRange(0, 1),
    metavar="B",
    help="Share of a picture that goes to the texts of products that look like it. Default: 0.3; none for CLIP. Of "
    "words alone, to the pictures of what is called so: 0.01, where products lack texts.",
)
@click.option(
    "--min-score",
    type=float,
    metavar="S",
    help="Least relevance, from 0 (any product) to 1 (the same thing). Default: everything is shown.",
)
@click.option(
    "--boost",
    "boosts",
    type=boost,
    multiple=True,
    metavar="HOW:FIELD[=A]",
    help="Let an attribute change scores: multiply:rating, add:sales=0.01, recency:listed=30 (days), "
    "first:in_stock. Repeatable.",
)
@click.option(
    "--rerank",
    type=click.Choice(["late-interaction"]),
    help="Compare the best products again, token by token; see mm-milvus tokens. Default: not.",
)
@click.option(
    "--rerank-size",
    type=click.IntRange(1, 1_000),
    metavar="N",
    help="How many of the best products are compared again. Default: 100.",
)
@click.option(
    "--sort",
    type=sort,
    multiple=True,
    metavar="[-]FIELD",
    help="Order by an attribute, falling with a minus sign, or by -score. Repeatable.",
)
@click.option("--group-by", metavar="FIELD", help="Show the best product of each value of an attribute.")
@click.option(
    "--group-size", type=click.IntRange(1, 100), metavar="N", help="Products of each group. Default: 1."
)
@click.option(
    "--facet",
    "facets",
    type=facet,
    multiple=True,
    metavar="FIELD[=A,B,C]",
    help="Count the values of an attribute, or its numbers between bounds. Repeatable.",
)
@click.option(
    "--no-count",
    "count",
    is_flag=True,
    flag_value=False,
    default=None,
    help="Do not ask how many products pass the filter, which takes a while. Default: they are counted.",
)
@click.option("--cursor", metavar="CURSOR", help="Go on after the page that printed this cursor with --json.")
@click.option("--explain", is_flag=True, help="Also show what each route gave, and with what weights.")
@click.option("--html", metavar="FILE", help="Also write the answer as a web page with the pictures in it.")
@private_hosts_option
@search_options
@shared_options
def query(html: str | None, as_json: bool, **parts: Any) -> None:
    """Find products by words, pictures, known products and any mix of them.

    Each --text, --image and --id is one signal of the query. A weight after ^ says how much it counts, and a
    negative weight pushes away: --image shoe.jpg^0.7 --text red^0.3 --id sku-9^-0.4. Weights of --like and --unlike
    are above 0. A ^ that no number follows is an ordinary character; write \\^ where a number follows one.

    \b
      mm-milvus query --text "red running shoes" --filter 'price < 100'
      mm-milvus query --image dress.jpg --crop 40,10,300,500 --html answer.html
      mm-milvus query --id sku-17 --text "without heels^-0.3" --json
      mm-milvus query --text boots --facet color --facet price=50,100 --sort price
    """
    if words := " ".join(click.get_current_context().args):
        raise click.UsageError(f"words are asked for with --text, pictures with --image: --text {words!r}")
    asked = _build(**parts)
    with open_shop() as shop:
        page = shop.search(asked if as_json else _with_title(asked, shop))
    for notice in page.notices:
        click.echo(f"note: {one_line(notice)}", err=True)
    if html:
        from .html import render

        write_page(html, render(asked, page))
    if as_json:
        print_json(page.to_dict())
        return
    from .table import explain_lines, facet_lines

    _print_table(page, asked)
    for line in (*facet_lines(page), *explain_lines(page)):
        say(line)
    if html:
        say(f"wrote {html}")


def _build(
    text: tuple[Signal, ...],
    image: tuple[Signal, ...],
    id: tuple[Signal, ...],
    like: tuple[Signal, ...],
    unlike: tuple[Signal, ...],
    crop: Crop | None,
    **given: Any,
) -> Query:
    """The query that the options spell; those that are not given are left to their defaults."""
    from dataclasses import replace

    from mm_milvus.arguments import fields_of, pushed_away
    from mm_milvus.records import Query

    if given["fields"]:
        given["fields"] = fields_of(given["fields"])
    if crop:
        if len(image) != 1:
            raise click.UsageError("--crop needs exactly one --image")
        image = (replace(image[0], crop=crop),)
    away = (replace(signal, weight=pushed_away(signal.weight, given["strategy"])) for signal in unlike)
    signals = (*text, *image, *id, *like, *away)
    if not (signals or given["filter"] or given["sort"] or given["facets"]):
        raise click.UsageError("nothing to search for: give --text, --image or --id, or a --filter")
    return Query(signals, **{name: value for name, value in given.items() if value is not None})


def _with_title(asked: Query, shop: Client) -> Query:
    """People recognise a product by its title, whatever else they ask for; a collection may have none."""
    from dataclasses import replace

    if asked.fields is None or "title" in asked.fields:
        return asked
    if not any(field["name"] == "title" for field in shop.info().fields):
        return asked
    return replace(asked, fields=("title", *asked.fields))


def _print_table(page: Page, asked: Query) -> None:
    from .table import page_table, summary

    if page.hits:
        print_table(page_table(page, width=terminal_width(), fields=asked.fields))
        say("")
    say(summary(page, asked))
