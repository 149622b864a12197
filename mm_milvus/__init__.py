"""Multimodal product search on Milvus.

    from mm_milvus import Client

    with Client("products.db") as shop:
        shop.ingest("catalog.jsonl")
        page = shop.query(image="shoe.jpg", text="red", filter="price < 100")
        for hit in page.hits:
            print(hit.id, hit.score, hit.attributes)

Importing this package is light: torch, transformers and pymilvus are loaded by the first call that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_milvus.async_client import AsyncClient
    from mm_milvus.client import Client, CollectionInfo
    from mm_milvus.config import Settings, load_settings
    from mm_milvus.errors import MmMilvusError
    from mm_milvus.ingest.prepare import Preview
    from mm_milvus.records import (
        Boost,
        Crop,
        Facet,
        FacetCounts,
        Hit,
        IngestReport,
        Page,
        Query,
        Reranked,
        Signal,
        Sort,
        VerifyReport,
    )
    from mm_milvus.store.filters import F

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Boost",
    "Client",
    "CollectionInfo",
    "Crop",
    "F",
    "Facet",
    "FacetCounts",
    "Hit",
    "IngestReport",
    "MmMilvusError",
    "Page",
    "Preview",
    "Query",
    "Reranked",
    "Settings",
    "Signal",
    "Sort",
    "VerifyReport",
    "__version__",
    "load_settings",
]

_HOMES = {
    "AsyncClient": "async_client",
    "Client": "client",
    "CollectionInfo": "client",
    "F": "store.filters",
    "MmMilvusError": "errors",
    "Preview": "ingest.prepare",
    "Settings": "config",
    "load_settings": "config",
} | dict.fromkeys(
    (
        "Boost",
        "Crop",
        "Facet",
        "FacetCounts",
        "Hit",
        "IngestReport",
        "Page",
        "Query",
        "Reranked",
        "Signal",
        "Sort",
        "VerifyReport",
    ),
    "records",
)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
