"""A file of pairs: one JSON object a line, which says that a query wants a product.

{"query": "red shoe", "product": "shoe-17", "grade": 2, "split": "train"}
{"query": {"text": "but blue", "image": "asked/1.jpg", "id": "shoe-17"}, "product": "shoe-18"}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mm_milvus.catalog.readers import RawRow, parse_row, read_lines, snippet
from mm_milvus.errors import CatalogError, ConfigError, InvalidValue
from mm_milvus.records import Rejected
from mm_milvus.texts import check_unicode
from mm_milvus.training.data import DEV, SPLITS, Asked, Labels

__all__ = ["PairsFile", "pairs_of", "read_pairs"]

_PARTS = {"text", "image", "id"}
_KEYS = {"query", "product", "grade", "split"}
_LOWEST, _HIGHEST = 1e-6, 1e6  # of grades: sums of them in single precision stay numbers, and above 0


@dataclass(eq=False)
class PairsFile:
    """What a file of pairs says about the products of a collection."""

    labels: Labels = field(default_factory=Labels)
    rejects: list[Rejected] = field(default_factory=list)
    unknown_products: int = 0  # pairs that name a product that is not stored; rejected as well


class _Unknown(InvalidValue):
    """The line names a product that is not stored."""


def read_pairs(path: Path, places: dict[str, int], *, dev_share: float, seed: int) -> PairsFile:
    """Pairs of the file; ``places`` has the place of each product by its id.

    A dev split is drawn by query where the file names none. Raises ConfigError for a file that cannot be read. There
    may be no pair left to train with.
    """
    found = PairsFile()
    numbers: dict[Asked, int] = {}
    splits: list[int] = []
    grades: dict[tuple[int, int], float] = {}
    for row in _rows(path):
        if isinstance(row, Rejected):
            found.rejects.append(row)
            continue
        try:
            asked, product, grade, split = _pair(row.values, places)
            query = numbers.setdefault(asked, len(numbers))
            if query == len(splits):
                splits.append(split)
            elif splits[query] != split:
                raise InvalidValue(f"this query is in the split {SPLITS[splits[query]]!r} already")
        except InvalidValue as error:
            found.unknown_products += isinstance(error, _Unknown)
            found.rejects.append(Rejected(row.line, None, "read", str(error), row.values))
            continue
        grades[query, product] = max(grade, grades.get((query, product), 0.0))
    pairs = np.array(list(grades), np.int64).reshape(-1, 2)
    found.labels = Labels(
        list(numbers), pairs[:, 0], pairs[:, 1], np.array(list(grades.values()), np.float32),
        np.array(splits, np.int8),
    )  # fmt: skip
    if DEV not in splits:
        found.labels.draw_dev(dev_share, seed)
    return found


def pairs_of(
    path: Path, places: dict[str, int], reasons: dict[Asked, str], refused: set[int]
) -> Iterator[Rejected]:
    """The pairs of these queries, with the reason why each query cannot be encoded; ``refused`` lines are told already.

    The file is read once more: its rows would take more memory than the pairs.
    """
    for row in _rows(path):
        if isinstance(row, Rejected) or row.line in refused:
            continue
        if reason := reasons.get(_asked(row.values.get("query"), places)):
            yield Rejected(row.line, None, "encode", reason, row.values)


def _rows(path: Path) -> Iterator[RawRow | Rejected]:
    """The lines, read as those of a catalog: plain or gzipped, or the rejects file of an earlier training."""
    try:
        for line in read_lines(path):
            if line.problem:
                yield Rejected(line.number, None, "read", line.problem, snippet(line.data))
            elif line.data.strip():
                yield parse_row(line.number, line.data)
    except CatalogError as error:
        raise ConfigError(f"the file of pairs cannot be used: {error}") from error


def _pair(values: dict[str, Any], places: dict[str, int]) -> tuple[Asked, int, float, int]:
    if unknown := sorted(values.keys() - _KEYS):
        raise InvalidValue(f"unknown key {unknown[0]!r}; a pair has {', '.join(sorted(_KEYS))}")
    product = _place(values.get("product"), "product", places)
    asked = _asked(values.get("query"), places)
    if asked.product == product:
        raise InvalidValue("the query is the product itself")
    return asked, product, _grade(values.get("grade", 1.0)), _split(values.get("split", "train"))


def _asked(query: Any, places: dict[str, int]) -> Asked:
    if isinstance(query, str):
        query = {"text": query}
    if not isinstance(query, dict) or not query or query.keys() - _PARTS:
        raise InvalidValue("the query is a text, or an object of text, image and id")
    for part in ("text", "image"):
        if part in query and not (isinstance(query[part], str) and query[part].strip()):
            raise InvalidValue(f"the query's {part} must be a string that is not empty")
        check_unicode(f"the query's {part}", query.get(part, ""))
    product = _place(query["id"], "query's id", places) if "id" in query else -1
    return Asked(query.get("text", "").strip(), query.get("image", ""), product=product)


def _place(id: Any, what: str, places: dict[str, int]) -> int:
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)  # ids are texts in a collection, whatever a catalog writes
    if not isinstance(id, str):
        raise InvalidValue(f"the {what} must be the id of a product")
    if id not in places:
        raise _Unknown(f"there is no product {id!r}")
    return places[id]


def _grade(grade: Any) -> float:
    is_number = isinstance(grade, int | float) and not isinstance(grade, bool)
    if not is_number or not _LOWEST <= grade <= _HIGHEST:
        raise InvalidValue(f"the grade must be a number from 0.000001 to 1,000,000, got {grade!r:.80}")
    return float(grade)


def _split(split: Any) -> int:
    if split not in SPLITS:
        raise InvalidValue(f"the split is one of {', '.join(SPLITS)}, got {split!r:.80}")
    return SPLITS.index(split)
