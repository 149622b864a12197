"""CPU seconds from JPEG bytes to the bytes that a model takes, against Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import torch
from PIL import Image

from bench.catalogs import photos, square_photos
from bench.context import Context, Spent, spent
from bench.forward import decode_all
from bench.table import Measured

__all__ = ["decoding"]

_SIDE = 224  # the shorter side after the resize


def decoding(context: Context) -> Iterator[tuple[str, Measured]]:
    """One thread of one core; both sides cut the middle out of pictures that are not square."""
    count = context.count(160, 16)
    retail = photos(context.data, "retail", min(count, 84))
    sets = {
        "decode-800": square_photos(context.data, len(retail)),
        "decode-clothing": photos(context.data, "clothing", 4 * count),
        "decode-retail": retail,
    }
    encoder = context.encoders("clip-b32")[0]
    for name, pictures in sets.items():
        ours, theirs = [], []
        for _ in context.turns(5, 15.0):
            ours.append(_alone(pictures, lambda part: decode_all(encoder, part)))
            theirs.append(_alone(pictures, _pillow))
        ratios = [other.cpu / own.cpu for own, other in zip(ours, theirs, strict=True)]
        rates = [1 / median(run.cpu_per_row for run in runs) for runs in (ours, theirs)]
        detail = f"{rates[0]:,.0f} against {rates[1]:,.0f} pictures per CPU second; {len(pictures)} pictures"
        yield name, Measured(ratios, detail)


def _alone(pictures: Sequence[bytes], work: Callable[[Sequence[bytes]], object]) -> Spent:
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return pool.submit(lambda: spent(len(pictures), lambda: work(pictures))).result()


def _pillow(pictures: Sequence[bytes]) -> None:
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        scale = _SIDE / min(width, height)
        size = (round(width * scale), round(height * scale))
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - _SIDE) // 2, (size[1] - _SIDE) // 2
        image.crop((left, top, left + _SIDE, top + _SIDE)).load()
