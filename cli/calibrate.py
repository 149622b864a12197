"""``mm-milvus calibrate``."""

from __future__ import annotations

import click

from .options import open_shop, shared_options
from .output import print_json, say

__all__ = ["calibrate"]


@click.command(short_help="Tune mixtures of pictures and words to the shop's own queries.")
@click.argument("queries", metavar="[QUERIES]", required=False)
@click.option("--reset", is_flag=True, help="Go back to the generic queries of the encoder.")
@shared_options
def calibrate(queries: str | None, reset: bool, as_json: bool) -> None:
    """Tune mixtures of pictures and words to the shop's own queries: a UTF-8 file of one query a line, 20 at least.

    Where words stand beside a picture or a product, what all queries have in common is taken away from them. Without
    calibration that is the mean of generic queries, or of the product texts. Stored vectors stay as they are.

    \b
      mm-milvus calibrate queries.txt
    """
    if (queries is None) is not reset:
        raise click.UsageError("give either a file of queries or --reset")
    with open_shop() as shop:
        count = shop.calibrate(queries)
        collection = shop.settings.collection
    if as_json:
        print_json({"collection": collection, "calibrated_by": count})
    elif reset:
        say(f"{collection}: generic queries again")
    else:
        say(f"{collection}: calibrated by {count:,} queries")
