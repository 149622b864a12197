"""Embedding lists: the requests as pymilvus sends them, and the scores that come of them.

No server that has them can run here: its place takes one that notes what it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType
from pymilvus.client.types import PlaceholderType

from mm_milvus import Client, Query, Settings, Signal
from mm_milvus.encoders import load_encoder
from mm_milvus.errors import NotSupported
from mm_milvus.fusion import normalise
from mm_milvus.late import LateInteraction, QueryTokens, home_of, make_tokens, maxsim_of
from mm_milvus.late.lists import scores_of, upload, version_of
from mm_milvus.late.store import Build, current_build, open_build
from mm_milvus.media import MediaReader
from mm_milvus.store import Store, Stored, TokenLists
from mm_milvus.store.capabilities import Capabilities
from mm_milvus.store.collection import Collection

from .list_server import ListServer, serving


@pytest.fixture
def build(shop: Settings, trained: Path) -> Build:
    make_tokens(trained, shop)
    folder = current_build(home_of(shop))
    assert folder is not None
    return open_build(folder)


@pytest.fixture
def served(shop: Settings) -> Iterator[tuple[ListServer, TokenLists]]:
    with Client(config=shop) as client:
        stamp = client._open().stamp
    with serving() as (server, uri):
        settings = Settings(uri=uri)
        with Store(settings) as store:
            collection = Collection(store._link, "products", stamp, store.capabilities, settings, "")
            yield server, TokenLists(collection, 16)


def test_a_reranker_asks_the_server_where_it_holds_the_same_tokens(
    shop: Settings, encoder: str, build: Build, served: tuple[ListServer, TokenLists]
) -> None:
    server, lists = served
    loaded = load_encoder(encoder, device="cpu", dtype="float32")
    query = Query((Signal("text", "silver tea"), Signal("text", "leather", -0.5)))
    with Client(config=shop) as client, MediaReader() as reader:
        own = client._open()
        hits = own.get(sorted(build.entries))
        collections = [own, replaced(own, lists)]
        first, second = (
            LateInteraction(home_of(shop), collection, lambda: loaded, lambda: reader)
            for collection in collections
        )
        expected = first(query, hits)
        assert second(query, hits) == expected  # nothing was written yet
        upload(build, lists, build.entries, [], "")
        third = LateInteraction(home_of(shop), collections[1], lambda: loaded, lambda: reader)
        found = third(query, hits)
    assert server.count("Search") == 2
    assert found.explain["rerank_by"] == "products_mm_tokens"
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def replaced(own: Collection, lists: TokenLists) -> Collection:
    """The same collection on the server of ``lists``, which has no products of its own."""
    capabilities = Capabilities.of("2.6.4", lite=False)

    class Served(Collection):
        def stored(self, ids: Sequence[str], consistency: str = "Strong") -> dict[str, Stored]:
            return own.stored(ids, consistency)

    return Served(lists._link, own.name, own.stamp, capabilities, lists._settings, "")


def test_the_collection_is_one_of_lists(served: tuple[ListServer, TokenLists], build: Build) -> None:
    server, lists = served
    assert lists.hold() == ""
    upload(build, lists, build.entries, [], "")
    assert server.last("CreateCollection").collection_name == "products_mm_tokens"
    (id,) = server.schema.fields
    assert (id.name, id.data_type, id.is_primary_key) == ("id", DataType.VARCHAR, True)
    (struct,) = server.schema.struct_array_fields
    (vector,) = struct.fields
    assert struct.name == "tokens"
    assert vector.data_type == DataType._ARRAY_OF_VECTOR
    assert vector.element_type == DataType.FLOAT_VECTOR
    params = {pair.key: pair.value for pair in vector.type_params}
    assert (params["dim"], params["max_capacity"]) == ("16", "1024")
    index = server.last("CreateIndex")
    assert index.field_name == "tokens[vector]"
    params = {pair.key: pair.value for pair in index.extra_params}
    assert (params["metric_type"], params["index_type"]) == ("MAX_SIM_IP", "HNSW")
    assert lists.hold() == version_of(build)
    for id, row in server.rows.items():
        np.testing.assert_array_equal(row, build.tokens([id])[0])
    assert len(server.rows) == 6


def test_a_search_asks_for_the_candidates_only(served: tuple[ListServer, TokenLists], build: Build) -> None:
    server, lists = served
    upload(build, lists, build.entries, [], "")
    rng = np.random.default_rng(0)
    vectors = normalise(rng.standard_normal((5, 16)).astype(np.float32))
    ids = ["tea", "bag", "nobody", "watch"]
    query = QueryTokens(vectors, np.array([0.3, 0.2, 0.1, 0.2, 0.2], np.float32))
    expected = maxsim_of(query, *build.tokens(ids))
    np.testing.assert_allclose(scores_of(query, lists, ids), expected, atol=1e-5)
    request = server.last("Search")
    assert json.loads(request.dsl.removeprefix("id in ")) == ids
    params = {pair.key: pair.value for pair in request.search_params}
    assert (params["anns_field"], params["metric_type"], params["topk"]) == (
        "tokens[vector]", "MAX_SIM_IP", "4",
    )  # fmt: skip
    from pymilvus.grpc_gen import common_pb2

    (placeholder,) = common_pb2.PlaceholderGroup.FromString(request.placeholder_group).placeholders
    assert placeholder.type == PlaceholderType.EmbListFloatVector
    assert len(placeholder.values) == 1  # all tokens of the query are one list
    assert len(placeholder.values[0]) == 5 * 16 * 4
    assert server.count("Search") == 1
    away = QueryTokens(vectors, np.array([0.3, 0.2, -0.1, 0.2, -0.2], np.float32))
    np.testing.assert_allclose(scores_of(away, lists, ids), maxsim_of(away, *build.tokens(ids)), atol=1e-5)
    assert server.count("Search") == 3  # what pushes away was asked for on its own


def test_only_what_changed_is_written(served: tuple[ListServer, TokenLists], build: Build) -> None:
    server, lists = served
    upload(build, lists, build.entries, [], "")
    upload(build, lists, build.entries, ["tea"], version_of(build))
    assert server.count("Upsert") == 1  # they hold this very version
    before = version_of(build)
    build.append([("tea", "new", build.tokens(["bag"])[0], np.empty((0, 16), np.float32))])
    upload(build, lists, set(build.entries) - {"photo"}, ["tea", "photo"], before)
    assert (server.count("CreateCollection"), server.count("Upsert")) == (1, 2)
    assert len(server.last("Upsert").fields_data[0].scalars.string_data.data) == 1
    assert "photo" not in server.rows
    np.testing.assert_array_equal(server.rows["tea"], server.rows["bag"])
    lists.begin(anew=False)  # as a run does that is killed before it ends
    assert lists.hold() == ""
    upload(build, lists, build.entries, ["tea"], version_of(build))
    assert server.count("CreateCollection") == 2
    assert len(server.rows) == 6


def test_what_cannot_do_it_says_so(shop: Settings, trained: Path) -> None:
    assert not Capabilities.of("v2.6.3", lite=False).embedding_lists
    assert Capabilities.of("v2.6.4", lite=False).embedding_lists
    assert Capabilities.of("3.0.1", lite=False).embedding_lists
    assert not Capabilities.of("v2.3.5-lite", lite=False).embedding_lists
    with pytest.raises(NotSupported, match=r"has no embedding lists.* from 2\.6\.4 on"):
        make_tokens(trained, shop, in_milvus=True)
    assert current_build(home_of(shop)) is None
