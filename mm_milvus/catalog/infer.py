"""The schema of a catalog from a sample of its rows: counts per column, never the rows themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mm_milvus.catalog.names import nearest, says_count, says_identifier, says_money
from mm_milvus.catalog.numbers import decimal_mark, is_plain_number, parse_money
from mm_milvus.catalog.values import is_missing
from mm_milvus.errors import ConfigError
from mm_milvus.records import Field, FieldType, Schema

if TYPE_CHECKING:
    from mm_milvus.catalog.mapping import ColumnMap
    from mm_milvus.catalog.readers import RawRow
    from mm_milvus.config import Settings

__all__ = ["TYPED_FIELDS", "Profile", "check_types", "currency_of", "infer_schema"]

TYPED_FIELDS = 64  # columns of a collection; further attributes live in the dynamic field
_COLUMNS = 1024  # columns that are looked at: rows with keys of their own must not fill the memory
_NUMBER_CHARS = 64
_EXACT_DIGITS = 15  # longer integers are codes, and not all of them are doubles
_NUMBERS = {FieldType.DOUBLE, FieldType.INT64}
_ARRAYS = {
    FieldType.BOOL: FieldType.ARRAY_BOOL,
    FieldType.DOUBLE: FieldType.ARRAY_DOUBLE,
    FieldType.VARCHAR: FieldType.ARRAY_VARCHAR,
}


@dataclass(slots=True)
class ColumnProfile:
    """What the values of one column look like."""

    present: int = 0
    kinds: Counter[FieldType] = field(default_factory=Counter)
    text: int = 0  # strings of rows that know nothing but strings
    plain: int = 0  # strings that are plain numbers
    flags: int = 0  # strings that are true or false
    money: int = 0  # strings that are amounts
    currencies: int = 0
    marks: Counter[str] = field(default_factory=Counter)

    @property
    def mark(self) -> str | None:
        """The decimal mark that the column shows, None where it shows none."""
        return max(self.marks, key=self.marks.__getitem__) if self.marks else None

    def add(self, value: Any, *, text: bool) -> None:
        self.present += 1
        if (kind := kind_of(value)) is not None:
            self.kinds[kind] += 1
        if isinstance(value, str):
            self.text += text
            if len(value) <= _NUMBER_CHARS:
                self._add_short_text(value)

    def _add_short_text(self, value: str) -> None:
        self.plain += is_plain_number(value) and len(value.strip().partition(".")[0]) <= _EXACT_DIGITS
        self.flags += value.strip().lower() in {"true", "false"}
        if money := parse_money(value):
            self.money += 1
            self.currencies += bool(money[1])
            if mark := decimal_mark(value):
                self.marks[mark] += 1


class Profile:
    """Counts per column over the sampled rows."""

    def __init__(self, columns: Iterable[str] = ()) -> None:
        self.columns = {column: ColumnProfile() for column in columns}
        self.rows = 0

    def add(self, row: RawRow) -> None:
        self.rows += 1
        for column, value in row.values.items():
            if column not in self.columns:
                if len(self.columns) >= _COLUMNS:
                    continue
                self.columns[column] = ColumnProfile()
            if not is_missing(value, text=row.text):
                self.columns[column].add(value, text=row.text)


def kind_of(value: Any) -> FieldType | None:
    """The type that a value suggests; None for an empty list, which fits any array."""
    if isinstance(value, bool):
        return FieldType.BOOL
    if isinstance(value, int | float):
        return FieldType.DOUBLE
    if isinstance(value, str):
        return FieldType.VARCHAR
    if isinstance(value, list | tuple):
        kinds = {kind_of(item) for item in value}
        return (
            _ARRAYS.get(kinds.pop() or FieldType.JSON, FieldType.JSON)
            if len(kinds) == 1
            else _no_one_kind(kinds)
        )
    return FieldType.JSON


def _no_one_kind(kinds: set[FieldType | None]) -> FieldType | None:
    return FieldType.JSON if kinds else None


def infer_schema(profile: Profile, columns: ColumnMap, settings: Settings) -> Schema:
    """Fields of the attributes that the sample shows, title and description first; at most 64 are typed."""
    found = {name: (kind, present) for name, kind, present in _fields(profile, columns, settings.types)}
    first = [name for name in ("title", "description") if name in found]
    order = first + [name for name in found if name not in first]
    wanted = [*first, *settings.types, *([settings.partition_key] if settings.partition_key else [])]
    often = sorted((name for name in order if name not in wanted), key=lambda name: -found[name][1])
    typed = set(
        [name for name in dict.fromkeys(wanted) if name in found] + often[: TYPED_FIELDS - len(wanted)]
    )
    return Schema(tuple(Field(name, found[name][0], name in typed) for name in order))


def _fields(
    profile: Profile, columns: ColumnMap, types: Mapping[str, FieldType]
) -> Iterable[tuple[str, FieldType, int]]:
    """(attribute, type, rows that have it) in catalog order, with the currencies of prices after them."""
    for column, seen in profile.columns.items():
        if columns.images[:1] == (column,):
            yield "image", FieldType.VARCHAR, seen.present
        for name in columns.attribute(column):
            kind = types.get(name) or infer_type(name, seen)
            if kind is not None:
                yield name, kind, seen.present
            currency = currency_of(name, columns)
            if seen.currencies and currency and kind in _NUMBERS and says_money(name):
                yield currency, FieldType.VARCHAR, seen.currencies


def currency_of(name: str, columns: ColumnMap) -> str | None:
    """Attribute for the currency of an amount; None where the catalog has a column for it of its own."""
    currency = f"{name}_currency"
    return None if any(currency in names for names in columns.attributes.values()) else currency


def infer_type(name: str, seen: ColumnProfile) -> FieldType | None:
    """The type of most values; text counts as numbers only where the name or a CSV full of numbers says so."""
    if name in {"title", "description", "item_group_id"}:
        return FieldType.VARCHAR
    if not seen.present:
        return FieldType.DOUBLE if says_money(name) else None
    kinds = Counter(seen.kinds)
    strings = kinds.pop(FieldType.VARCHAR, 0)
    numbers = _numbers_in_text(name, seen, strings)
    flags = strings if seen.text == seen.flags == strings and not says_identifier(name) else 0
    for kind, count in (
        (FieldType.DOUBLE, numbers),
        (FieldType.BOOL, flags if not numbers else 0),
        (FieldType.VARCHAR, strings - numbers - (flags if not numbers else 0)),
    ):
        if count:
            kinds[kind] += count
    return max(kinds, key=kinds.__getitem__) if kinds else None


def _numbers_in_text(name: str, seen: ColumnProfile, strings: int) -> int:
    if says_money(name):
        return seen.money
    all_plain = seen.plain == strings
    if says_count(name) or (seen.text == strings and not says_identifier(name)):
        return strings if all_plain else 0
    return 0


def check_types(types: Mapping[str, FieldType], schema: Schema, *, exists: bool) -> None:
    """Raises ConfigError for a type that no attribute, or an existing collection, can have."""
    known = schema.types()
    for name, kind in types.items():
        if name not in known:
            raise ConfigError(f"types: the catalog has no attribute {name!r}{nearest(name, known)}")
        if exists and known[name] is not kind:
            raise ConfigError(f"types: {name} is {known[name].value} in the collection, not {kind.value}")
        if name in {"title", "description", "image"} and kind is not FieldType.VARCHAR:
            raise ConfigError(f"types: {name} is always varchar, not {kind.value}")
