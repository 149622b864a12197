"""What to type after a training: nothing that puts to use what its own measurement condemns."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mm_milvus.config import where
from mm_milvus.training.settings import LATE, TrainReport

if TYPE_CHECKING:
    from mm_milvus.config import Settings

__all__ = ["advised", "free_collection"]

_LONGEST = 255  # name of a collection


def free_collection(out: Path, shop: Settings, is_taken: Callable[[str], bool]) -> str:
    """A name for the collection that is to be ingested with the head in ``out``: like its folder, and not taken."""
    folder = Path(os.path.abspath(out)).name  # of "." too
    if not re.search(r"[A-Za-z0-9]", folder):  # all such names would be the same otherwise
        folder = "head_" + hashlib.blake2b(folder.encode(), digest_size=4).hexdigest()
    name = re.sub(r"[^A-Za-z0-9_]", "_", f"{shop.collection}_{folder}")[: _LONGEST - 5]
    found, number = name, 1
    while is_taken(found):
        number += 1
        found = f"{name}_{number}"
    return found


def advised(report: TrainReport, shop: Settings, collection: str) -> TrainReport:
    """With the commands that put to use what was trained, and tell how it does there; None where it is no better.

    ``collection`` is the new one that a head is ingested into.
    """
    lost = report.won is False or (report.unfrozen is not None and report.unfrozen.won is False)
    if lost:
        return report
    if report.fusion == LATE:
        return replace(report, next=_command("tokens", report.out, shop=shop, collection=shop.collection))
    out = Path(report.out)
    fusion = str(out) if len(out.parts) > 1 else f"./{out}"
    encoder = ["--encoder", report.unfrozen.encoder] if report.unfrozen else []
    return replace(
        report,
        next=_command("ingest", "CATALOG", "--fusion", fusion, *encoder, shop=shop, collection=collection),
        then=_compared(report, shop, collection),
    )


def _compared(report: TrainReport, shop: Settings, name: str) -> str | None:
    """What has to be measured on the new collection: a head that can be compared without one was compared before."""
    if report.unfrozen is not None:
        variants = f"default,collection={name}"
        return _command("eval", "QUERIES", "--compare", variants, shop=shop, collection=shop.collection)
    if report.bridge is not None:
        # What it finds is found by vectors, and words outweigh them unless told otherwise.
        return _command("eval", "QUERIES", "--tune", shop=shop, collection=name)
    return None


def _command(*words: str, shop: Settings, collection: str) -> str:
    asked = shop.model_copy(update={"collection": collection})
    return shlex.join(["mm-milvus", *words, *where(asked)])
