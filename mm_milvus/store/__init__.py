"""Milvus: the only room that imports pymilvus."""

from mm_milvus.store.collection import MAX_WINDOW, Collection, Stored
from mm_milvus.store.connection import Store, is_server
from mm_milvus.store.embedding_lists import TokenLists
from mm_milvus.store.generation import Kept
from mm_milvus.store.mirror import MOST_ROWS, Mirror, Mirrors
from mm_milvus.store.schema import storable
from mm_milvus.store.stamp import Stamp, fused_by

__all__ = [
    "MAX_WINDOW",
    "MOST_ROWS",
    "Collection",
    "Kept",
    "Mirror",
    "Mirrors",
    "Stamp",
    "Store",
    "Stored",
    "TokenLists",
    "fused_by",
    "is_server",
    "storable",
]
