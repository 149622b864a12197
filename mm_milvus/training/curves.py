"""The course of a training as a picture: nDCG@10 of the dev split above, the loss below, by epoch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["draw_curves"]

_WIDTH, _HEIGHT = 900, 300  # of one chart, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 30, 50, 45  # margins
_INK, _GRID, _LINE, _BEST = "#222222", "#dddddd", "#1f6feb", "#c2410c"
_LINES = 5  # of the grid


def draw_curves(history: Sequence[dict[str, Any]], best_epoch: int) -> bytes:
    """A PNG of both curves; ``history`` has epoch, loss and ndcg, None where there is none."""
    from PIL import Image, ImageDraw

    charts = [
        (title, points)
        for name, title in (("ndcg", "nDCG@10 of the dev split"), ("loss", "loss of the training"))
        if (points := [(one["epoch"], one[name]) for one in history if one[name] is not None])
    ]
    image = Image.new("RGB", (_WIDTH, _HEIGHT * len(charts)), "white")
    draw = ImageDraw.Draw(image)
    for place, (title, points) in enumerate(charts):
        _chart(draw, place * _HEIGHT, title, points, (len(history) - 1, best_epoch))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _chart(
    draw: ImageDraw, top: int, title: str, points: list[tuple[int, float]], epochs: tuple[int, int]
) -> None:
    """``epochs``: the last one, and the best one, which is marked."""
    from PIL import ImageFont

    last, best = max(epochs[0], 1), epochs[1]
    font = ImageFont.load_default(14)
    low, high = min(value for _, value in points), max(value for _, value in points)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)

    def at(epoch: float, value: float) -> tuple[float, float]:
        x = _LEFT + epoch / last * (_WIDTH - _LEFT - _RIGHT)
        y = top + _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return x, y

    draw.text((_LEFT, top + 16), title, _INK, ImageFont.load_default(17))
    for number in range(_LINES):
        value = low + number / (_LINES - 1) * (high - low)
        draw.line([at(0, value), at(last, value)], _GRID)
        draw.text((_LEFT - 10, at(0, value)[1]), f"{value:.3f}", _INK, font, anchor="rm")
    for epoch in range(0, last + 1, max(last // 10, 1)):
        draw.text((at(epoch, low)[0], top + _HEIGHT - _BOTTOM + 8), str(epoch), _INK, font, anchor="mt")
    draw.text((_WIDTH - _RIGHT, top + _HEIGHT - 6), "epoch", _INK, font, anchor="rb")
    places = [at(epoch, value) for epoch, value in points]
    draw.line(places, _LINE, 2)
    for (epoch, _), (x, y) in zip(points, places, strict=True):
        size = 6 if epoch == best else 3
        draw.ellipse([x - size, y - size, x + size, y + size], _BEST if epoch == best else _LINE)
