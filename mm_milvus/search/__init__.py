"""The query layer: signals -> query vector -> Milvus -> a page of hits."""

from mm_milvus.search.compose import compose, weigh
from mm_milvus.search.run import run

__all__ = ["compose", "run", "weigh"]
