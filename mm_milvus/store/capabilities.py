"""What the Milvus at the other end can do, from its version; features ask this record, never the version."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from mm_milvus.store.filters import Dialect

__all__ = ["Capabilities"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One record per connection. The contract suite checks the rows of Milvus Lite and of server 2.3."""

    lite: bool
    version: str  # as the server says it
    nullable: bool  # typed attribute columns that may be NULL; without it all attributes are dynamic
    bm25: bool  # analysed text fields with the BM25 function
    hybrid_search: bool
    several_vectors: bool
    float16_vectors: bool  # float16 and bfloat16
    filter_templates: bool
    partition_keys: bool  # 2.3 looks for upserted rows in the wrong partitions
    group_by: bool
    partial_update: bool
    order_by: bool
    aggregation: bool
    embedding_lists: bool  # arrays of structs with vectors, compared by MAX_SIM
    insert_replaces: bool  # `insert` of an existing id replaces the row; elsewhere it stores a second one
    max_fields: int  # columns of one collection

    @classmethod
    def of(cls, version: str, *, lite: bool) -> Capabilities:
        """``version`` as the server reports it: "milvus_lite-3.2.2", "v2.3.5-lite", "2.6.4", ..."""
        if lite:
            return cls._lite(version)
        match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
        release = (int(match[1]), int(match[2])) if match else (2, 3)  # unknown: assume the least
        patch = int(match[3] or 0) if match else 0
        return cls(
            lite=False,
            version=version,
            nullable=release >= (2, 5),
            bm25=release >= (2, 5),
            hybrid_search=release >= (2, 4),
            several_vectors=release >= (2, 4),
            float16_vectors=release >= (2, 4),
            filter_templates=release >= (2, 5),
            partition_keys=release >= (2, 4),
            group_by=release >= (2, 4),
            partial_update=release >= (2, 6),
            order_by=release >= (3, 0),
            aggregation=release >= (3, 0),
            embedding_lists=(*release, patch) >= (2, 6, 4),
            insert_replaces=False,
            max_fields=64,
        )

    @classmethod
    def _lite(cls, version: str) -> Capabilities:
        return cls(
            lite=True,
            version=version,
            nullable=True,
            bm25=True,
            hybrid_search=True,
            several_vectors=True,
            float16_vectors=False,
            filter_templates=False,
            partition_keys=True,
            group_by=True,
            partial_update=True,
            order_by=False,
            aggregation=False,
            embedding_lists=False,
            insert_replaces=True,
            max_fields=128,
        )

    @property
    def dialect(self) -> Dialect:
        """How filters are written for this Milvus."""
        if self.lite:
            return Dialect.LITE
        return Dialect.NULLABLE if self.nullable else Dialect.DYNAMIC

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
