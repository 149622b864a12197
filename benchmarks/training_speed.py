"""How long a training takes over vectors that are known already, and how much memory it needs.

    python benchmarks/training.py --only speed

10,000 products and 10,000 queries by words, drawn with the dimensions of the encoder `offline`: the time does not
depend on what the vectors say. Each measurement is a process of its own. Ten epochs with the default settings (512
dimensions, hard negatives, nDCG@10 after each epoch), on as many threads as torch takes (OMP_NUM_THREADS).
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mm_milvus.encoders.base import DefaultWeights
from mm_milvus.fusion import HeadConfig, normalise
from mm_milvus.training.data import Asked, Labels, Products, Queries
from mm_milvus.training.loop import Training
from mm_milvus.training.model import HeadModel, Means, inputs_of
from mm_milvus.training.settings import TrainSettings
from mm_milvus.training.start import starting_head

PRODUCTS = QUERIES = 10_000
IMAGE_DIM, TEXT_DIM, DIM = 288, 384, 512
PAIRS = (10_000, 40_000)  # over the same products and queries
EPOCHS = 10
WORDS = 2_000  # of the language that products are described in
_MB = 2**20


def report(kinds: tuple[str, ...]) -> None:
    """Prints a row for each kind of head."""
    print(f"load of the last minute before: {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    print("| head | pairs | wall s | CPU s | peak MB |\n|---|---|---|---|---|")
    for kind in kinds:
        for pairs in PAIRS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                wall, cpu, peak = alone.submit(measure, kind, pairs).result()
            print(f"| {kind} | {pairs:,} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |", flush=True)


def measure(kind: str, pairs: int) -> tuple[float, float, float]:
    """Seconds and CPU seconds of ten epochs, and the peak of the process in MB."""
    rng = np.random.default_rng(0)
    products, queries, labels = drawn(rng, pairs)
    config = HeadConfig(kind, DIM, IMAGE_DIM, TEXT_DIM, False, "drawn", "1")  # type: ignore[arg-type]
    means = Means(*(np.zeros(dim, np.float32) for dim in (IMAGE_DIM, TEXT_DIM, TEXT_DIM)))
    twins = products.twins()
    inputs = inputs_of(config, means, products, queries, DefaultWeights())
    weights = starting_head(config, products.image, products.text, products.present)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(out=Path(folder), from_catalog=True, epochs=EPOCHS, patience=EPOCHS)
        model = HeadModel(config, weights, means)
        training = Training(settings, model, inputs, labels, twins, (queries.words, products.texts))
        wall, cpu = time.perf_counter(), time.process_time()
        training.run(Path(folder), "benchmark")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return wall, cpu, peak / _MB


def drawn(rng: np.random.Generator, pairs: int) -> tuple[Products, Queries, Labels]:
    """Every product is wanted by a query that shares words with it, and further pairs follow by lot."""

    def unit(count: int, dim: int) -> np.ndarray:
        return normalise(rng.standard_normal((count, dim), dtype=np.float32))

    image, text = unit(PRODUCTS, IMAGE_DIM), unit(PRODUCTS, TEXT_DIM)
    words = rng.integers(0, WORDS, (PRODUCTS, 8))
    texts = [" ".join(f"w{number}" for number in row) for row in words]
    own = rng.permutation(PRODUCTS)
    asked = normalise(text[own] + 3 * unit(QUERIES, TEXT_DIM))
    queries = Queries(
        np.empty((0, IMAGE_DIM), np.float32), asked,
        np.full(QUERIES, -1), np.arange(QUERIES), np.full(QUERIES, -1),
        [" ".join(texts[place].split()[:3]) for place in own],
    )  # fmt: skip
    more = pairs - QUERIES
    labels = Labels(
        [Asked(text=words) for words in queries.words],
        np.concatenate([np.arange(QUERIES), rng.integers(0, QUERIES, more)]),
        np.concatenate([own, rng.integers(0, PRODUCTS, more)]),
        np.ones(pairs, np.float32),
        np.zeros(QUERIES, np.int8),
    )
    labels.draw_dev(0.1, 0)
    products = Products(
        [str(place) for place in range(PRODUCTS)], image, text, np.ones((PRODUCTS, 2), np.bool_), texts, []
    )
    return products, queries, labels
