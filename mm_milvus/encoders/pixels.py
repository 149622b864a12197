"""Pixels for the picture models of transformers: what the model's own image processor does, but fast.

Most processors resize, cut the middle out and normalise. That is done here on bytes, in threads that do not hold the
interpreter's lock; a CUDA device resizes itself. Each model is compared with its processor when it is loaded, and where
the pixels differ the processor does the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mm_milvus.encoders.pretrained import loading, on_device
from mm_milvus.encoders.source import Source
from mm_milvus.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from mm_milvus.encoders.base import Prepared

__all__ = ["ASPECT_LIMIT", "Pixels", "Recipe", "read_recipe", "resize_bytes", "resize_floats", "rgb_array"]

ASPECT_LIMIT = 8  # of pictures whose middle is cut out after the resize
_LEVELS = (
    2.5  # of 255: by how much a pixel may differ from the processor's; two ways to round differ by one or two
)
_CONVNEXT_WARPS = 384  # from this size on ConvNeXt's processor squashes instead of cutting the middle out
_RAW = "picture"  # key of a picture that the device resizes
_RAW_PIXELS = 1 << 20  # larger pictures are resized before they are sent
_RAW_RATIO = 8  # a device resizes by no more than this


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image processor does: resize, cut the middle out, ``pixel * scale + shift`` per channel."""

    size: tuple[int, int] | None  # height and width that every picture gets
    shortest: int  # else the length of the shorter side
    cut: tuple[int, int] | None  # height and width of the middle
    mode: str  # of torch's interpolate
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what the model gets."""
        return self.cut or self.size or (self.shortest, self.shortest)

    @property
    def smallest_side(self) -> int:
        return max(self.size) if self.size else self.shortest

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a picture after the resize, rounded as the processors do."""
        if self.size:
            return self.size
        long = int(self.shortest * max(height, width) / min(height, width))
        return (long, self.shortest) if width <= height else (self.shortest, long)


