"""Token vectors as embedding lists of a server, a list for each product, compared by MAX_SIM.

Milvus adds an array of structs to no existing collection, so the lists get one of their own. Servers have them from
2.6.4 on, Milvus Lite has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import NotSupported
from mm_milvus.store.filters import Dialect, ids_filter, render
from mm_milvus.store.limits import ID_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt
    from pymilvus import MilvusClient

    from mm_milvus.store.collection import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["TokenLists"]

STRUCT, VECTOR = "tokens", "vector"
FIELD = f"{STRUCT}[{VECTOR}]"
METRIC = "MAX_SIM_IP"  # the sum over query vectors of the highest inner product
MADE_OF = "mm.tokens"  # property: which tokens the lists hold in full
_CAPACITY = 1_024  # tokens of a product: 512 words and 64 patches are the most
_IDS = 1_000


class TokenLists:
    """The embedding lists of a collection's products. Raises NotSupported where the server has no such thing."""

    def __init__(self, collection: Collection, dim: int) -> None:
        if not collection.capabilities.embedding_lists:
            raise NotSupported(
                f"this Milvus ({collection.capabilities.version}) has no embedding lists, which servers have "
                "from 2.6.4 on; late interaction does without them"
            )
        self.name = f"{collection.name}_mm_tokens"
        self._dim = dim
        self._link = collection._link
        self._schema = collection.stamp.schema
        self._settings = collection._settings

    def hold(self) -> str:
        """The name that ``begin`` was given when all lists were written; "" while they are not."""

        def look(client: MilvusClient) -> str:
            if not client.has_collection(self.name, timeout=self._settings.timeout):
                return ""
            described = client.describe_collection(self.name, timeout=self._settings.timeout)
            return str(described.get("properties", {}).get(MADE_OF, ""))

        return self._link.call(f"cannot describe the collection {self.name!r}", look)

    def begin(self, *, anew: bool) -> None:
        """Before lists are written; ``anew``: into an empty collection."""

        def make(client: MilvusClient) -> None:
            if not anew:
                self._note(client, "")
                return
            if client.has_collection(self.name, timeout=self._settings.timeout):
                client.drop_collection(self.name, timeout=self._settings.timeout)
            index = client.prepare_index_params()
            index.add_index(FIELD, index_type="HNSW", metric_type=METRIC, M=16, efConstruction=200)
            client.create_collection(
                self.name,
                schema=self._schema_of(client),
                index_params=index,
                consistency_level=self._settings.consistency,
                timeout=self._settings.timeout,
            )

        self._link.call(f"cannot create the collection {self.name!r}", make)

    def write(self, products: Iterable[tuple[str, Array]]) -> None:
        """Replaces the lists (T, dim) of products, by id; one of an empty list is left out."""
        rows = [
            {"id": id, STRUCT: [{VECTOR: vector.tolist()} for vector in tokens[:_CAPACITY]]}
            for id, tokens in products
            if len(tokens)
        ]
        if rows:
            self._link.call(
                f"cannot write into {self.name!r}",
                lambda client: client.upsert(self.name, rows, timeout=self._settings.timeout),
            )

    def delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _IDS):
            expression = self._ids(ids[start : start + _IDS])
            self._link.call(
                f"cannot delete from {self.name!r}",
                lambda client, expression=expression: client.delete(  # type: ignore[misc]
                    self.name, filter=expression, timeout=self._settings.timeout
                ),
            )

    def finish(self, name: str) -> None:
        """All lists are written: from now on ``hold`` gives this name."""
        self._link.call(f"cannot change {self.name!r}", lambda client: self._note(client, name))

    def scores(self, vectors: Array, ids: Sequence[str]) -> dict[str, float]:
        """id -> sum over i of max over j of q_i . p_j, for the products among ``ids`` that have a list.

        ``vectors`` (Q, dim) may be of any length, which weighs them. Exact: with as many hits as there are ids, a
        server compares all that pass the filter.
        """
        if not len(vectors) or not ids:
            return {}
        hits: list[list[dict[str, Any]]] = self._link.call(
            f"cannot search {self.name!r}",
            lambda client: client.search(
                self.name,
                [_query(vectors)],
                filter=self._ids(ids),
                limit=len(ids),
                output_fields=["id"],
                search_params={"metric_type": METRIC, "params": {"ef": max(len(ids), 64)}},
                anns_field=FIELD,
                consistency_level=self._settings.consistency,
                timeout=self._settings.timeout,
            ),
            collection=self.name,
        )
        return {hit["id"]: float(hit["distance"]) for hit in hits[0]}

    def _schema_of(self, client: MilvusClient) -> Any:
        from pymilvus import DataType

        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=ID_BYTES)
        struct = client.create_struct_field_schema()
        struct.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=self._dim)
        schema.add_field(
            STRUCT,
            DataType.ARRAY,
            element_type=DataType.STRUCT,
            struct_schema=struct,
            max_capacity=_CAPACITY,
        )
        return schema

    def _note(self, client: MilvusClient, name: str) -> None:
        client.alter_collection_properties(
            self.name, properties={MADE_OF: name}, timeout=self._settings.timeout
        )

    def _ids(self, ids: Sequence[str]) -> str:
        return render(ids_filter(list(ids)), self._schema, Dialect.NULLABLE)


def _query(vectors: Array) -> Any:
    from pymilvus.client.embedding_list import EmbeddingList

    return EmbeddingList(np.ascontiguousarray(vectors, np.float32))
