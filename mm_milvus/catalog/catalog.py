"""Opens a catalog: finds its kind, maps its columns, infers its schema, and streams its products."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mm_milvus.catalog.directory import PictureDirectory
from mm_milvus.catalog.infer import Profile, check_types, infer_schema
from mm_milvus.catalog.mapping import map_columns
from mm_milvus.catalog.products import ProductBuilder
from mm_milvus.catalog.readers import JsonLines
from mm_milvus.catalog.seen import SeenIds
from mm_milvus.catalog.size import estimate_rows
from mm_milvus.catalog.tables import DelimitedText, ParquetFile
from mm_milvus.catalog.text import choose_text_fields
from mm_milvus.catalog.values import check_name
from mm_milvus.errors import CatalogError, InvalidValue
from mm_milvus.records import Product, Rejected, Schema

if TYPE_CHECKING:
    from mm_milvus.catalog.readers import Source
    from mm_milvus.config import Settings

__all__ = ["Catalog", "open_catalog"]

SAMPLE_ROWS = 1000
_KINDS: dict[str, Callable[[Path], Source]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".json": JsonLines,
    ".csv": DelimitedText,
    ".tsv": DelimitedText,
    ".parquet": ParquetFile,
    ".pq": ParquetFile,
}


class Catalog:
    """A catalog that was opened. It holds no rows: each ``products()`` reads the source from its beginning."""

    def __init__(
        self,
        source: Source,
        builder: ProductBuilder,
        mapping: Mapping[str, str | tuple[str, ...]],
        schema: Schema,
    ) -> None:
        self._source = source
        self._builder = builder
        self.path: Path = source.path
        self.root: Path = source.root.resolve()  # relative picture paths start here
        self.kind: str = source.kind  # jsonl, csv, parquet or directory
        self.mapping: Mapping[str, str | tuple[str, ...]] = MappingProxyType(dict(mapping))
        self.schema: Schema = schema
        self.notices: tuple[str, ...] = ()  # for a person, one line each

    def estimate(self) -> int | None:
        """About how many rows there are; None where only reading all of them would tell."""
        return estimate_rows(self.path, self.kind)

    def products(self) -> Iterator[Product | Rejected]:
        """Every row of the catalog, in its order, as a Product or as a Rejected with the reason.

        Raises CatalogError when the source cannot be read any further.
        """
        seen = SeenIds()
        for row in self._source.rows():
            built = row if isinstance(row, Rejected) else self._builder.build(row)
            if isinstance(built, Product) and not seen.add(built.id):
                built = Rejected(built.line, built.id, "map", f"duplicate id {built.id!r}", built.record)
            yield built


def open_catalog(
    source: str | os.PathLike[str], settings: Settings, *, schema: Schema | None = None
) -> Catalog:
    """The catalog at ``source``, with its mapping and its schema from a sample of 1,000 rows.

    ``schema`` is that of an existing collection: values must then conform to it, and attributes that it lacks pass
    as they are. Raises CatalogError when the source as a whole cannot be used, ConfigError for settings that do
    not fit it.
    """
    rows = _open_source(Path(source))
    profile = _sample(rows)
    columns = map_columns(list(profile.columns), settings.mapping, rows.path)
    found = schema if schema is not None else infer_schema(profile, columns, settings)
    check_types(settings.types, found, exists=schema is not None)
    builder = ProductBuilder(columns, found, profile, settings, choose_text_fields(found, settings))
    return Catalog(rows, builder, columns.shown(), found)


def _open_source(path: Path) -> Source:
    if path.is_dir():
        return PictureDirectory(path)
    if not path.exists():
        raise CatalogError(f"there is no catalog at {path}")
    if not path.is_file():
        raise CatalogError(f"{path} is neither a file nor a directory")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if not suffixes or suffixes[-1] not in _KINDS:
        raise CatalogError(
            f"{path} is of no kind that can be read; a catalog is named {', '.join(_KINDS)} (or .gz)"
        )
    return _KINDS[suffixes[-1]](path)


def _sample(source: Source) -> Profile:
    """What the first rows look like. Rows that cannot be read and names that cannot be attributes are left out."""
    profile = Profile(source.columns)
    problem: Rejected | None = None
    for row in source.rows():
        if isinstance(row, Rejected):
            problem = problem or row
        elif all(map(_is_name, row.values)):
            profile.add(row)
        if profile.rows == SAMPLE_ROWS:
            break
    if not profile.rows or not profile.columns:
        raise CatalogError(f"{source.path} holds no rows" + _why(problem))
    return profile


def _why(problem: Rejected | None) -> str:
    return (
        f" that can be read; the first problem is on line {problem.line}: {problem.reason}" if problem else ""
    )


def _is_name(column: str) -> bool:
    try:
        check_name(column)
    except InvalidValue:
        return False
    return True
