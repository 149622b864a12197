"""After an ingest, on demand: stored products that are no longer in the catalog are deleted, within limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mm_milvus.catalog import SeenIds
from mm_milvus.records import Product, Rejected

if TYPE_CHECKING:
    from mm_milvus.store import Collection

__all__ = ["CatalogIds", "Confirm", "Refused", "delete_missing"]

Confirm = Callable[[int, int], bool]  # (products to delete, stored products) -> whether to go on


class Refused(Exception):
    """Why nothing was deleted."""


class CatalogIds:
    """The ids of a catalog, and whether all of its rows could be read."""

    def __init__(self) -> None:
        self._seen = SeenIds()
        self.unreadable = ""  # why it is not known which products the catalog has

    def __contains__(self, id: str) -> bool:
        return id in self._seen

    def add(self, row: Product | Rejected) -> None:
        """A rejected row is in the catalog all the same: what is stored of it stays."""
        if row.id is not None:
            self._seen.add(row.id)
        if isinstance(row, Rejected) and row.last:
            self.unreadable = f"the catalog was not read to its end (line {row.line}: {row.reason})"
        elif isinstance(row, Rejected) and (row.id is None or row.stage == "read"):
            could_be = f"line {row.line} of the catalog has no readable id, so that it could be any product"
            self.unreadable = self.unreadable or could_be


def delete_missing(
    collection: Collection, ids: CatalogIds, most: float, confirm: Confirm | None = None
) -> int:
    """Deletes the stored products that are not among ``ids`` and says how many there were.

    Raises Refused when the catalog has rows without a readable id, or when the share to delete is above ``most`` and
    ``confirm`` does not agree.
    """
    if ids.unreadable:
        raise Refused(ids.unreadable)
    extra: list[str] = []
    stored = 0
    for row in collection.scan():
        stored += 1
        if row.id not in ids:
            extra.append(row.id)
    if len(extra) > most * stored and not (confirm is not None and confirm(len(extra), stored)):
        raise Refused(
            f"{len(extra):,} of {stored:,} stored products are not in the catalog, more than the max_delete_rate of "
            f"{most:g} allows; --yes deletes them all the same"
        )
    collection.delete_ids(extra)
    return len(extra)
