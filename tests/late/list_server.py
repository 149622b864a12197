"""What takes the place of a Milvus with embedding lists, which no package brings: it notes each request as it arrives.

It answers a search with the sums that MAX_SIM_IP stands for, over what was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

OK = common_pb2.Status(code=0)


class ListServer(milvus_pb2_grpc.MilvusServiceServicer):
    """One collection; its rows are lists of vectors."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.schema: Any = None
        self.properties: dict[str, str] = {}
        self.rows: dict[str, np.ndarray] = {}

    def last(self, name: str) -> Any:
        return next(request for kind, request in reversed(self.requests) if kind == name)

    def count(self, name: str) -> int:
        return sum(kind == name for kind, _ in self.requests)

    def Connect(self, request: Any, context: Any) -> Any:
        return milvus_pb2.ConnectResponse(
            status=OK, identifier=1, server_info=common_pb2.ServerInfo(build_tags="2.6.4")
        )

    def GetVersion(self, request: Any, context: Any) -> Any:
        return milvus_pb2.GetVersionResponse(status=OK, version="2.6.4")

    def HasCollection(self, request: Any, context: Any) -> Any:
        return milvus_pb2.BoolResponse(status=OK, value=self.schema is not None)

    def DescribeCollection(self, request: Any, context: Any) -> Any:
        self.requests.append(("DescribeCollection", request))
        if self.schema is None:
            return milvus_pb2.DescribeCollectionResponse(
                status=common_pb2.Status(code=100, error_code=4, reason="collection not found")
            )
        pairs = [common_pb2.KeyValuePair(key=key, value=value) for key, value in self.properties.items()]
        return milvus_pb2.DescribeCollectionResponse(
            status=OK, schema=self.schema, properties=pairs, collection_name=request.collection_name
        )

    def CreateCollection(self, request: Any, context: Any) -> Any:
        self.requests.append(("CreateCollection", request))
        self.schema = schema_pb2.CollectionSchema.FromString(request.schema)
        return OK

    def DropCollection(self, request: Any, context: Any) -> Any:
        self.requests.append(("DropCollection", request))
        self.schema, self.properties, self.rows = None, {}, {}
        return OK

    def AlterCollection(self, request: Any, context: Any) -> Any:
        self.properties |= {pair.key: pair.value for pair in request.properties}
        return OK

    def CreateIndex(self, request: Any, context: Any) -> Any:
        self.requests.append(("CreateIndex", request))
        return OK

    def DescribeIndex(self, request: Any, context: Any) -> Any:
        described = milvus_pb2.IndexDescription(
            index_name=request.field_name, field_name=request.field_name, state=common_pb2.Finished
        )
        return milvus_pb2.DescribeIndexResponse(status=OK, index_descriptions=[described])

    def LoadCollection(self, request: Any, context: Any) -> Any:
        return OK

    def GetLoadingProgress(self, request: Any, context: Any) -> Any:
        return milvus_pb2.GetLoadingProgressResponse(status=OK, progress=100, refresh_progress=100)

    def Upsert(self, request: Any, context: Any) -> Any:
        self.requests.append(("Upsert", request))
        data = {field.field_name: field for field in request.fields_data}
        ids = data["id"].scalars.string_data.data
        (vectors,) = data["tokens"].struct_arrays.fields
        for id, row in zip(ids, vectors.vectors.vector_array.data, strict=True):
            self.rows[id] = np.array(row.float_vector.data, np.float32).reshape(-1, row.dim)
        return milvus_pb2.MutationResult(
            status=OK, upsert_cnt=len(ids), IDs=schema_pb2.IDs(str_id=schema_pb2.StringArray(data=ids))
        )

    def Delete(self, request: Any, context: Any) -> Any:
        self.requests.append(("Delete", request))
        for id in _ids(request.expr):
            self.rows.pop(id, None)
        return milvus_pb2.MutationResult(status=OK)

    def Search(self, request: Any, context: Any) -> Any:
        self.requests.append(("Search", request))
        (value,) = common_pb2.PlaceholderGroup.FromString(request.placeholder_group).placeholders[0].values
        rows = {id: self.rows[id] for id in _ids(request.dsl) if id in self.rows}
        width = next(iter(self.rows.values())).shape[1]
        query = np.frombuffer(value, np.float32).reshape(-1, width)
        found = sorted(
            ((float((query @ row.T).max(axis=1).sum()), id) for id, row in rows.items()), reverse=True
        )
        ids = schema_pb2.IDs(str_id=schema_pb2.StringArray(data=[id for _, id in found]))
        results = schema_pb2.SearchResultData(
            num_queries=1,
            top_k=len(found),
            topks=[len(found)],
            scores=[score for score, _ in found],
            ids=ids,
            primary_field_name="id",
        )
        return milvus_pb2.SearchResults(status=OK, results=results)


def _ids(expression: str) -> list[str]:
    listed = re.search(r"\[.*\]", expression)
    assert listed is not None, expression
    return list(json.loads(listed[0]))


@contextmanager
def serving() -> Iterator[tuple[ListServer, str]]:
    """The server and its address."""
    server, servicer = grpc.server(ThreadPoolExecutor(2)), ListServer()
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
