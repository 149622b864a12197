"""``mm-milvus verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import catalog_options, open_shop, shared_options
from .output import print_json, say
from .progress import Progress
from .text import counted, one_line, products

if TYPE_CHECKING:
    from mm_milvus.records import VerifyReport

__all__ = ["verify"]

_NAMED = 10  # ids of each kind that a person is shown
_KINDS = {
    "missing": "in the catalog, not stored",
    "stale": "stored from an older version of the row",
    "extra": "stored, not in the catalog",
    "doubled": "stored more than once",
}


@click.command(short_help="Compare a catalog with what is stored.")
@click.argument("catalog", metavar="CATALOG")
@catalog_options
@shared_options
def verify(catalog: str, as_json: bool) -> None:
    """Compare a catalog with the collection, by ids and by what each product was made from. Nothing is changed.

    Exits with 1 when they differ. The same `ingest` repairs what is missing or stale, `ingest --sync` also deletes
    what is extra.

    \b
      mm-milvus verify catalog.jsonl
    """
    progress = Progress()
    with open_shop() as shop, progress:
        report = shop.verify(catalog, progress=progress.rows)
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
    if not report.ok:
        raise SystemExit(1)


def _show(report: VerifyReport) -> None:
    say(
        f"{counted(report.read, 'row')} in the catalog ({report.rejected:,} unusable) · "
        f"{products(report.stored)} stored"
    )
    for kind, meaning in _KINDS.items():
        if count := getattr(report, f"{kind}_count"):
            ids = [one_line(id) for id in getattr(report, kind)[:_NAMED]]
            more = ", ..." if count > len(ids) else ""
            say(f"{count:,} {kind} ({meaning}): {', '.join(ids)}{more}")
    if report.stopped:
        say(f"the catalog was not read to its end: {one_line(report.stopped)}")
    say(
        f"{report.collection}: {'in order' if report.ok else 'differs from the catalog'}, {report.seconds:.1f} s"
    )
