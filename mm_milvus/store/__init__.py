"""Milvus: the only room that imports pymilvus."""

from mm_milvus.store.capabilities import Capabilities
from mm_milvus.store.collection import MAX_WINDOW, Collection, Stored
from mm_milvus.store.connection import Store, is_server
from mm_milvus.store.limits import check_row, check_value
from mm_milvus.store.schema import storable
from mm_milvus.store.stamp import Stamp
from mm_milvus.store.tokens import tokenize

__all__ = [
    "MAX_WINDOW",
    "Capabilities",
    "Collection",
    "Stamp",
    "Store",
    "Stored",
    "check_row",
    "check_value",
    "is_server",
    "storable",
    "tokenize",
]
