"""Files of queries -> questions. A line that cannot be used is left out with its number and the reason."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mm_milvus.catalog.readers import RawRow, parse_row, read_lines, snippet
from mm_milvus.errors import CatalogError, ConfigError, InvalidValue, MediaError
from mm_milvus.evaluation.measures import MOST_GRADE
from mm_milvus.evaluation.records import Question, Questions
from mm_milvus.media.references import classify, show
from mm_milvus.records import Rejected, Signal
from mm_milvus.texts import check_unicode

__all__ = ["load_queries"]

_KEYS = ("query", "relevant", "weights", "filter", "qid", "slice")
_KINDS = ("text", "image", "id")
_TABLES = {".tsv", ".txt", ".tab"}

Qrels = Mapping[str, Mapping[str, int]]


def load_queries(path: str | os.PathLike[str], *, qrels: str | os.PathLike[str] | None = None) -> Questions:
    """The queries of a JSON Lines file, with what is relevant to each; or, with ``qrels``, of a TREC collection.

    A line is ``{"query": "red shoe", "relevant": ["sku-1"]}``. ``query`` may be an object of ``text``, ``image`` and
    ``id`` (one or a list of each), ``relevant`` an object of grades. ``weights`` (kind -> weight), ``filter``,
    ``qid`` and ``slice`` (a label or several) may be added. Ids may be whole numbers. Pictures are relative to the
    file. With ``qrels`` (``qid 0 id grade`` on each line) the queries may also be a table of ``qid<TAB>text``.

    Raises ConfigError for a file that cannot be read, and when no line of it can be used.
    """
    file = Path(path)
    try:
        judged, rejected, notices = ({}, [], []) if qrels is None else _read_qrels(Path(qrels))
        rows = list(_table_rows(file) if qrels and file.suffix.lower() in _TABLES else _json_rows(file))
    except CatalogError as error:  # the readers are those of catalogs
        raise ConfigError(str(error)) from error
    reader = _Reader(file.parent, judged if qrels is not None else None)
    questions = []
    for row in rows:
        read = row if isinstance(row, Rejected) else reader.question(row)
        if isinstance(read, Question):
            questions.append(read)
        else:
            rejected.append(read)
    if not questions:
        told = f"; line {rejected[0].line}: {rejected[0].reason}" if rejected else ": it is empty"
        raise ConfigError(f"no query of {file} can be used{told}")
    if strangers := judged.keys() - reader.seen:
        notices.append(f"{len(strangers):,} of the judged queries are not in {file}")
    return Questions(tuple(questions), tuple(rejected), tuple(notices))


class _Reader:
    """Rows -> questions. ``judged`` holds the relevant products, where the rows themselves do not."""

    def __init__(self, folder: Path, judged: Qrels | None) -> None:
        self.seen: set[str] = set()
        self._folder = folder
        self._judged = judged

    def question(self, row: RawRow) -> Question | Rejected:
        name = row.values.get("qid")
        try:
            return self._question(row.line, row.values)
        except InvalidValue as problem:
            return Rejected(
                row.line, None if name is None else str(name), "map", str(problem), dict(row.values)
            )

    def _question(self, line: int, values: Mapping[str, Any]) -> Question:
        if unknown := next((key for key in values if key not in _KEYS), None):
            raise InvalidValue(f"unknown key {unknown!r}; there are {', '.join(_KEYS)}")
        qid = self._qid(line, values.get("qid"))
        signals = tuple(self._signals(values.get("query"), _weights(values.get("weights"))))
        if not signals:
            raise InvalidValue("no query: its lists are empty")
        named = {str(signal.value) for signal in signals if signal.kind == "id"}
        relevant = {
            id: grade for id, grade in self._relevant(qid, values).items() if id not in named
        }  # a query leaves the products that it names out of its answer
        if not any(relevant.values()):
            raise InvalidValue("no relevant product: nothing could be found")
        return Question(
            qid, signals, relevant, _filter(values.get("filter")), _labels(values.get("slice")), line
        )

    def _qid(self, line: int, given: Any) -> str:
        if given is not None and (not isinstance(given, str | int) or isinstance(given, bool) or given == ""):
            raise InvalidValue(f"a qid is a text or a number, got {given!r:.80}")
        qid = f"line {line}" if given is None else str(given)
        if qid in self.seen:
            raise InvalidValue(f"the qid {qid!r:.80} is given twice")
        self.seen.add(qid)
        return qid

    def _signals(self, query: Any, weights: Mapping[str, float]) -> Iterator[Signal]:
        parts = {"text": query} if isinstance(query, str) else query
        if not isinstance(parts, dict) or not parts:
            raise InvalidValue("no query: give a text, or an object of text, image and id")
        if unknown := next((key for key in parts if key not in _KINDS), None):
            raise InvalidValue(f"unknown key {unknown!r} in query; there are {', '.join(_KINDS)}")
        if unused := next((kind for kind in weights if kind not in parts), None):
            raise InvalidValue(f"a weight for {unused!r}, and the query has none")
        for kind, given in parts.items():
            entries = given if isinstance(given, list) else [given]
            weight = weights[kind] / len(entries) if kind in weights and entries else None
            for value in map(_id_text, entries) if kind == "id" else entries:
                if not isinstance(value, str) or not value.strip():
                    raise InvalidValue(f"the {kind} of a query is a text, got {value!r:.80}")
                check_unicode(f"the query's {kind}", value)
                yield Signal(kind, self._picture(value) if kind == "image" else value, weight)

    def _picture(self, reference: str) -> str:
        try:
            found = classify(reference)
        except MediaError as error:
            raise InvalidValue(str(error)) from None
        if found.kind != "path":
            return found.text
        path = os.path.join(self._folder, found.text)
        if not os.path.isfile(path):
            raise InvalidValue(f"no such picture: {show(found.text)}")
        return path

    def _relevant(self, qid: str, values: Mapping[str, Any]) -> Mapping[str, int]:
        given = values.get("relevant")
        if self._judged is not None:
            if given is not None:
                raise InvalidValue("relevant products stand in the file of qrels, and here again")
            return self._judged.get(qid, {})
        if given is None:
            raise InvalidValue("nothing says what is relevant")
        if isinstance(given, dict):
            graded = {id: _grade(id, grade) for id, grade in given.items()}
        else:
            listed = [_id_text(id) for id in (given if isinstance(given, list) else [given])]
            if not all(isinstance(id, str) for id in listed):
                raise InvalidValue("relevant is a list of ids, or an object of grades")
            graded = dict.fromkeys(listed, 1)
        for id in graded:
            check_unicode(f"the id {id!r:.80}", id)
        return graded


def _id_text(given: Any) -> Any:
    """Ids are texts in a collection, whatever a catalog writes: a whole number becomes its digits."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _grade(id: str, given: Any) -> int:
    whole = isinstance(given, int | float) and not isinstance(given, bool) and given == int(given)
    if not whole or not 0 <= given <= MOST_GRADE:
        raise InvalidValue(
            f"the grade of {id!r:.80} is a whole number from 0 to {MOST_GRADE:,}, got {given!r:.40}"
        )
    return int(given)


