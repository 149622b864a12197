"""Searches, as ``MilvusClient.search`` does them, for half of what they cost this process.

pymilvus looks at every argument of every search and packs it anew. Here its request is kept for each kind of search,
and sent again with other vectors and another filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from mm_milvus.config import Settings

    Queries = Sequence[bytes] | Sequence[str]  # vectors in the type of the stored ones, or words
    Found = list[list[dict[str, Any]]]

__all__ = ["Asker"]

_KINDS = 256  # of searches whose requests are kept


class Asker:
    """Searches one collection."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._timeout = settings.timeout
        self._consistency = settings.consistency
        self._kept: dict[tuple[object, ...], Any] = {}
        self._works = True  # until pymilvus turns out not to be the one that this was written for

    def __call__(
        self,
        client: MilvusClient,
        queries: Queries,
        *,
        field: str,
        params: dict[str, Any],
        expression: str,
        limit: int,
        offset: int = 0,
        output_fields: list[str],
    ) -> Found:
        """What ``client.search`` returns for all queries. Raises what that raises.

        Whatever fails is left to pymilvus, which knows when to repeat a call; but not when the time is over.
        """
        window = {"limit": limit, "offset": offset, "output_fields": output_fields}
        if self._works:
            try:
                return self._ask(client, queries, expression, anns_field=field, param=params, **window)
            except Exception as error:
                if _timed_out(error):
                    raise
                self._works = not isinstance(error, ImportError | AttributeError | TypeError)
        return client.search(  # type: ignore[no-any-return]
            self._name,
            list(queries),
            filter=expression,
            search_params=params,
            anns_field=field,
            consistency_level=self._consistency,
            timeout=self._timeout,
            **window,
        )

    def _ask(self, client: Any, queries: Queries, expression: str, **options: Any) -> Found:
        from pymilvus.client.call_context import _api_level_md
        from pymilvus.client.search_result import SearchResult
        from pymilvus.client.utils import check_status

        request = self._request(client, queries, expression, options)
        context = client._generate_call_context()
        call = client._get_connection()._stub.Search
        response = call(request, timeout=self._timeout, metadata=_api_level_md(context))
        check_status(response.status)
        found: Found = SearchResult(response.results, -1, status=response.status)
        return found

    def _request(self, client: Any, queries: Queries, expression: str, options: dict[str, Any]) -> Any:
        """The SearchRequest that pymilvus would make of this."""
        from pymilvus.client.ts_utils import construct_guarantee_ts
        from pymilvus.grpc_gen import common_pb2, milvus_pb2

        when: dict[str, Any] = {"consistency_level": self._consistency}
        place = client._get_connection().server_address, client._generate_call_context().get_db_name()
        construct_guarantee_ts(self._name, when, *place)
        options = client._with_cluster_id(options)
        kind = tuple(map(str, options.values()))
        if (known := self._kept.get(kind)) is None:
            if len(self._kept) >= _KINDS:
                self._kept.clear()
            known = self._kept[kind] = self._pattern(client, queries, **options, **when)
        pattern, vectors = known
        values = [query.encode() if isinstance(query, str) else query for query in queries]
        placeholder = common_pb2.PlaceholderValue(values=values)
        placeholder.MergeFrom(vectors)
        request = milvus_pb2.SearchRequest(
            nq=len(values),
            placeholder_group=common_pb2.PlaceholderGroup(placeholders=[placeholder]).SerializeToString(),
            dsl=expression,
            guarantee_timestamp=when["guarantee_timestamp"],
        )
        request.MergeFrom(pattern)
        return request

    def _pattern(self, client: Any, queries: Queries, **options: Any) -> tuple[Any, Any]:
        """pymilvus' request without what every search has of its own, and the empty placeholder of the vectors."""
        from pymilvus.client.prepare import Prepare
        from pymilvus.grpc_gen import common_pb2

        schema, _ = client._get_connection()._get_schema(
            self._name, timeout=self._timeout, context=client._generate_call_context()
        )
        request = Prepare.search_requests_with_expr(
            self._name, data=list(queries), schema=schema, use_default_consistency=False, **options
        )
        group = common_pb2.PlaceholderGroup.FromString(request.placeholder_group)
        for own in ("nq", "placeholder_group", "dsl", "guarantee_timestamp"):
            request.ClearField(own)
        vectors = group.placeholders[0]
        vectors.ClearField("values")
        return request, vectors


def _timed_out(error: Exception) -> bool:
    import grpc

    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
