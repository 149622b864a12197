"""Measures how fast an ingest is and writes the table of docs/benchmarks.md.

    python benchmarks/ingest.py --data ../shared/data

Takes about ten minutes on two cores. On a machine with a GPU run it again with --device cuda for the other half of the
table. The folder with the photos must hold clothing/ and retail/, each a catalog.jsonl with JPEGs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import dtypes, memory, packing, pictures, rates, repeats
from bench.context import Context
from bench.machine import Neighbours, describe
from bench.table import GOALS, Measured, write_table

_BUSY = 0.05  # share of the processors from which on the table says that others had it
ROOT = Path(__file__).resolve().parents[1]
Measurement = Callable[[Context], Iterator[tuple[str, Measured]]]
MEASUREMENTS: dict[str, dict[str, Measurement]] = {
    "cpu": {
        "decode": pictures.decoding,
        "packing": packing.packing,
        "clip": partial(rates.ideal, which="clip"),
        "lite": rates.lite_and_naive,
        "siglip": partial(rates.ideal, which="siglip"),
        "offline": partial(rates.ideal, which="offline"),
        "roofline-clip": partial(rates.roofline, which="clip"),
        "roofline-siglip": partial(rates.roofline, which="siglip"),
        "duplicates": repeats.duplicates,
        "memory": memory.memory,
        "dtypes": dtypes.dtypes,
        "reingest": repeats.reingest,
    },
    "cuda": {
        "clip": partial(rates.forward, which="clip"),
        "siglip": partial(rates.forward, which="siglip"),
        "roofline-clip": partial(rates.roofline, which="clip"),
        "roofline-siglip": partial(rates.roofline, which="siglip"),
        "lite": rates.lite_and_naive,
        "dtypes": dtypes.dtypes,
    },
}


def main() -> None:
    options = parse()
    silence()
    names = options.only or list(MEASUREMENTS[options.device])
    with tempfile.TemporaryDirectory(prefix="mm-milvus-bench-") as folder:
        context = Context(
            device=options.device,
            data=options.data,
            folder=Path(folder),
            models=options.models or Path(folder, "models"),
            quick=options.quick,
            rows=options.rows,
            uri=options.uri,
        )
        for name in names:
            measure(context, name, options)
    print(f"written to {options.table}")


def measure(context: Context, name: str, options: argparse.Namespace) -> None:
    """One measurement, shown at once and added to the table."""
    began, neighbours = time.perf_counter(), Neighbours()
    found: dict[str, Measured] = {}
    for key, measured in MEASUREMENTS[options.device][name](context):
        found[key] = measured
        show(key, measured)
    took, share = time.perf_counter() - began, neighbours.share()
    print(f"    {name}: {took:.0f} s, others had {share:.0%} of the processors", flush=True)
    if share > _BUSY:
        found = {
            key: one.with_note(f"others had {share:.0%} of the processors") for key, one in found.items()
        }
    command = " ".join(["python benchmarks/ingest.py", *sys.argv[1:]])
    date = time.strftime("%Y-%m-%d", time.gmtime())
    write_table(options.table, options.device, describe(options.device), command, date, found)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", choices=list(MEASUREMENTS), default="cpu")
    add("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with the photos")
    add("--rows", type=int, help="rows of each run, instead of what suits two cores or one GPU")
    add("--only", nargs="+", metavar="NAME", help=f"some of: {', '.join(MEASUREMENTS['cpu'])}")
    add(
        "--quick",
        action="store_true",
        help="toy models and few rows: shows that everything runs, and no speed",
    )
    add("--uri", help="a Milvus server for the memory; without it the pip package milvus is started")
    add("--models", type=Path, help="folder that keeps the random models between runs")
    add("--table", type=Path, default=ROOT / "docs" / "benchmarks.md", help="the file to write")
    options = parser.parse_args()
    if unknown := set(options.only or ()) - set(MEASUREMENTS[options.device]):
        parser.error(f"--only: no {', '.join(sorted(unknown))} with --device {options.device}")
    if options.device == "cuda" and not has_gpu():
        parser.error("--device cuda: torch finds no CUDA device here")
    return options


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def silence() -> None:
    """No progress bars and advice between the lines, and settings of the user do not count."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name in [name for name in os.environ if name.startswith("MM_MILVUS_")]:
        del os.environ[name]


def show(key: str, measured: Measured) -> None:
    goal = next(goal for goal in GOALS if goal.key == key)
    verdict = "" if goal.bound is None else "met" if goal.is_met(measured.value) else "MISSED"
    values = ", ".join(f"{ratio:.4g}" for ratio in measured.ratios)
    print(f"{key:17} {measured.value:9.4f} {verdict:7} [{values}] {measured.detail}", flush=True)


if __name__ == "__main__":
    main()
