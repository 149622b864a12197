"""CPU seconds of turning rows into the request that goes over the wire, against pymilvus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

from bench.catalogs import photos, write_catalog
from bench.context import Context
from bench.sinks import lite, make_stamp
from bench.table import Measured
from mm_milvus.catalog import render_text
from mm_milvus.encoders import EncoderSpec
from mm_milvus.ingest import open_source
from mm_milvus.records import Product, Row
from mm_milvus.store import Collection, Stamp
from mm_milvus.store.packing import Packer
from mm_milvus.store.tokens import tokenize

__all__ = ["packing"]

_DIM = 768
_SPEC = EncoderSpec(
    name="siglip-b16",
    revision="0",
    family="siglip",
    text_dim=_DIM,
    image_dim=_DIM,
    joint=True,
    preprocessing="",
    max_tokens=64,
    max_chars=256,
    image_mean=(0.0,) * _DIM,
    text_mean=(0.0,) * _DIM,
)


class _OnlySpec:
    """All that a new stamp asks of an encoder that brings its means along."""

    spec = _SPEC


def packing(context: Context) -> Iterator[tuple[str, Measured]]:
    """1,000 rows with the vectors of SigLIP B/16, 1,536 numbers. Both sides make the same search tokens."""
    for words in (False, True):
        folder = context.place(f"packing-{words}")
        path = write_catalog(folder, photos(context.data, "clothing", 1), 1_000, words=words)
        settings = context.settings()
        catalog = open_source(path, settings, None)
        encoder: Any = _OnlySpec()
        stamp = make_stamp(catalog, encoder, settings)
        rows = _rows(list(catalog.products()), stamp)
        with lite(folder, stamp, settings) as collection:
            schema = _schema(collection)
        packer = Packer("products", stamp)
        if not packer.is_exact(schema):
            raise RuntimeError("the packer does not build what this pymilvus builds")
        yield from _compared(packer, rows, schema, 3 if context.quick else 15, words=words)


def _compared(
    packer: Packer, rows: list[Row], schema: dict[str, Any], rounds: int, *, words: bool
) -> Iterator[tuple[str, Measured]]:
    packer.request(rows, schema, upsert=False)  # stems of words are remembered from the first time on
    ours, theirs, tokens = [], [], []
    for _ in range(rounds):
        ours.append(_cpu(lambda: packer.request(rows, schema, upsert=False)))
        theirs.append(_cpu(lambda: packer.pymilvus_request(rows, schema, upsert=False)))
        tokens.append(_cpu(lambda: [tokenize(row.text) for row in rows]))
    a, b, c = (median(times) * 1e3 for times in (ours, theirs, tokens))
    if not words:
        ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
        yield "packing-pictures", Measured(ratios, f"{a:.1f} against {b:.1f} ms; {len(rows):,} rows")
        return
    both = list(zip(ours, theirs, tokens, strict=True))
    detail = f"{a - c:.1f} against {b - c:.1f} ms, and {c:.1f} ms for the tokens; {len(rows):,} rows"
    yield "packing", Measured([(own - same) / (other - same) for own, other, same in both], detail)
    yield "packing-tokens", Measured([own / other for own, other, _ in both], f"{a:.1f} against {b:.1f} ms")


def _cpu(run: Callable[[], object]) -> float:
    began = time.thread_time()
    run()
    return time.thread_time() - began


def _schema(collection: Collection) -> dict[str, Any]:
    """The collection as pymilvus describes it."""
    writer = collection._writer
    schema: dict[str, Any] = writer._link.call("cannot describe", writer._schema, collection=collection.name)
    return schema


def _rows(products: list[object], stamp: Stamp) -> list[Row]:
    vectors = np.random.default_rng(0).normal(size=(len(products), stamp.vectors.dim)).astype(np.float32)
    rows = []
    for product, vector in zip(products, vectors, strict=True):
        assert isinstance(product, Product)
        text = render_text(product.attributes, stamp.text_fields, stamp.max_chars)
        hashes = ("1" * 32, "2" * 32, "3" * 32)
        rows.append(
            Row(product.id, text, vector, True, bool(text), product.attributes, product.images[0], *hashes)
        )
    return rows
