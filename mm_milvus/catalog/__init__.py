"""A catalog file or a directory of pictures -> a stream of products and of rejected rows with the reason.

readers, tables, directory   bytes -> raw rows with line numbers
names, mapping               columns -> our fields
infer                        a sample of rows -> the schema
numbers, values, pictures    values -> the types of the schema
products, seen               a row -> a Product or a Rejected
text                         attributes -> the text that is embedded
rejects                      the file of rejected rows
catalog                      all of it behind ``open_catalog``
"""

from __future__ import annotations

from mm_milvus.catalog.catalog import Catalog, open_catalog
from mm_milvus.catalog.rejects import RejectsFile, default_rejects_path
from mm_milvus.catalog.seen import SeenIds
from mm_milvus.catalog.text import choose_text_fields, render_text

__all__ = [
    "Catalog",
    "RejectsFile",
    "SeenIds",
    "choose_text_fields",
    "default_rejects_path",
    "open_catalog",
    "render_text",
]
