"""The embedding worker: catalog rows become vectors and attributes in Milvus."""

from mm_milvus.ingest.prepare import Preview, open_source, open_target, preview
from mm_milvus.ingest.worker import run

__all__ = ["Preview", "open_source", "open_target", "preview", "run"]
