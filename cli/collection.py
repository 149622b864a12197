"""Commands about a collection and its products: info, collections, get, delete and drop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .options import open_shop, shared_options, take_collection, token_vectors_option, verbose_option
from .output import print_fields, print_json, say
from .text import one_line, plain, products

if TYPE_CHECKING:
    from mm_milvus.records import Hit

__all__ = ["collections", "delete", "drop", "get", "info"]

_yes = click.option("--yes", "-y", is_flag=True, help="Do it without a question.")


@click.command(short_help="Show what a collection holds and how it was made.")
@verbose_option
@shared_options
def info(verbose: bool, as_json: bool) -> None:
    """Show what a collection holds and how it was made: rows, index, encoder, fusion and fields."""
    with open_shop() as shop:
        found = shop.info().to_dict()
    if as_json:
        print_json(found)
    else:
        _print_info(found, verbose)


@click.command(short_help="List the collections of the database.")
@shared_options
def collections(as_json: bool) -> None:
    """List the collections of the database, one name a line."""
    with open_shop() as shop:
        names = shop.collections()
    if as_json:
        print_json(names)
    else:
        for name in names:
            say(one_line(name))


@click.command(short_help="Show stored products.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@shared_options
def get(ids: tuple[str, ...], as_json: bool) -> None:
    """Show the stored products with these ids, in the order given; an id that is not stored is an error."""
    with open_shop() as shop:
        found = shop.get(list(ids))
    if found and not as_json:
        say("\n\n".join(map(_product_lines, found)))
    _require_all(ids, found)
    if as_json:
        print_json([{"id": product.id, "attributes": dict(product.attributes)} for product in found])


@click.command(short_help="Delete products by id or by filter.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Product to delete. Repeatable.")
@click.option("--filter", metavar="FILTER", help="Delete every product that passes, after a question.")
@_yes
@shared_options
def delete(ids: tuple[str, ...], filter: str | None, yes: bool, as_json: bool) -> None:
    """Delete products by id, or all that pass a filter.

    \b
      mm-milvus delete --id sku-1 --id sku-2
      mm-milvus delete --filter 'discontinued == true'
    """
    if bool(ids) == (filter is not None):
        raise click.UsageError("give either --id or --filter")
    with open_shop() as shop:
        if filter is not None and not yes:
            _confirm(f"Delete {products(shop.count(filter))} with {one_line(filter)}?", as_json)
        deleted = shop.delete(list(ids)) if ids else shop.delete(filter=filter)
    if as_json:
        print_json({"deleted": deleted})
    else:
        say(f"deleted {products(deleted)}")


@click.command(short_help="Delete a collection with all its products.")
@click.argument("name", metavar="[NAME]", required=False)
@_yes
@token_vectors_option
@shared_options
def drop(name: str | None, yes: bool, as_json: bool) -> None:
    """Delete a collection with all its products; in an embedded database its token vectors, too.

    NAME is the same as --collection NAME.

    \b
      mm-milvus drop products_old
    """
    if name is not None:
        take_collection(name)
    with open_shop() as shop:
        found = shop.info().to_dict()
        if not yes:
            holding = f"{found['collection']} of {found['uri']} with its {products(found['rows'])}"
            _confirm(f"Drop {one_line(holding)}?", as_json)
        shop.drop()
    if as_json:
        print_json({"dropped": found["collection"], "rows": found["rows"]})
    else:
        say(f"dropped {found['collection']} with {products(found['rows'])}")


def _require_all(ids: tuple[str, ...], found: Sequence[Hit]) -> None:
    from mm_milvus.errors import ProductNotFound

    stored = {product.id for product in found}
    if missing := [id for id in dict.fromkeys(ids) if id not in stored]:
        raise ProductNotFound(f"not stored: {', '.join(map(repr, missing))}")


def _confirm(question: str, as_json: bool) -> None:
    """Goes on after a yes; a no ends the command with exit code 1. Needs a person at a terminal."""
    if as_json or not sys.stdin.isatty():
        raise click.UsageError(f"{'--json asks no questions' if as_json else 'not a terminal'}, pass --yes")
    if not click.confirm(question, err=True):
        click.echo("nothing was deleted", err=True)
        raise SystemExit(1)


def _product_lines(product: Hit) -> str:
    shown = {name: value for name, value in product.attributes.items() if not name.startswith("mm_")}
    if product.image and "image" not in shown:
        shown["image"] = product.image
    return "\n".join([one_line(product.id), *_pairs(shown)])


def _pairs(values: dict[str, Any]) -> list[str]:
    widest = max(map(len, values), default=0)
    return [f"  {one_line(name):<{widest}}  {plain(value)}" for name, value in values.items()]


def _print_info(found: dict[str, Any], verbose: bool) -> None:
    fields = found.pop("fields")
    pairs = _flat(found) if verbose else _essentials(found)
    known = {name: value for name, value in pairs if value not in (None, "", {}, [], ())}
    say("\n".join(_pairs(known)))
    if fields:
        say("")
        print_fields((field["name"], field["type"], field["typed"]) for field in fields)


def _essentials(found: dict[str, Any]) -> list[tuple[str, Any]]:
    stamp = found["stamp"]
    local = stamp["revision"].startswith("fp:")  # all folders of trained encoders have the same name
    return [
        ("uri", found["uri"]),
        ("collection", found["collection"]),
        ("rows", found["rows"]),
        ("server", found["server_version"]),
        ("encoder", stamp["source"] if local and stamp["source"] else stamp["encoder"]),
        ("fusion", stamp["fusion"]),
        ("trained fusion", stamp["head"]),
        ("text fields", stamp["text_fields"]),
        ("index", list(found["index"].values())),
        ("created by", stamp["created_by"]),
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested objects as ``index.type`` and the like; long lists (means, statistics) are left to ``--json``."""
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{name}.")
        elif not (isinstance(value, (list, tuple)) and len(value) > 20):
            pairs.append((prefix + name, value))
    return pairs
