"""One collection: complete rows in, hits out. Ids and values reach Milvus only through the filter renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mm_milvus.errors import CollectionNotFound, ConfigError, FilterError, InvalidValue, StoreError
from mm_milvus.records import Hit, Row
from mm_milvus.store.asking import Asker
from mm_milvus.store.columns import count_passing, rows_of, tokens_of
from mm_milvus.store.counts import Counts
from mm_milvus.store.filters import OWN_FIELDS, Condition, Filter, can_render, ids_filter, parse, render
from mm_milvus.store.generation import Generation
from mm_milvus.store.limits import check_row
from mm_milvus.store.mirror import Mirror, Mirrors
from mm_milvus.store.packing import Packer
from mm_milvus.store.resolve import resolved
from mm_milvus.store.scan import pages, with_copies
from mm_milvus.store.schema import COLUMNS
from mm_milvus.store.stamp import STAMP_PROPERTY
from mm_milvus.store.tokens import Tokens
from mm_milvus.store.unpacking import Unpacker
from mm_milvus.store.write import RowWriter, turn

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    from pymilvus import MilvusClient

    from mm_milvus.config import Settings
    from mm_milvus.store.capabilities import Capabilities
    from mm_milvus.store.link import Link
    from mm_milvus.store.stamp import Stamp

    Array = npt.NDArray[np.float32]
    T = TypeVar("T")

__all__ = ["MAX_WINDOW", "Collection", "Stored"]

# HNSW search widths on a server. Blocks mixed at query time need a wide one: recall@10 over 10,000 fused vectors is
# .966 to 1 at 64, .994 to 1 at 128, .999 to 1 at 256 (benchmarks/hnsw_recall.py). A filter that 8 % of 50,000 rows
# pass leaves the graph thin: .978 at 256, .992 at 1,024; below 7 % servers compare everything that passes
# (tests/store/test_recall.py).
DEFAULT_EF = 256
FILTERED_EF = 1_024
MAX_WINDOW = 16_384  # offset + limit of one search; a server's own bound
_LOOKUP_IDS = 1_000
_BM25 = {"metric_type": "BM25"}
_PAGE = 1_800  # rows with all their attributes: up to 130 kB each, and Milvus sends 256 MB
_STAMP_SECONDS = 1.0  # how old what is known of the stamp may be, on a server
_item = dict.__getitem__  # of what pymilvus calls a Hit, whose own way to an item is a slow one
_JOURNAL = [column for column in COLUMNS if column not in ("text", "mm_image")]


@dataclass(frozen=True, slots=True)
class Stored:
    """What ingest needs to know of a stored row to decide what changed."""

    id: str
    has_image: bool
    has_text: bool
    image_hash: str
    text_hash: str
    attributes_hash: str


class Collection:
    """An open, loaded collection. Obtained from ``Store.open`` or ``Store.create``."""

    def __init__(
        self,
        link: Link,
        name: str,
        stamp: Stamp,
        capabilities: Capabilities,
        settings: Settings,
        stamp_text: str,
        read_columns: Callable[[list[str]], pa.Table | None] = lambda _: None,
    ) -> None:
        """``stamp_text`` is the stamp as it is stored; ``read_columns`` see ``store.columns``."""
        self.name = name
        self.stamp = stamp
        self._stamp_text = stamp_text
        self.capabilities = capabilities
        self._link = link
        self._settings = settings
        self._read_columns = read_columns
        self._writer = RowWriter(link, name, stamp, capabilities, settings)
        self._packer = Packer(name, stamp)
        self._ask = Asker(name, stamp, settings)
        self._types = stamp.schema.types()
        self._unpacker = Unpacker(stamp)
        self._columns = [field.name for field in stamp.schema.fields if field.typed]
        self._mirrors = Mirrors(self)
        self._generation = Generation(link, name, settings.timeout)
        self._counts = Counts(self)

    # --- writing -------------------------------------------------------------------------------------------

    def write(self, rows: Sequence[Row], *, new: bool = False) -> list[tuple[Row, str]]:
        """Stores complete rows; an existing id is replaced as a whole. Ids must be unique within ``rows``.

        Returns the rows that could not be stored, each with the reason in one line; all others are stored. ``new``
        promises that none of the ids is stored yet, which spares a server the search for them. Raises StoreError when
        Milvus fails for a reason that lies in no row; some of the rows may be stored then.
        """
        if rows:
            self._generation.begin()
        return self._writer.write(rows, new=new)

    def refusal(self, row: Row) -> str | None:
        """Why ``write`` would refuse the row without asking Milvus; None when it would not."""
        try:
            check_row(row, self.stamp, self._types)
        except InvalidValue as error:
            return str(error)
        return None

    def flush(self) -> None:
        """Seals what was written: a server builds its index over it, and Milvus Lite searches it 20 times faster."""

        def flush(client: MilvusClient) -> None:
            with turn(self.capabilities):
                client.flush(self.name, timeout=self._settings.timeout)

        self._call("flush", flush)
        self._generation.settle()

    def settle(self) -> None:
        """Lets others see what was written, where no ``flush`` will follow. Does nothing while Milvus is away."""
        with suppress(StoreError):
            self._generation.settle(patient=False)

    def delete(self, filter: Filter) -> int:
        """Deletes the products that pass and says how many there were."""
        expression = self._render(filter, only_known=True)
        count = self._count(expression, "Strong")
        if count:
            self._delete(expression)
        return count

    def delete_ids(self, ids: Sequence[str]) -> None:
        """Deletes these products, as far as they are stored."""
        for part in _parts(list(dict.fromkeys(ids)), _LOOKUP_IDS):
            self._delete(self._render(ids_filter(part)))

    def _delete(self, expression: str) -> None:
        def delete(client: MilvusClient) -> None:
            with turn(self.capabilities):
                client.delete(self.name, filter=expression, timeout=self._settings.timeout)

        self._call("delete from", delete)
        self._generation.renew()

    @property
    def generation(self) -> str:
        """Another text after every change made with this package; see ``store.generation``."""
        return self._generation.text()

    @property
    def outdated(self) -> bool:
        """Whether it has to be opened again: others gave it another stamp, dropped it or made another of that name.

        A server is asked once a second; Milvus Lite, which is asked for the generation anyway, each time.
        """
        try:
            properties = self._generation.properties(0.0 if self.capabilities.lite else _STAMP_SECONDS)
        except CollectionNotFound:
            return True
        return properties.get(STAMP_PROPERTY) != self._stamp_text

    # --- reading -------------------------------------------------------------------------------------------

    def parse(self, expression: str | Condition) -> Filter:
        """A user's filter. Raises FilterError or UnknownField."""
        if isinstance(expression, Condition):
            return expression.bind(self._types)
        if not isinstance(expression, str):
            raise FilterError(
                f"a filter is an expression in a string, or made with F, not {expression!r:.80}"
            )
        return parse(expression, self._types)

    def count(self, filter: Filter | None = None, consistency: str = "Strong") -> int:
        """Number of stored products that pass."""
        return self._count(self._render(filter), consistency)

    def _count(self, expression: str, consistency: str) -> int:
        rows = self._query("count", expression, ["count(*)"], consistency_level=consistency)
        return int(rows[0]["count(*)"])

    @property
    def consistency(self) -> str:
        """That of searches, by the settings."""
        return self._settings.consistency

    def total(self, filter: Filter | None) -> tuple[int, bool]:
        """How many products pass, and whether that is exact."""
        if not self.capabilities.lite:
            return self.count(filter, self.consistency), True
        return self._counts.get(filter)

    def lacks(self, flag: str) -> bool:
        """Whether a product has nothing there: ``flag`` is "has_image" or "has_text". Remembered like a total."""
        return self._counts.get(self.parse(f"not {flag}"))[0] > 0

    def count_here(self, filter: Filter) -> int | None:
        """How many products pass, without a question to Milvus; None where that is not possible."""
        return count_passing(self._read_columns, filter, self.stamp.schema)

    def count_to(self, filter: Filter, most: int) -> int:
        """How many products pass, counted up to ``most``."""
        if not can_render(filter, self.capabilities.dialect):
            return int(self._looked_through().passing(filter).sum())
        return len(self._query("count", self._render(filter), ["id"], limit=most))

    def search(
        self,
        vector: Array,
        *,
        filter: Filter | None = None,
        limit: int = 10,
        offset: int = 0,
        fields: Sequence[str] | None = None,
    ) -> list[Hit]:
        """The products with the highest inner product with ``vector`` (dim,), best first."""
        if limit < 1 or offset < 0 or limit + offset > MAX_WINDOW:
            raise ConfigError(
                f"limit must be at least 1, offset at least 0 and both together at most {MAX_WINDOW:,}"
            )
        found = self._search_all(
            [self._packer.query_vector(vector)],
            filter=filter,
            limit=limit,
            offset=offset,
            output_fields=self._output_fields(fields)[1:],  # the id comes by itself
        )[0]
        made = self._unpacker.hit
        return [made(_item(hit, "id"), _item(hit, "distance"), _item(hit, "entity"), fields) for hit in found]

    def rank(self, vector: Array, *, filter: Filter | None = None, limit: int) -> dict[str, float]:
        """id -> inner product with ``vector`` (dim,), best first, of the ``limit`` best."""
        return self.rank_all(vector[None], filter=filter, limit=limit)[0]

    def rank_all(self, vectors: Array, *, filter: Filter | None = None, limit: int) -> list[dict[str, float]]:
        """``rank`` for each of several vectors (N, dim), in one request."""
        queries = [self._packer.query_vector(vector) for vector in vectors]
        found = self._search_all(queries, filter=filter, limit=limit, output_fields=["id"])
        return [{hit["id"]: float(hit["distance"]) for hit in hits} for hits in found]

    def inner_products(self, vector: Array, ids: Sequence[str]) -> dict[str, float]:
        """id -> inner product with ``vector`` (dim,) of the stored products among ``ids``, at most 1,000."""
        found: dict[str, float] = {}
        if ids and not self.capabilities.lite:  # a server is much faster in this than in handing out vectors
            found = self.rank(vector, filter=ids_filter(ids), limit=len(ids))
        rest = self.vectors([id for id in ids if id not in found], self.consistency)
        return found | {id: float(vector @ stored) for id, (stored, _, _) in rest.items()}

    def rank_words(self, tokens: str, *, filter: Filter | None = None, limit: int) -> dict[str, float]:
        """id -> BM25 of search tokens (see ``store.tokens``), best first; only products that have one of them.

        For a Milvus with ``capabilities.bm25``.
        """
        found = self._search_all(
            [tokens], filter=filter, limit=limit, output_fields=["id"], field="mm_sparse"
        )[0]
        # Milvus Lite gives distances, which are negative
        return {hit["id"]: abs(float(hit["distance"])) for hit in found}

    def _search_all(
        self,
        queries: list[Any],
        *,
        filter: Filter | None,
        limit: int,
        offset: int = 0,
        output_fields: list[str],
        field: str = "fused",
    ) -> list[list[dict[str, Any]]]:
        dense = field == "fused"
        params = self._search_params(limit + offset, filtered=filter is not None) if dense else _BM25
        ask = partial(
            self._ask,
            queries=queries,
            field=field,
            params=params,
            expression=self._render(filter),
            limit=limit,
            offset=offset,
            output_fields=output_fields,
        )
        return self._call("search", ask)

    def _search_params(self, window: int, *, filtered: bool) -> dict[str, Any]:
        if self.capabilities.lite:
            return {"metric_type": "IP"}
        ef = self._settings.ef or (FILTERED_EF if filtered else DEFAULT_EF)
        return {"metric_type": "IP", "params": {"ef": max(ef, window)}}

    def get(
        self, ids: Sequence[str], fields: Sequence[str] | None = None, consistency: str = "Strong"
    ) -> list[Hit]:
        """The stored products among ``ids``, in that order, with score 1."""
        found = self._look_up(ids, self._output_fields(fields), consistency)
        rows = {row["id"]: row for row in found}
        return [self._unpacker.hit(id, 1.0, rows[id], fields) for id in dict.fromkeys(ids) if id in rows]

    def stored(self, ids: Sequence[str], consistency: str = "Strong") -> dict[str, Stored]:
        """Hashes and presence flags of the stored products among ``ids``."""
        return {row["id"]: _journal(row) for row in self._look_up(ids, _JOURNAL, consistency)}

    def scan(self) -> Iterator[Stored]:
        """Hashes and presence flags of all stored rows, by rising id, a page in memory at a time.

        A row that is stored twice comes twice. What is written meanwhile may be missed.
        """
        found = pages if self.capabilities.insert_replaces else with_copies
        for page in found(partial(self._query, "read"), _JOURNAL):
            yield from map(_journal, page)

    def products(self) -> Iterator[dict[str, Any]]:
        """Everything filters can ask of each stored product: id, text, has_image, has_text and its attributes."""
        fields = [*OWN_FIELDS, *self._columns, "$meta"]
        if (table := self._read_columns(fields)) is not None:
            rows = rows_of(table, self.stamp.schema)
        else:
            rows = chain.from_iterable(pages(partial(self._query, "read"), fields, _PAGE))
        for row in rows:
            hit = self._unpacker.hit(row["id"], 1.0, row, None)
            yield {name: row[name] for name in OWN_FIELDS} | dict(hit.attributes)

    def tokens(self, purpose: str) -> tuple[list[str], Tokens]:
        """Ids of all products, rising, and the search tokens of each. Raises NotSupported, as ``mirror`` does."""
        if (table := self._read_columns(["id", "mm_tokens"])) is not None:
            return tokens_of(table)
        mirror = self.mirror(purpose)
        return mirror.ids, Tokens.of(row["text"] for row in mirror.rows)

    def mirror(self, purpose: str) -> Mirror:
        """All products in memory. Raises NotSupported for too many of them; ``purpose`` stands in the message."""
        return self._mirrors.get(purpose)

    def has_mirror(self, mirror: Mirror) -> bool:
        """Whether ``mirror`` would give this one."""
        return self._mirrors.has(mirror)

    def vectors(self, ids: Sequence[str], consistency: str = "Strong") -> dict[str, tuple[Array, bool, bool]]:
        """id -> (stored vector (dim,), has_image, has_text); float32 vectors come back bit for bit."""
        rows = self._look_up(ids, ["id", "fused", "has_image", "has_text"], consistency)
        return {
            row["id"]: (self._unpacker.vector(row["fused"]), row["has_image"], row["has_text"])
            for row in rows
        }

    def _look_up(
        self, ids: Sequence[str], output_fields: list[str], consistency: str = "Strong"
    ) -> Iterator[dict[str, Any]]:
        for part in _parts(list(dict.fromkeys(ids)), _LOOKUP_IDS):
            expression = self._render(ids_filter(part))
            yield from self._query("read", expression, output_fields, consistency_level=consistency)

    def describe_index(self) -> dict[str, Any]:
        """Type, metric and build parameters of the vector index."""
        index = self._call(
            "describe the index of",
            lambda client: client.describe_index(self.name, "fused", timeout=self._settings.timeout) or {},
        )
        return {
            key: index[key] for key in ("index_type", "metric_type", "M", "efConstruction") if key in index
        }

    # --- both ----------------------------------------------------------------------------------------------

    def _call(self, verb: str, do: Callable[[MilvusClient], T]) -> T:
        return self._link.call(f"cannot {verb} {self.name!r}", do, collection=self.name)

    def _query(self, verb: str, expression: str, fields: list[str], **options: Any) -> list[dict[str, Any]]:
        return self._call(
            verb,
            lambda client: client.query(
                self.name,
                filter=expression,
                output_fields=fields,
                timeout=self._settings.timeout,
                **options,
            ),
        )

    def _render(self, filter: Filter | None, *, only_known: bool = False) -> str:
        if filter is None:
            return ""
        dialect = self.capabilities.dialect
        whole = resolved(filter, dialect, self._looked_through, only_known=only_known)
        return render(whole, self.stamp.schema, dialect)

    def _looked_through(self) -> Mirror:
        return self.mirror("a filter with such patterns, words or lists")

    def _output_fields(self, fields: Sequence[str] | None) -> list[str]:
        """All attributes; the embedded text only where it is asked for."""
        own = ["id", "mm_image", "text"] if fields and "text" in fields else ["id", "mm_image"]
        return [*own, *self._columns, "$meta"]


def _journal(row: Mapping[str, Any]) -> Stored:
    hashes = row["mm_image_hash"], row["mm_text_hash"], row["mm_attributes_hash"]
    return Stored(row["id"], row["has_image"], row["has_text"], *hashes)


def _parts(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
