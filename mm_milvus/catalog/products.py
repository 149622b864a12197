"""A raw row -> a Product, or a Rejected that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mm_milvus.catalog.infer import currency_of
from mm_milvus.catalog.names import says_count, says_money
from mm_milvus.catalog.numbers import is_plain_number, parse_money
from mm_milvus.catalog.pictures import is_data_uri, references
from mm_milvus.catalog.text import render_text
from mm_milvus.catalog.values import Conversion, check_id, check_name, convert, is_missing
from mm_milvus.errors import InvalidValue
from mm_milvus.records import FieldType, Product, Rejected
from mm_milvus.texts import check_string

if TYPE_CHECKING:
    from mm_milvus.catalog.infer import Profile
    from mm_milvus.catalog.mapping import ColumnMap
    from mm_milvus.catalog.readers import RawRow
    from mm_milvus.config import Settings
    from mm_milvus.records import Schema

__all__ = ["ProductBuilder"]

_AMOUNTS = {FieldType.DOUBLE, FieldType.INT64}


class ProductBuilder:
    """Turns rows into products by the map and the schema; a pure function of the row."""

    def __init__(
        self,
        columns: ColumnMap,
        schema: Schema,
        profile: Profile,
        settings: Settings,
        text_fields: Sequence[str],
    ) -> None:
        self._columns = columns
        self._types = schema.types()
        self._marks = {column: seen.mark for column, seen in profile.columns.items()}
        self._forced = {*settings.types, "item_group_id"}
        self._text_fields = tuple(dict.fromkeys(("title", "description", *text_fields)))
        self._known = {
            column: tuple(self._conversion(column, name) for name in columns.attribute(column))
            for column in profile.columns
        }

    def build(self, row: RawRow) -> Product | Rejected:
        """The product of a row; whether its id was used before is not looked at here."""
        stage: Literal["map", "type"] = "map"
        name: str | None = None
        try:
            name = check_id(_present(row, self._columns.id))
            images = self._images(row)
            for column in row.values.keys() - self._known.keys():
                check_name(column)
            stage = "type"
            attributes = self._attributes(row)
            self._add_first_image(attributes, images)
        except InvalidValue as problem:
            return Rejected(row.line, name, stage, str(problem), row.values)
        if not images and not render_text(attributes, self._text_fields, 1):
            return Rejected(row.line, name, "map", "neither text nor a picture", row.values)
        return Product(row.line, name, attributes, tuple(images), row.values)

    def _images(self, row: RawRow) -> list[str]:
        found: list[str] = []
        for position, column in enumerate(self._columns.images):
            found += references(row.values.get(column), text=row.text, several=position > 0)
        return list(dict.fromkeys(found))

    def _add_first_image(self, attributes: dict[str, Any], images: Sequence[str]) -> None:
        first = next((image for image in images[:1] if not is_data_uri(image)), None)
        if first is not None:
            attributes["image"] = check_string("image", first)

    def _attributes(self, row: RawRow) -> dict[str, Any]:
        attributes: dict[str, Any] = {}
        currencies: dict[str, str] = {}
        for column, value in row.values.items():
            for to in self._conversions(column):
                if to.name in attributes:
                    raise InvalidValue(f"two columns are called {to.name!r}, one of them is {column!r}")
                if is_missing(value, text=row.text):
                    continue
                attributes[to.name] = convert(value, to, text=row.text)
                if to.currency and (currency := _currency(value, to.mark)):
                    currencies[to.currency] = currency
        return currencies | attributes  # a column of its own for the currency wins

    def _conversions(self, column: str) -> tuple[Conversion, ...]:
        if (known := self._known.get(column)) is not None:
            return known
        return tuple(self._conversion(column, name) for name in self._columns.attribute(column))

    def _conversion(self, column: str, name: str) -> Conversion:
        kind = self._types.get(name)
        is_amount = kind in _AMOUNTS and says_money(name)
        return Conversion(
            name=name,
            type=kind,
            numeric_text=says_money(name) or says_count(name),
            forced=name in self._forced,
            mark=self._marks.get(column),
            currency=currency_of(name, self._columns) if is_amount else None,
        )


def _currency(value: Any, mark: str | None) -> str:
    """The currency that an amount names, "" where it names none."""
    if not isinstance(value, str) or is_plain_number(value):
        return ""
    money = parse_money(value, mark)
    return money[1] if money else ""


def _present(row: RawRow, column: str) -> Any:
    value = row.values.get(column)
    return None if is_missing(value, text=row.text) else value
