"""Searches, as ``MilvusClient.search`` does them, for two thirds of the time that this process spends on one.

pymilvus looks at every argument of every search and packs it anew. Here its request is kept for each kind of search,
and sent again with other vectors and another filter.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mm_milvus.store.packing import VECTORS

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from mm_milvus.config import Settings
    from mm_milvus.store.stamp import Stamp

    Queries = Sequence[bytes] | Sequence[str]  # vectors in the type of the stored ones, or words
    Found = list[list[dict[str, Any]]]

__all__ = ["Asker"]

_KINDS = 256  # of searches whose requests are kept
_FOREIGN = (ImportError, AttributeError, TypeError)  # what another pymilvus than the one known here leads to


class Asker:
    """Searches one collection."""

    def __init__(self, name: str, stamp: Stamp, settings: Settings) -> None:
        self._name = name
        self._vectors = VECTORS[stamp.vector_dtype]
        self._timeout = settings.timeout
        self._consistency = settings.consistency
        self._kept: dict[tuple[str, ...], Any] = {}
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

        What pymilvus would try again is left to it, for the rest of the time.
        """
        began = time.monotonic()
        window = {"limit": limit, "offset": offset, "output_fields": output_fields}
        timeout = self._timeout
        request = self._request(client, queries, expression, anns_field=field, param=params, **window)
        if request is not None:
            try:
                return self._send(client, request)
            except _FOREIGN:
                self._works = False
            except Exception as error:
                timeout -= time.monotonic() - began
                if timeout <= 0 or not _is_repeated(error):
                    raise
        return client.search(  # type: ignore[no-any-return]
            self._name,
            list(queries),
            filter=expression,
            search_params=params,
            anns_field=field,
            consistency_level=self._consistency,
            timeout=timeout,
            **window,
        )

    def _send(self, client: Any, request: Any) -> Found:
        from pymilvus.client.call_context import _api_level_md
        from pymilvus.client.search_result import SearchResult
        from pymilvus.client.utils import check_status

        metadata = _api_level_md(client._generate_call_context())
        response = client._get_connection()._stub.Search(request, timeout=self._timeout, metadata=metadata)
        check_status(response.status)
        found: Found = SearchResult(response.results, -1, status=response.status)
        return found

    def _request(self, client: Any, queries: Queries, expression: str, **options: Any) -> Any:
        """The SearchRequest that pymilvus would make of this; None where only pymilvus itself can tell."""
        if not self._works:
            return None
        try:
            return self._made(client, queries, expression, options)
        except (*_FOREIGN, LookupError, ValueError):
            self._works = False
            return None

    def _made(self, client: Any, queries: Queries, expression: str, options: dict[str, Any]) -> Any:
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
            known = self._kept[kind] = self._pattern(queries, options, when)
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

    def _pattern(self, queries: Queries, options: dict[str, Any], when: dict[str, Any]) -> tuple[Any, Any]:
        """pymilvus' request without what every search has of its own, and the empty placeholder of the vectors.

        It is made of a search by an id: for a look at vectors pymilvus would import SciPy, .1 s of every first search.
        """
        from pymilvus import DataType
        from pymilvus.client.check import check_pass_param
        from pymilvus.client.prepare import Prepare
        from pymilvus.client.type_info import PlaceholderType, require_placeholder_type
        from pymilvus.grpc_gen import common_pb2

        check_pass_param(**{name: options[name] for name in ("limit", "anns_field", "output_fields")})
        words = isinstance(queries[0], str)
        kind = PlaceholderType.VARCHAR if words else require_placeholder_type(DataType[self._vectors])
        request = Prepare.search_requests_with_expr(
            self._name, ids=["none"], use_default_consistency=False, **options, **when
        )
        for own in ("nq", "ids", "guarantee_timestamp"):
            request.ClearField(own)
        return request, common_pb2.PlaceholderValue(tag="$0", type=kind)


def _is_repeated(error: Exception) -> bool:
    """Whether pymilvus tries again after it."""
    import grpc
    from pymilvus.decorators import IGNORE_RETRY_CODES
    from pymilvus.exceptions import ErrorCode, MilvusException
    from pymilvus.grpc_gen import common_pb2

    if isinstance(error, grpc.RpcError):
        return bool(error.code() not in IGNORE_RETRY_CODES)
    if isinstance(error, MilvusException):
        return bool(error.code == ErrorCode.RATE_LIMIT or error.compatible_code == common_pb2.RateLimit)
    return False