def _weights(given: Any) -> dict[str, float]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(map(_is_number, given.values())):
        raise InvalidValue("weights is an object of numbers")
    if unknown := next((kind for kind in given if kind not in _KINDS), None):
        raise InvalidValue(f"a weight for {unknown!r}; there are {', '.join(_KINDS)}")
    return {kind: float(weight) for kind, weight in given.items()}


def _is_number(value: Any) -> bool:
    """JSON also has whole numbers that no float holds."""
    try:
        return not isinstance(value, bool) and math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _filter(given: Any) -> str | None:
    if given is not None and not isinstance(given, str):
        raise InvalidValue(f"a filter is a text, got {given!r:.80}")
    return given if given and given.strip() else None


def _labels(given: Any) -> tuple[str, ...]:
    labels = [] if given is None else given if isinstance(given, list) else [given]
    if not all(isinstance(label, str) and label.strip() for label in labels):
        raise InvalidValue(f"a slice is a label or a list of labels, got {given!r:.80}")
    return tuple(dict.fromkeys(label.strip() for label in labels))


# --- files -------------------------------------------------------------------------------------------------


def _json_rows(path: Path) -> Iterator[RawRow | Rejected]:
    for line in read_lines(path):
        if line.problem:
            yield Rejected(line.number, None, "read", line.problem, snippet(line.data), last=line.last)
        elif line.data.strip():
            yield parse_row(line.number, line.data)


def _text_lines(path: Path) -> Iterator[tuple[int, str] | Rejected]:
    for line in read_lines(path):
        if line.problem:
            yield Rejected(line.number, None, "read", line.problem, snippet(line.data), last=line.last)
            continue
        try:
            text = line.data.decode("utf-8")
        except UnicodeDecodeError:
            yield Rejected(line.number, None, "read", "not valid UTF-8", snippet(line.data))
            continue
        if text.strip():
            yield line.number, text


def _table_rows(path: Path) -> Iterator[RawRow | Rejected]:
    """Lines of ``qid<TAB>text``."""
    for line in _text_lines(path):
        if isinstance(line, Rejected):
            yield line
            continue
        number, text = line
        qid, tab, words = text.partition("\t")
        if not (tab and qid.strip()):
            yield Rejected(
                number, None, "read", "expected a qid, a tab and the text of the query", text.strip()
            )
        else:
            yield RawRow(number, {"qid": qid.strip(), "query": words.strip()})


def _read_qrels(path: Path) -> tuple[dict[str, dict[str, int]], list[Rejected], list[str]]:
    """The judgements of a TREC file, ``qid iteration id grade``; grades below 0 (junk) count as 0."""
    judged: dict[str, dict[str, int]] = {}
    rejected: list[Rejected] = []
    for line in _text_lines(path):
        if isinstance(line, Rejected):
            rejected.append(line)
            continue
        number, text = line
        parts = text.split()
        try:
            qid, _, id, grade = parts if len(parts) == 4 else (parts[0], "0", *parts[1:])
            judged.setdefault(qid, {})[id] = _grade(id, max(0, int(grade)))
        except (ValueError, InvalidValue):
            reason = f"{path.name}: expected qid, iteration, id and a whole grade"
            rejected.append(Rejected(number, None, "read", reason, text.strip()))
    return judged, rejected, []