class Pixels:
    """Pictures -> the tensors that the image model takes. The only place where pixels are touched."""

    def __init__(self, source: Source, device: torch.device, dtype: torch.dtype) -> None:
        """Raises EncoderError when the model has no image processor or a damaged one."""
        import torch

        if not source.has_image_processor:
            raise EncoderError(f"the model {source.name!r} has no preprocessor_config.json")
        from transformers import AutoImageProcessor

        self._device, self._dtype = device, dtype
        with loading("image processor", source):
            # PIL everywhere: torchvision, where it happens to be installed, gives other pixels.
            self._processor = AutoImageProcessor.from_pretrained(
                source.folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
            self._cuts_middle = bool(getattr(self._processor, "do_center_crop", None))
            self.recipe = read_recipe(self._processor)
            if self.recipe is not None:
                self._scale = torch.tensor(self.recipe.scale, device=device)[:, None, None]
                self._shift = torch.tensor(self.recipe.shift, device=device)[:, None, None]
                if not self._agrees():
                    self.recipe = None

    @property
    def smallest_side(self) -> int:
        """Pixels to which the shorter side of a picture may be reduced before it comes here; 0: not at all."""
        return self.recipe.smallest_side if self.recipe else 0

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """RGB (H, W, 3) uint8 -> bytes of the model's size, of the picture as it is where a CUDA device
        resizes it, or what the processor gives."""
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != "uint8":
            raise EncoderError(
                f"an encoder takes RGB bytes (height, width, 3), got {picture.dtype} {picture.shape}"
            )
        picture = _middle(picture) if self._cuts_middle else picture
        if self.recipe is None:
            return self._processed(picture)
        if self._device.type == "cuda" and _is_for_device(picture, self.recipe):
            return {_RAW: _tensor(picture).pin_memory()}
        return resize_bytes(picture, self.recipe)

    def compact(self, picture: Prepared) -> Prepared:
        """What ``prepare`` made, at the model's size and on the CPU: a picture for the device may be large."""
        if self.recipe is None or not isinstance(picture, Mapping):
            return picture
        return resize_floats(picture[_RAW].to(self._device), self.recipe).cpu()

    def __call__(self, pictures: Sequence[Prepared]) -> dict[str, Tensor]:
        """``pixel_values`` (N, 3, H, W) on the device, or NaFlex' (N, patches, values) with its mask and shapes."""
        import torch

        if self.recipe is None:
            names = list(pictures[0])
            rows = {name: torch.stack([picture[name] for picture in pictures]) for name in names}
            return on_device(rows, self._device, self._dtype)
        resized = [
            resize_floats(picture[_RAW].to(self._device, non_blocking=True), self.recipe)
            if isinstance(picture, Mapping)
            else picture.to(self._device, non_blocking=True)
            for picture in pictures
        ]
        levels = torch.stack(resized).float()  # (N, 3, H, W)
        return {"pixel_values": torch.addcmul(self._shift, levels, self._scale).to(self._dtype)}

    def describe(self) -> str:
        from PIL.Image import Resampling

        read = self._processor
        patches = getattr(read, "max_num_patches", None)
        size = f"at most {patches} patches" if patches else _size(read.size)
        cut = f", middle {_size(read.crop_size)}" if self._cuts_middle else ""
        filter_ = f" {Resampling(read.resample).name.lower()}" if read.resample is not None else ""
        return f"image {size}{cut}{filter_}, mean {_numbers(read.image_mean)}, std {_numbers(read.image_std)}"

    def _processed(self, picture: NDArray[np.uint8]) -> dict[str, Tensor]:
        """The processor's own tensors of one picture, without the dimension of the batch."""
        from PIL import Image

        encoded = self._processor(images=[Image.fromarray(picture)], return_tensors="pt")
        return {name: rows[0] for name, rows in encoded.items()}

    def _agrees(self) -> bool:
        """Whether the recipe gives the processor's pixels for pictures of many shapes."""
        assert self.recipe is not None
        try:
            return all(self._difference(picture) <= _LEVELS for picture in _probes(self.recipe.smallest_side))
        except (RuntimeError, NotImplementedError):  # a torch or a device without this filter
            return False

    def _difference(self, picture: NDArray[np.uint8]) -> float:
        """Largest difference of a pixel from the processor's, in levels of 255; infinite for another shape."""
        expected = self._processed(_middle(picture) if self._cuts_middle else picture).get("pixel_values")
        found = self._float_pixels(self.prepare(picture))
        if expected is None or expected.shape != found.shape:
            return math.inf
        return float(((expected - found) / self._scale.cpu()).abs().max())

    def _float_pixels(self, picture: Prepared) -> Tensor:
        """Normalised pixels (3, H, W) float32 on the CPU."""
        import torch

        assert self.recipe is not None
        if isinstance(picture, Mapping):
            picture = resize_floats(picture[_RAW].to(self._device), self.recipe)
        return torch.addcmul(self._shift, picture.to(self._device).float(), self._scale).cpu()


# Recipe


def read_recipe(processor: Any) -> Recipe | None:
    """What ``processor`` does, by its settings; None when it does anything that a recipe cannot say."""
    from PIL.Image import Resampling

    modes = {Resampling.BILINEAR: "bilinear", Resampling.BICUBIC: "bicubic", Resampling.LANCZOS: "lanczos"}
    asked = processor.to_dict()
    mode = modes.get(asked.get("resample"))
    if not (asked.get("do_resize") and asked.get("do_rescale") and mode) or asked.get("do_pad"):
        return None
    size, shortest, cut = _sizes(processor, bool(asked.get("do_center_crop")))
    if not size and not shortest:
        return None
    lows = size or (shortest, shortest)
    if (cut is None and not size) or (cut is not None and (cut[0] > lows[0] or cut[1] > lows[1])):
        return None  # pictures of different sizes, or padded ones
    mean, std = (0.0,) * 3, (1.0,) * 3
    if asked.get("do_normalize"):
        mean, std = _channels(asked.get("image_mean")), _channels(asked.get("image_std"))
    factor = float(asked.get("rescale_factor") or 1 / 255)
    scale = tuple(factor / deviation for deviation in std)
    shift = tuple(-middle / deviation for middle, deviation in zip(mean, std, strict=True))
    return Recipe(size, shortest, cut, mode, scale, shift)


def _sizes(processor: Any, cuts: bool) -> tuple[tuple[int, int] | None, int, tuple[int, int] | None]:
    """(height and width, shorter side, middle) of a processor; nothing but zeros when they cannot be said."""
    size, crop = getattr(processor, "size", None), getattr(processor, "crop_size", None)
    cut = (int(crop.height), int(crop.width)) if cuts and crop else None
    if size is None:
        return None, 0, None
    if size.height and size.width:
        return (int(size.height), int(size.width)), 0, cut
    if not size.shortest_edge or size.longest_edge:
        return None, 0, None
    shortest = int(size.shortest_edge)
    if share := getattr(processor, "crop_pct", None):  # ConvNeXt
        if shortest >= _CONVNEXT_WARPS:
            return (shortest, shortest), 0, cut
        return None, int(shortest / share), (shortest, shortest)
    return None, shortest, cut


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = values if isinstance(values, (list, tuple)) else [values] * 3
    return float(red), float(green), float(blue)


# Resize


def resize_bytes(picture: NDArray[np.uint8], recipe: Recipe) -> Tensor:
    """RGB (H, W, 3) -> uint8 (3, h, w) of the recipe's shape. torch's vector code, five times as fast as Pillow."""
    from torch.nn import functional

    size = recipe.resized(*picture.shape[:2])
    resized = functional.interpolate(
        _tensor(picture).permute(2, 0, 1)[None], size, mode=recipe.mode, antialias=True
    )
    return _cut(resized[0], recipe.cut).contiguous()


def resize_floats(picture: Tensor, recipe: Recipe) -> Tensor:
    """RGB bytes (H, W, 3) on any device -> uint8 (3, h, w) there; for devices that resize no bytes."""
    import torch
    from torch.nn import functional

    height, width = recipe.resized(*picture.shape[:2])
    pixels = picture.permute(2, 0, 1)[None].float()
    for size in (
        (pixels.shape[2], width),
        (height, width),
    ):  # columns first, and bytes in between, as Pillow does
        pixels = functional.interpolate(pixels, size, mode=recipe.mode, antialias=True)
        pixels = pixels.round_().clamp_(0, 255)
    return _cut(pixels[0], recipe.cut).to(torch.uint8)


def _cut(pixels: Tensor, cut: tuple[int, int] | None) -> Tensor:
    if cut is None:
        return pixels
    top, left = (pixels.shape[1] - cut[0]) // 2, (pixels.shape[2] - cut[1]) // 2
    return pixels[:, top : top + cut[0], left : left + cut[1]]


def _is_for_device(picture: NDArray[np.uint8], recipe: Recipe) -> bool:
    """Whether to send a picture as it is: not a huge one, and none that shrinks more than the device can."""
    if recipe.mode == "lanczos":
        return False
    height, width = picture.shape[:2]
    new_height, new_width = recipe.resized(height, width)
    ratio = max(height / new_height, width / new_width)
    return bool(height * width <= _RAW_PIXELS and ratio <= _RAW_RATIO)


def _middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A very long picture without its ends: the resize would make it huge, and the cut throws them away anyhow."""
    (height, width), short = picture.shape[:2], min(picture.shape[:2])
    new_height, new_width = min(height, ASPECT_LIMIT * short), min(width, ASPECT_LIMIT * short)
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return picture[top : top + new_height, left : left + new_width]


def _tensor(picture: NDArray[np.uint8]) -> Tensor:
    """The same bytes as a tensor; torch shares no memory that is read-only."""
    import torch

    return torch.from_numpy(picture if picture.flags.writeable else picture.copy())


def rgb_array(image: Any) -> NDArray[np.uint8]:
    """A PIL picture in mode RGB -> (H, W, 3) uint8, C-contiguous, of its own memory. Raises EncoderError."""
    import numpy as np

    if image.mode != "RGB":
        raise EncoderError(f"an encoder takes RGB pictures, got mode {image.mode}")
    return np.array(image)


# Text and probes


def _size(size: Any) -> str:
    """``{"shortest_edge": 224}`` -> "shortest edge 224"; ``{"height": 224, "width": 224}`` -> "224x224"."""
    names = ("height", "width", "shortest_edge", "longest_edge")
    known = {name: value for name in names if (value := getattr(size, name, None))}
    if {"height", "width"} <= known.keys():
        return f"{known['height']}x{known['width']}"
    return " ".join(f"{name.replace('_', ' ')} {value}" for name, value in known.items())


def _numbers(values: Any) -> str:
    values = values if isinstance(values, (list, tuple)) else [values]
    return "/".join("none" if value is None else f"{value:.4g}" for value in values)


def _probes(side: int) -> list[NDArray[np.uint8]]:
    """Noise in shapes around ``side``: tall, wide, much larger, tiny, and long ones.

    Of middling brightness, so that no filter leaves the bytes: what is cut off between the passes over rows and columns
    depends on their order, and Pillow takes the one that is cheaper for a shape.
    """
    import numpy as np

    random = np.random.default_rng(0)
    shapes = (
        (side * 3 // 2, side + 1),
        (side, side * 2),
        (side * 5 // 2, side * 3),
        (5, 7),
        (30, 240),
        (96, 3),
    )
    return [random.integers(96, 160, (*shape, 3), dtype=np.uint8) for shape in shapes]
