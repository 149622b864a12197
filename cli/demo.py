"""``mm-milvus demo-catalog``."""

from __future__ import annotations

import click

from .options import json_option
from .output import print_json, say
from .text import one_line

__all__ = ["demo_catalog"]


@click.command("demo-catalog", short_help="Draw a small catalog with pictures to try things on.")
@click.argument("folder", metavar="FOLDER", type=click.Path(file_okay=False))
@json_option
def demo_catalog(folder: str, as_json: bool) -> None:
    """Draw a small catalog with pictures into FOLDER, to try things on.

    \b
      mm-milvus demo-catalog demo
      mm-milvus ingest demo/catalog.jsonl
    """
    from pathlib import Path

    from .demo_catalog import draw_catalog

    catalog = draw_catalog(Path(folder))
    if as_json:
        print_json({"catalog": str(catalog)})
    else:
        say(f"drew {one_line(str(catalog))}")
