"""A small colour histogram of a picture: what a network that learned classes forgets, a red shirt from a blue one.

Each pixel is shared among nine hues in three tones (dark, vivid, pale) and five greys. What is near the middle
counts most, and what looks like the border counts little: product photos show the thing in front of something.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["COLOURS", "colour_histogram"]

# Centres of the hue bins in degrees: red, orange, yellow, lime, green, cyan, blue, violet, pink. They lie
# closer together where names of colours do.
_HUES = (0.0, 25.0, 52.0, 85.0, 130.0, 180.0, 225.0, 270.0, 325.0)
_GREYS = (0.1, 0.3, 0.5, 0.7, 0.9)  # centres of the grey bins, black to white
COLOURS = 3 * len(_HUES) + len(_GREYS)

_THUMBNAIL = 56  # pixels per side
_SPREAD = 0.45  # standard deviation of the weight around the middle; 1 is half the side
_BORDER = 3  # pixels of the thumbnail that count as its border
_LIKE_BORDER = 0.25  # distance in RGB (each 0 to 1) from which a pixel no longer counts as background
_BACKGROUND = 0.1  # weight of a pixel that looks like the border: a white shirt on white still is white


def colour_histogram(pixels: Tensor) -> Tensor:
    """RGB bytes (N, 3, H, W) -> (N, 32) float32 square roots of the shares of the colours: not negative, unit norm.

    The dot product of two of them is the Bhattacharyya coefficient of the histograms.
    """
    from torch.nn import functional

    rgb = functional.adaptive_avg_pool2d(pixels.float() / 255.0, _THUMBNAIL)  # (N, 3, 56, 56)
    weights = _centre(rgb) * _foreground(rgb)  # (N, 56, 56)
    shares = (_memberships(rgb) * weights[:, None]).sum(dim=(2, 3))  # (N, 32)
    histogram: Tensor = shares / shares.sum(dim=1, keepdim=True)
    return histogram.sqrt()


def _centre(rgb: Tensor) -> Tensor:
    """Weight of each pixel by its place (56, 56): a bell around the middle."""
    import torch

    axis = torch.linspace(-1.0, 1.0, _THUMBNAIL, device=rgb.device)
    bell = torch.exp(-0.5 * (axis / _SPREAD) ** 2)
    return bell[:, None] * bell[None, :]


def _foreground(rgb: Tensor) -> Tensor:
    """Weight of each pixel by its distance from the usual colour of the border (N, 56, 56)."""
    import torch

    inner = torch.zeros(rgb.shape[2:], dtype=torch.bool, device=rgb.device)
    inner[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
    usual = rgb[:, :, ~inner].median(dim=2).values  # (N, 3)
    distance: Tensor = torch.linalg.vector_norm(rgb - usual[:, :, None, None], dim=1)  # (N, 56, 56)
    return _BACKGROUND + (1 - _BACKGROUND) * (distance / _LIKE_BORDER).clamp(max=1.0)


def _memberships(rgb: Tensor) -> Tensor:
    """Share of each pixel in each colour (N, 32, 56, 56); the shares of a pixel add up to one."""
    import torch

    hue, saturation, value = _hsv(rgb)  # (N, 56, 56) each
    coloured = _ramp(saturation * value, 0.05, 0.15)
    dark = 1 - _ramp(value, 0.3, 0.55)
    pale = (1 - dark) * (1 - _ramp(saturation, 0.25, 0.55))
    tones = torch.stack([dark, 1 - dark - pale, pale], dim=1) * coloured[:, None]  # (N, 3, 56, 56)
    hues = tones[:, :, None] * _hue_shares(hue)[:, None]  # (N, 3, 9, 56, 56)
    greys = _grey_shares(value) * (1 - coloured[:, None])  # (N, 5, 56, 56)
    return torch.cat([hues.flatten(1, 2), greys], dim=1)


def _hsv(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 3, H, W) in 0..1 -> hue in degrees, saturation and value in 0..1, (N, H, W) each."""
    import torch

    red, green, blue = rgb.unbind(1)
    value, least = rgb.amax(1), rgb.amin(1)
    chroma = value - least
    # The angle in the plane of opponent colours: no branches, and within 1.2 degrees of the hexagonal hue.
    hue = torch.rad2deg(torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
    return hue, chroma / value.clamp(min=1e-6), value


def _hue_shares(hue: Tensor) -> Tensor:
    """Degrees (N, H, W) -> (N, 9, H, W): each hue is shared by the two centres next to it."""
    import torch

    centres = [*_HUES, _HUES[0] + 360]
    shares = []
    for index, centre in enumerate(_HUES):
        below = centres[index - 1] if index else _HUES[-1] - 360
        above = centres[index + 1]
        offset = (hue - centre + 180) % 360 - 180  # -180..180
        rising, falling = 1 + offset / (centre - below), 1 - offset / (above - centre)
        shares.append(torch.where(offset < 0, rising, falling).clamp(min=0))
    return torch.stack(shares, dim=1)


def _grey_shares(value: Tensor) -> Tensor:
    """Brightness (N, H, W) in 0..1 -> (N, 5, H, W): each grey is shared by the two centres next to it."""
    import torch

    step = _GREYS[1] - _GREYS[0]
    inside = value.clamp(_GREYS[0], _GREYS[-1])
    return torch.stack([(1 - (inside - grey).abs() / step).clamp(min=0) for grey in _GREYS], dim=1)


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, a straight line between."""
    return ((x - low) / (high - low)).clamp(0.0, 1.0)
