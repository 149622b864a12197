"""Columns -> our fields: guessed from common names, set by ``mapping``, and never two into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from mm_milvus.catalog.names import DESCRIPTIONS, EXTRA_IMAGES, IDS, IMAGES, TITLES, nearest, normalized
from mm_milvus.errors import CatalogError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ColumnMap", "map_columns"]

CANONICAL = ("id", "title", "description", "image")
_RESERVED = frozenset({"id", "text", "fused", "has_image", "has_text"})
_OURS = ("mm_", "$")
_MISSPELT = 0.8  # likeness of "titel" and "title"
_GUESSES = {"id": IDS, "title": TITLES, "description": DESCRIPTIONS, "image": IMAGES}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column becomes what. Columns that it does not know keep their name unless it is taken."""

    id: str
    images: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]  # column -> attributes; () where it is an id or a picture
    taken: frozenset[str] = field(
        default_factory=frozenset
    )  # attribute names that only their own column may have

    def attribute(self, column: str) -> tuple[str, ...]:
        """Names of the attributes that ``column`` becomes."""
        known = self.attributes.get(column)
        return known if known is not None else (_free_name(column, self.taken),)

    def shown(self) -> dict[str, str | tuple[str, ...]]:
        """Our field -> its column (columns): the mapped fields, and every attribute that was renamed."""
        mapping: dict[str, str | tuple[str, ...]] = {"id": self.id}
        sources = {name: column for column, names in self.attributes.items() for name in names}
        mapping |= {name: sources[name] for name in ("title", "description") if name in sources}
        if self.images:
            mapping["image"] = self.images[0] if len(self.images) == 1 else self.images
        return mapping | {name: column for name, column in sources.items() if name != column}


def map_columns(columns: Sequence[str], wanted: Mapping[str, str], path: Path) -> ColumnMap:
    """The map for a catalog with these ``columns``; ``wanted`` (``settings.mapping``) comes before any guess.

    Raises ConfigError for a mapping that cannot be, CatalogError when no column can be the id.
    """
    _check_wanted(columns, wanted)
    chosen = {name: wanted[name] for name in CANONICAL if name in wanted}
    used = set(wanted.values())
    for name in CANONICAL:
        if name not in chosen and (column := _guess(columns, _GUESSES[name], used)):
            chosen[name] = column
            used.add(column)
    _check_misspelt(chosen, wanted)
    if "id" not in chosen:
        raise CatalogError(
            f"{path} has no column that can be the id; it has {', '.join(columns)}: "
            "say which one it is with --mapping id=COLUMN, or under [mapping] of mm-milvus.toml"
        )
    images = _images(columns, chosen.get("image"), explicit="image" in wanted, used=used)
    return ColumnMap(chosen["id"], images, *_attributes(columns, chosen, wanted, images))


def _check_wanted(columns: Sequence[str], wanted: Mapping[str, str]) -> None:
    for name, column in wanted.items():
        if name not in CANONICAL and _is_ours(name):
            raise ConfigError(f"mapping: {name!r} is a field of ours, choose another name for {column!r}")
        for part in _parts(column, columns) if name == "image" else (column,):
            if part not in columns:
                raise ConfigError(
                    f"the catalog has no column {part!r} for {name!r} (setting mapping){nearest(part, columns)}"
                )


def _check_misspelt(chosen: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Any other key renames an attribute; one that is nearly a field of ours, which is missing, was meant as it."""
    missing = [name for name in CANONICAL if name not in chosen]
    for key in wanted:
        near = get_close_matches(normalized(key), missing, n=1, cutoff=_MISSPELT)
        if key not in CANONICAL and near:
            raise ConfigError(f"mapping: unknown field {key!r}; did you mean {near[0]!r}?")


def _guess(columns: Sequence[str], candidates: Iterable[str], used: set[str]) -> str | None:
    """The column with the most common of the names; among equals the one that is written like it, then the first."""
    by_form: dict[str, str] = {}
    for column in columns:
        form = normalized(column)
        if column not in used and (form not in by_form or column == form):
            by_form[form] = column
    if found := next((by_form[name] for name in candidates if name in by_form), None):
        return found
    if candidates is not IMAGES:
        return None
    # Several pictures often have a column each: "Foto 1", "Foto 2".
    return next((column for column in by_form.values() if _stem(column) in IMAGES), None)


def _stem(column: str) -> str:
    """The name in normalized form without the number at its end."""
    return normalized(column).rstrip("0123456789")


def _images(columns: Sequence[str], first: str | None, *, explicit: bool, used: set[str]) -> tuple[str, ...]:
    if first is None:
        return ()
    if explicit:
        return _parts(first, columns)
    numbered = _stem(first)
    extra = [
        column
        for column in columns
        if column not in used and (normalized(column) in EXTRA_IMAGES or _stem(column) == numbered)
    ]
    return (first, *extra)


def _parts(column: str, columns: Sequence[str]) -> tuple[str, ...]:
    """``front|back`` names two columns, unless one column is called so."""
    return (column,) if column in columns else tuple(part.strip() for part in column.split("|"))


def _attributes(
    columns: Sequence[str], chosen: Mapping[str, str], wanted: Mapping[str, str], images: tuple[str, ...]
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """(column -> attribute names, the names that no other column may take)."""
    targets = {name: chosen[name] for name in ("title", "description") if name in chosen}
    targets |= {name: column for name, column in wanted.items() if name not in CANONICAL}
    # Names that are mapped are taken before the catalog's own columns may have them.
    taken = _RESERVED | set(targets) | ({"image"} if images else set())
    consumed = {*targets.values(), chosen["id"], *images}
    attributes: dict[str, tuple[str, ...]] = {}
    for column in columns:
        names = tuple(name for name, source in targets.items() if source == column)
        if column not in consumed:
            names = (_free_name(column, taken),)
            taken |= set(names)
        attributes[column] = names
    renamed = {name for column, names in attributes.items() for name in names if name != column}
    return attributes, frozenset(_RESERVED | set(targets) | renamed | ({"image"} if images else set()))


def _is_ours(name: str) -> bool:
    return name in _RESERVED or name.startswith(_OURS)


def _free_name(column: str, taken: frozenset[str] | set[str]) -> str:
    """The column's own name, or the nearest to it that is neither ours nor taken."""
    name = f"attr_{column.lstrip('$')}" if column.startswith(_OURS) else column
    while name in taken:
        name += "_"
    return name
