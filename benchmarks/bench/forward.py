"""The parts of an ingest alone: the bare model in its fastest form, and the CPU seconds of decoding and encoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from bench.catalogs import parts
from bench.context import Spent, spent
from bench.machine import cores
from mm_milvus.encoders import Encoder, Prepared
from mm_milvus.media import decode_pixels

__all__ = ["bare_forward", "decode_all", "forwards", "in_threads"]

BATCH = 64  # as an ingest takes them


def decode_all(encoder: Encoder, photos: Sequence[bytes]) -> list[Prepared]:
    """What the worker does between the file and the model."""
    return [encoder.prepare(decode_pixels(photo, smallest=encoder.smallest_side)) for photo in photos]


def in_threads(items: Sequence[Any], work: Callable[[Sequence[Any]], Any]) -> Spent:
    """``work`` on equal parts of the items, one thread per core, each with one thread of torch."""
    size = -(-len(items) // cores())
    with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(lambda _: None, range(cores())))
        return spent(len(items), lambda: list(pool.map(work, parts(items, size))))


def encode_in_batches(encoder: Encoder, pictures: Sequence[Prepared]) -> None:
    for part in parts(pictures, BATCH):
        encoder.encode_prepared(part)


def forwards(encoder: Encoder, pictures: Sequence[Prepared]) -> dict[str, Callable[[], Spent]]:
    """Ways to run the bare model over prepared pictures; the fastest of them is what an ingest is compared with."""
    if encoder.device == "cpu":
        return {
            f"1 x {cores()} threads": lambda: spent(len(pictures), lambda: _wide(encoder, pictures)),
            f"{cores()} x 1 thread": lambda: in_threads(
                pictures, lambda part: encode_in_batches(encoder, part)
            ),
        }
    ways = {
        "as the encoder": lambda: spent(len(pictures), lambda: encode_in_batches(encoder, pictures)),
        "two streams": lambda: _two_streams(encoder, pictures),
    }
    model = getattr(encoder, "_model", None)
    pixels = getattr(encoder, "_pixels", None)
    if model is not None and pixels is not None:
        batches = [pixels(part)["pixel_values"] for part in parts(pictures, BATCH)]
        whole = [batch for batch in batches if len(batch) == BATCH]
        for name, run in _features(model).items():
            ways[name] = _on_device(run, whole)
    return ways


def bare_forward(ways: dict[str, Callable[[], Spent]]) -> tuple[str, Spent]:
    """The fastest way, each tried once."""
    found = {name: run() for name, run in ways.items()}
    name = max(found, key=lambda way: found[way].rate)
    return name, found[name]


def _wide(encoder: Encoder, pictures: Sequence[Prepared]) -> None:
    torch.set_num_threads(cores())
    encode_in_batches(encoder, pictures)


def _two_streams(encoder: Encoder, pictures: Sequence[Prepared]) -> Spent:
    half = -(-len(pictures) // 2)
    with ThreadPoolExecutor(2) as pool:
        work = lambda part: encode_in_batches(encoder, part)  # noqa: E731
        return spent(len(pictures), lambda: list(pool.map(work, parts(pictures, half))))


def _features(model: Any) -> dict[str, Callable[[Any], Any]]:
    """The image side of a CLIP-type model, as it is and compiled."""

    def run(pixels: Any) -> Any:
        return model.get_image_features(pixel_values=pixels).pooler_output

    return {"eager, pixels on the GPU": run, "compiled, pixels on the GPU": torch.compile(run)}


def _on_device(run: Callable[[Any], Any], batches: Sequence[Any]) -> Callable[[], Spent]:
    """Whole batches of normalised pixels that are on the device already, in one stream, without copies back."""
    with torch.inference_mode():
        for _ in range(2):  # to compile and to warm up
            run(batches[0])
    torch.cuda.synchronize()

    def measure() -> None:
        with torch.inference_mode():
            for batch in batches:
                run(batch)
        torch.cuda.synchronize()

    return lambda: spent(sum(len(batch) for batch in batches), measure)
