"""The filter language: Milvus' own syntax, checked against the fields and rendered for each kind of Milvus.

    price < 100 and color in ["red", "blue"]        10 <= price < 20            not featured
    brand like "Nik%" and title not like "%kid_"    color is null               exists color
    text_match(title, "red shoes")                  text_match_all(title, "red shoes")
    array_contains(sizes, "M")                      array_length(sizes) > 2     sizes[0] == "M"
    specs["weight"]["kg"] > 3                       `net weight` < 2            $meta["size-eu"] >= 42

In a pattern of ``like``, ``%`` is any text and ``_`` any one character; ``text_match`` looks for words as the search
cuts them.

Names of letters (of any script), digits and ``_`` are written as they are, other names and names that are words
of the language in backquotes or as ``$meta["name"]``. A comparison with a missing value is neither true nor false:
both ``color == "red"`` and ``not (color == "red")`` leave out rows without a colour.
"""

from __future__ import annotations

from collections.abc import Sequence

from mm_milvus.errors import FilterError
from mm_milvus.records import FieldType
from mm_milvus.store.filters.ast import And, Filter, In, Not, Or, Ref, fields_of
from mm_milvus.store.filters.builder import Condition, F
from mm_milvus.store.filters.check import MAX_VALUES, OWN_FIELDS
from mm_milvus.store.filters.evaluate import matches, predicate
from mm_milvus.store.filters.parser import parse
from mm_milvus.store.filters.quoting import check_text, is_column_name, quote
from mm_milvus.store.filters.render import Dialect, can_render, render, without_not

__all__ = [
    "OWN_FIELDS",
    "And",
    "Condition",
    "Dialect",
    "F",
    "Filter",
    "In",
    "Not",
    "Or",
    "Ref",
    "can_render",
    "fields_of",
    "ids_filter",
    "is_column_name",
    "matches",
    "parse",
    "predicate",
    "quote",
    "render",
    "without_not",
]


def ids_filter(ids: Sequence[str]) -> Filter:
    """The filter that finds exactly these products: at most 100,000 ids, of any text that Milvus can read.

    Raises FilterError for more ids and for control characters in them.
    """
    if len(ids) > MAX_VALUES:
        raise FilterError(f"{len(ids)} ids in one filter; {MAX_VALUES} are the most")
    for product_id in ids:
        check_text(product_id)
    return In(Ref("id", FieldType.VARCHAR), tuple(dict.fromkeys(ids)))
