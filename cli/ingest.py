"""``mm-milvus ingest``."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from .failures import INTERRUPTED
from .options import ingest_options, open_shop, shared_options
from .output import print_json, say

if TYPE_CHECKING:
    from mm_milvus import Client, Preview
    from mm_milvus.records import IngestReport

__all__ = ["ingest"]

_PREVIEW_ROWS = 1000  # a preview reads no further


@click.command(short_help="Read a product catalog, embed it and store it.")
@click.argument("catalog", metavar="CATALOG")
@ingest_options
@shared_options
def ingest(catalog: str, as_json: bool) -> None:
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
            report = shop.ingest(catalog)
            print_json(report.to_dict())
            _end(report)
        else:
            _ingest_with_report(shop, catalog)


def _ingest_with_report(shop: Client, catalog: str) -> None:
    from dataclasses import replace

    from mm_milvus.errors import TooManyRejects

    from .preview import mapping_line

    preview = shop.preview(catalog)
    say(mapping_line(preview))
    progress = _Progress(preview.rows_read if preview.rows_read < _PREVIEW_ROWS else None)
    try:
        with progress:
            report = shop.ingest(catalog, progress=progress)
    except TooManyRejects as error:
        _show(error.report)
        raise
    except KeyboardInterrupt:
        if progress.last:
            _show(replace(progress.last, stopped="interrupted", seconds=progress.seconds))
        raise
    _show(report)
    _end(report)


def _show(report: IngestReport) -> None:
    from .preview import picture_warning, report_lines

    say(report_lines(report))
    if warning := picture_warning(report):
        click.echo(warning, err=True)


def _end(report: IngestReport) -> None:
    from mm_milvus.errors import CatalogError

    if report.stopped:
        raise SystemExit(INTERRUPTED if report.stopped == "interrupted" else CatalogError.exit_code)


def _show_dry_run(preview: Preview, as_json: bool) -> None:
    from .preview import preview_dict, print_preview

    if as_json:
        print_json(preview_dict(preview))
    else:
        print_preview(preview)


class _Progress:
    """Remembers the last report, and draws a bar on stderr where a person watches."""

    def __init__(self, total: int | None) -> None:
        self.last: IngestReport | None = None
        self._total = total  # None where the catalog is longer than its preview
        self._bar: Any = None
        self._began = perf_counter()

    @property
    def seconds(self) -> float:
        return perf_counter() - self._began

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self._total, unit=" products", leave=False, dynamic_ncols=True)

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, report: IngestReport) -> None:
        self.last = report
        if self._bar is not None:
            self._bar.set_postfix(written=report.written, rejected=report.rejected, refresh=False)
            self._bar.update(report.read - self._bar.n)
