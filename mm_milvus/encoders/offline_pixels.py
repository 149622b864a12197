"""What the picture network of `offline` sees of a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["fit_pixels", "image_size"]

# A picture is cut to its middle until it is square, but by no more than this share of its longer side; what is
# then left is squashed. On tall photos of garments: same label among 10 .574 (squashed whole .525, padded .528).
_KEPT = 0.75
# From this many times the network's size on, half a pixel more or less at the edges is not seen: cosine >= .9995
# (at twice the size .9987, below .993).
_WHOLE_PIXELS = 3


def fit_pixels(picture: NDArray[np.uint8]) -> torch.Tensor:
    """RGB (H, W, 3) uint8 of any size -> RGB bytes (3, 224, 224)."""
    import math

    from mm_milvus.encoders.pixels import Recipe, resize_bytes

    box = _middle(picture.shape[1], picture.shape[0])
    left, top, right, bottom = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    size = image_size()
    if (left, top, right, bottom) != box and min(right - left, bottom - top) < _WHOLE_PIXELS * size:
        return _resize_box(picture, box)
    recipe = Recipe((size, size), 0, None, "bicubic", (), ())
    return resize_bytes(picture[top:bottom, left:right], recipe)


def _resize_box(picture: NDArray[np.uint8], box: tuple[float, float, float, float]) -> torch.Tensor:
    """Part of a picture between pixels -> RGB bytes (3, 224, 224), with Pillow."""
    import numpy as np
    import torch
    from PIL import Image

    size = (image_size(),) * 2
    resized = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, box=box)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def _middle(width: int, height: int) -> tuple[float, float, float, float]:
    """What is kept of a picture: left, top, right, bottom in pixels."""
    side = min(width, height)
    left, top = (width - max(side, _KEPT * width)) / 2, (height - max(side, _KEPT * height)) / 2
    return left, top, width - left, height - top


def image_size() -> int:
    """Pixels of a side."""
    from mm_milvus.encoders.efficientnet import IMAGE_SIZE

    return IMAGE_SIZE
