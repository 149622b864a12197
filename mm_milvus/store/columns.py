"""Whole columns of an embedded database, straight from the memory of Milvus Lite, which is that of this process.

For its queries Milvus Lite builds every row with all its fields, vectors as well: 20,000 products take 1.4 s instead of
.1 s. What is read here is what those would show. They are left to it where it is another Milvus Lite than the known
one, and while rows are not in a file yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.records import FieldType
from mm_milvus.store.filters import OWN_FIELDS, fields_of, predicate
from mm_milvus.store.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from mm_milvus.records import Schema
    from mm_milvus.store.filters import Filter

    Reader = Callable[[list[str]], pa.Table | None]

__all__ = ["count_passing", "read_columns", "rows_of", "tokens_of"]

# What another Milvus Lite than the known one leads to, or a closed one.
_FOREIGN = (ImportError, AttributeError, TypeError, ValueError, LookupError, RuntimeError)


def read_columns(database: Any, name: str, fields: Sequence[str]) -> pa.Table | None:
    """These columns of all products of a collection, by rising id; None where they have to be asked for."""
    from milvus_lite.exceptions import MilvusLiteError

    try:
        collection = database.get_collection(name)
        unsaved = collection._memtable.pk_index_snapshot()
        return None if unsaved else _visible(collection, fields)
    except (*_FOREIGN, MilvusLiteError):  # whatever is wrong, the question will tell
        return None


def _visible(collection: Any, fields: Sequence[str]) -> pa.Table | None:
    """What no later row of the same id and no deletion hides."""
    import pyarrow as pa
    from milvus_lite.search.bitmap import build_valid_mask

    segments, deleted = collection._read_snapshot()
    if not segments:
        return None
    memtable = collection._memtable
    ids = [id for segment in segments for id in segment.pks]
    found = pa.concat_tables([segment.table.select(fields) for segment in segments])
    if deleted._map or memtable.delete_index_snapshot() or len(set(ids)) < len(ids):
        written = np.concatenate([segment.seqs for segment in segments])
        found = found.filter(pa.array(build_valid_mask(ids, written, deleted, memtable=memtable)))
    return found.sort_by("id")


def rows_of(table: pa.Table, schema: Schema) -> Iterator[dict[str, Any]]:
    """Products as Milvus hands them out: JSON read, and the dynamic attributes beside the others."""
    encoded = {field.name for field in schema.fields if field.type is FieldType.JSON}
    names = table.column_names
    columns = [_values(table.column(name), encoded=name in encoded) for name in names]
    for values in zip(*columns, strict=True):
        row = dict(zip(names, values, strict=True))
        if dynamic := row.pop("$meta", None):
            row |= {key: value for key, value in json.loads(dynamic).items() if key not in row}
        yield row


def _values(column: pa.ChunkedArray, *, encoded: bool) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return [None if value is None else json.loads(value) for value in values] if encoded else values


def count_passing(read: Reader, filter: Filter, schema: Schema) -> int | None:
    """How many products pass, by the columns that the filter names; None where they have to be asked for."""
    named = fields_of(filter)
    known = [*OWN_FIELDS, *(field.name for field in schema.fields if field.typed)]
    fields = [name for name in known if name in named or name == "id"]
    table = read([*fields, "$meta"] if named - set(fields) else fields)
    return None if table is None else sum(map(predicate(filter), rows_of(table, schema)))


def tokens_of(table: pa.Table) -> tuple[list[str], Tokens]:
    """Of a table with the columns ``id`` and ``mm_tokens``: the ids, and the tokens."""
    import pyarrow.compute as pc

    lines = table.column("mm_tokens").combine_chunks()
    words = pc.split_pattern(lines, " ")
    lengths = pc.list_value_length(words).to_numpy().astype(np.int64)
    coded = pc.list_flatten(words).dictionary_encode()
    codes = coded.indices.to_numpy()
    vocabulary = dict(zip(coded.dictionary.to_pylist(), count()))
    if (nothing := vocabulary.pop("", None)) is not None:  # the only "word" of an empty line
        lengths[pc.equal(lines, "").to_numpy(zero_copy_only=False)] = 0
        codes = codes[codes != nothing]
    return table.column("id").to_pylist(), Tokens(lengths, codes, vocabulary)
