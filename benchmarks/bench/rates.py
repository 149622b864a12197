"""Rows per second of the whole worker, against what the machine can do at best, and against a naive loop."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from bench.catalogs import photos, write_catalog
from bench.context import Context, Spent, spent
from bench.forward import bare_forward, decode_all, encode_in_batches, forwards, in_threads
from bench.machine import cores
from bench.naive import NaiveLoop
from bench.sinks import lite, make_stamp, null
from bench.table import Measured
from mm_milvus import ingest
from mm_milvus.catalog import Catalog
from mm_milvus.encoders import Encoder
from mm_milvus.ingest import open_source
from mm_milvus.records import IngestReport, Product, Row
from mm_milvus.store import Stamp

__all__ = ["forward", "ideal", "lite_and_naive", "roofline"]

MODELS = {"clip": "clip-b32", "siglip": "siglip-b16-224", "offline": "offline"}
_ROWS = {"clip": 640, "siglip": 256, "offline": 640}  # ten to twenty seconds; whole batches for two threads
_GPU_ROWS = 16_384
_BATCHES = {"cpu": (16, 64), "cuda": (256, 512, 1_024)}  # products; a model on a GPU takes 256 at a time
_GFLOP = {"clip": 8.8, "siglip": 35.5}  # of the image side, per picture
_SAMPLE = {"clip": 128, "siglip": 32, "offline": 64}  # rows that are decoded and encoded alone in each round


def ideal(context: Context, which: str) -> Iterator[tuple[str, Measured]]:
    """On a CPU: against the cores, all of them busy with nothing but decoding and encoding."""
    run = _warm(context, which, context.count(_ROWS[which], 48))
    sample = 16 if context.quick else _SAMPLE[which]
    ratios, rates, bests, idle = [], [], [], []
    for _ in context.turns():
        parts = _alone(run, sample)
        best = cores() / sum(part.cpu_per_row for part in parts)
        took = run()
        ratios.append(took.rate / best)
        rates.append(took.rate)
        bests.append(best)
        idle.append(1 - took.cpu / took.seconds / cores())
    run_cpu = took.cpu_per_row
    detail = (
        f"{median(rates):.1f} of {median(bests):.1f} rows/s; {run.rows:,} rows, idle {max(0, median(idle)):.1%}, "
        + ", ".join(f"{name} {part.cpu_per_row * 1e3:.2f}" for name, part in zip(_NAMES, parts, strict=False))
        + f", whole row {run_cpu * 1e3:.2f} CPU ms"
    )
    yield f"ideal-{which}", Measured(ratios, detail)


_NAMES = ("decode", "pictures", "texts")


def _alone(run: _Run, count: int) -> list[Spent]:
    """CPU seconds of decoding, of the picture model and, where there are texts, of the text model."""
    sample_photos = run.photos[:count]
    found = [in_threads(sample_photos, lambda part: decode_all(run.encoder, part))]
    prepared = decode_all(run.encoder, sample_photos)
    found.append(in_threads(prepared, lambda part: encode_in_batches(run.encoder, part)))
    if texts := run.texts(count):
        found.append(in_threads(texts, run.encoder.encode_text))
    return found


def forward(context: Context, which: str) -> Iterator[tuple[str, Measured]]:
    """On a GPU: against the model alone."""
    run = _warm(context, which, context.count(_GPU_ROWS, 96))
    ways = forwards(run.encoder, decode_all(run.encoder, run.photos))
    way, _ = bare_forward(ways)
    ratios, rates, bests = [], [], []
    for _ in context.turns():
        best = ways[way]()
        took = run()
        ratios.append(took.rate / best.rate)
        rates.append(took.rate)
        bests.append(best.rate)
    detail = f"{median(rates):,.0f} of {median(bests):,.0f} rows/s ({way}); {run.rows:,} rows"
    yield f"forward-{which}", Measured(ratios, detail)


def roofline(context: Context, which: str) -> Iterator[tuple[str, Measured]]:
    """Pictures per second by batch size, and which share of the fastest product of matrices that comes to."""
    gpu = context.device == "cuda"
    rows = context.count(_GPU_ROWS if gpu else _ROWS[which] // 2, 48)
    peak = _fastest_product(context.device)
    rates, stages = {}, ""
    for size in _BATCHES[context.device]:
        run = _warm(context, which, rows, batch_size=size)
        took = run()
        if took.rate > max(rates.values(), default=0.0):
            busy = {stage: seconds / took.seconds for stage, seconds in run.report.stages.items()}
            stages = ", ".join(f"{stage} {share:.2f}" for stage, share in busy.items() if share >= 0.005)
        rates[size] = took.rate
    best = max(rates.values())
    detail = "; ".join(f"{size} a batch: {rate:,.0f} rows/s" for size, rate in rates.items())
    detail += f"; threads busy on average in the best: {stages}; bf16 roofline {peak / 1e12:.2f} TFLOP/s"
    yield f"roofline-{which}{'-cuda' if gpu else ''}", Measured([best * _GFLOP[which] * 1e9 / peak], detail)


def _fastest_product(device: str) -> float:
    """FLOP/s of a product of two large bfloat16 matrices, the best of some."""
    side = 8_192 if device == "cuda" else 2_048
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    torch.set_num_threads(cores())

    def multiply() -> None:
        torch.matmul(left, right)
        if device == "cuda":
            torch.cuda.synchronize()

    multiply()
    return 2 * side**3 / min(spent(1, multiply).seconds for _ in range(10))


def lite_and_naive(context: Context) -> Iterator[tuple[str, Measured]]:
    """A real database at the end of the worker: against the slower of its parts, and against the naive loop."""
    gpu = context.device == "cuda"
    run = _warm(context, "clip", context.count(4_096 if gpu else 384, 64))
    ways = forwards(run.encoder, decode_all(run.encoder, run.photos[: len(run.photos) // (1 if gpu else 3)]))
    naive = NaiveLoop(context.model("clip-b32"), context.device)
    few = context.count(1_024 if gpu else 96, 64)
    short = write_catalog(context.place("naive"), run.photos, few)
    _naive(naive, short, few)
    way, _ = bare_forward(ways)
    found: list[tuple[float, float, float, float]] = []
    for _ in context.turns():
        runs = (ways[way](), _insert(run), run(to_lite=True), _naive(naive, short, few))
        found.append(tuple(took.rate for took in runs))  # type: ignore[arg-type]
    model, insert, ours, loop = (median(column) for column in zip(*found, strict=True))
    detail = (
        f"{ours:,.1f} rows/s; bare forward {model:,.1f} ({way}), bare insert {insert:,.0f}; {run.rows:,} rows"
    )
    suffix = "-cuda" if gpu else ""
    yield f"lite{suffix}", Measured([o / min(m, i) for m, i, o, _ in found], detail)
    yield f"naive{suffix}", Measured([o / n for _, _, o, n in found], f"{ours:,.1f} of {loop:,.1f} rows/s")


class _Run:
    """One catalog through the worker, again and again, with a fresh collection each time."""

    report: IngestReport  # of the last run

    def __init__(
        self, context: Context, which: str, rows: int, stamp: Stamp | None = None, **settings: Any
    ) -> None:
        self.rows = rows
        self.photos = _repeated(photos(context.data, "clothing", min(rows, 2_048)), rows)
        folder = context.place(f"rates-{which}-{rows}")
        path = write_catalog(folder, self.photos, rows, words=which == "offline")
        self._folder = folder
        self._replicas = context.encoders(MODELS[which])
        self._settings = context.settings(encoder=context.model(MODELS[which]), **settings)
        self._path = path
        self.stamp = stamp or make_stamp(self._catalog(), self.encoder, self._settings)

    @property
    def encoder(self) -> Encoder:
        return self._replicas[0]

    def _catalog(self) -> Catalog:
        return open_source(self._path, self._settings, None)

    def texts(self, count: int) -> list[str]:
        """Texts of the first products, as they are embedded."""
        from mm_milvus.catalog import render_text

        products = [row for row in self._catalog().products() if isinstance(row, Product)][:count]
        texts = [render_text(p.attributes, self.stamp.text_fields, self.stamp.max_chars) for p in products]
        return [text for text in texts if text]

    def __call__(self, *, to_lite: bool = False) -> Spent:
        catalog = self._catalog()
        if not to_lite:
            return self._timed(catalog, null(self.stamp))
        with lite(self._folder, self.stamp, self._settings) as collection:
            return self._timed(catalog, collection)

    def _timed(self, catalog: Catalog, collection: object) -> Spent:
        torch.set_num_threads(cores())

        def run() -> None:
            self.report = ingest.run(catalog, collection, self._replicas, self._settings, new=True)
            if self.report.written != self.rows:
                raise RuntimeError(
                    f"{self.report.written} of {self.rows} were written: {self.report.problems}"
                )

        return spent(self.rows, run)


def _warm(context: Context, which: str, rows: int, **settings: Any) -> _Run:
    """A run of ``rows``, after a small one that has loaded and compiled whatever there is."""
    small = _Run(context, which, min(rows, 64), **settings)
    small()
    return _Run(context, which, rows, small.stamp, **settings)


def _insert(run: _Run) -> Spent:
    """Ready rows into Milvus Lite, as many as in an ingest."""
    rows = _ready_rows(run.stamp, max(run.rows, 1_000))
    with lite(run._folder, run.stamp, run._settings) as collection:

        def write() -> None:
            for start in range(0, len(rows), 1_000):
                collection.write(rows[start : start + 1_000], new=True)
            collection.flush()

        return spent(len(rows), write)


def _ready_rows(stamp: Stamp, count: int) -> list[Row]:
    vectors = np.random.default_rng(0).normal(size=(count, stamp.vectors.dim)).astype(np.float32)
    digest = "0" * 32
    return [
        Row(f"p{index}", "", vector, True, False, {}, f"images/{index}.jpg", digest, "", digest)
        for index, vector in enumerate(vectors)
    ]


def _naive(naive: NaiveLoop, catalog: Path, rows: int) -> Spent:
    place = Path(tempfile.mkdtemp(dir=catalog.parent))
    torch.set_num_threads(cores())
    try:
        return spent(rows, lambda: naive(catalog, place / "naive.db"))
    finally:
        shutil.rmtree(place)


def _repeated(items: Sequence[bytes], count: int) -> list[bytes]:
    return [items[index % len(items)] for index in range(count)]
