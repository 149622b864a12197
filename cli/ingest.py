"""``mm-milvus ingest``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mm_milvus.errors import CatalogError, MmMilvusError

from .options import catalog_options, ingest_options, open_shop, shared_options
from .output import print_json, say
from .preview import mapping_line, picture_warning, preview_dict, print_preview, report_lines
from .progress import Progress
from .text import one_line

if TYPE_CHECKING:
    from mm_milvus import Client, Preview
    from mm_milvus.records import IngestReport

__all__ = ["ingest"]


@click.command(short_help="Read a product catalog, embed it and store it.")
@click.argument("catalog", metavar="CATALOG")
@click.option("--yes", "-y", is_flag=True, help="Let --sync delete more than --max-delete-rate.")
@ingest_options
@catalog_options
@shared_options
def ingest(catalog: str, yes: bool, as_json: bool) -> None:
    """Read a product catalog, embed texts and pictures, and store what is new or changed.

    CATALOG is a JSON Lines, CSV or Parquet file, or a folder of pictures. Rows that cannot be used are
    written to the rejects file with line and reason. An ingest can be interrupted and repeated at any time:
    unchanged products cost next to nothing.

    \b
      mm-milvus ingest catalog.jsonl --dry-run
      mm-milvus ingest export.csv --mapping id=sku --mapping title=name --types size=varchar
    """
    with open_shop() as shop:
        if shop.settings.dry_run:
            _show_dry_run(shop.preview(catalog), as_json)
        elif as_json:
            report = shop.ingest(catalog, confirm=lambda *_: yes, on_wait=_warn)
            print_json(report.to_dict())
            _hint(report, shop)
            _end(report)
        else:
            _ingest_with_report(shop, catalog, yes)


def _ingest_with_report(shop: Client, catalog: str, yes: bool) -> None:
    from mm_milvus.errors import DeletionRefused, Interrupted, TooManyRejects

    preview = shop.preview(catalog)
    say(mapping_line(preview))
    progress = Progress(preview.rows_estimate)

    def confirm(count: int, stored: int) -> bool:
        progress.close()
        return yes or _ask(count, stored)

    try:
        with progress:
            report = shop.ingest(catalog, progress=progress, confirm=confirm, on_wait=progress.write)
    except (MmMilvusError, Interrupted) as error:
        if error.report is not None:
            _show(error.report)
            if not isinstance(error, (TooManyRejects, DeletionRefused, Interrupted)):
                say("what was written stays; the same command goes on from here")
        raise
    _show(report)
    _hint(report, shop)
    _end(report)


def _ask(count: int, stored: int) -> bool:
    if not sys.stdin.isatty():
        return False
    return click.confirm(f"Delete {count:,} of {stored:,} products that are not in the catalog?", err=True)


def _warn(line: str) -> None:
    click.echo(f"waiting: {one_line(line)}", err=True)


def _show(report: IngestReport) -> None:
    say(report_lines(report))
    for notice in report.notices:
        click.echo(f"note: {one_line(notice)}", err=True)
    if warning := picture_warning(report):
        click.echo(warning, err=True)


def _hint(report: IngestReport, shop: Client) -> None:
    """Token vectors of late interaction are made by a command of their own, and now some are missing or outdated."""
    from mm_milvus.late import has_tokens, next_command

    changed = report.images_encoded + report.texts_encoded + report.images_shared + report.texts_shared
    if changed and has_tokens(shop.settings):
        command = one_line(next_command(shop.settings, "tokens"))
        click.echo(
            f"note: texts or pictures have changed; make the token vectors current with {command}", err=True
        )


def _end(report: IngestReport) -> None:
    if report.stopped:
        raise SystemExit(CatalogError.exit_code)


def _show_dry_run(preview: Preview, as_json: bool) -> None:
    if as_json:
        print_json(preview_dict(preview))
    else:
        print_preview(preview)
