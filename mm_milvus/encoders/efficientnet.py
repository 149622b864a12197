"""EfficientNet-Lite0 in torch, for the ImageNet weights that arrive as a pip package.

Lite differs from EfficientNet-B0 in three ways: no squeeze-and-excitation, ReLU6 instead of swish, and a stem and
a head of fixed width (Tan and Le 2019, arXiv:1905.11946, and the EfficientNet-Lite release notes of 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["FEATURES", "IMAGE_SIZE", "EfficientNetLite0", "load_lite0", "normalise_pixels"]

IMAGE_SIZE = 224  # pixels per side that the weights were trained with
FEATURES = 1280  # width of the pooled features
_CLASSES = 1000
_STEM = 32
# One row per stage: kernel, stride of its first block, expansion, output channels, blocks.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Convolution and the batch norm behind it, under their names in the network and in its blocks.
_FOLDS = (
    ("_conv_stem", "_bn0"),
    ("_conv_head", "_bn1"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)


class EfficientNetLite0(nn.Module):
    """ImageNet classifier whose pooled features describe a picture; its names are those of the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, _STEM, kernel=3, stride=2)
        self._bn0 = _batch_norm(_STEM)
        self._blocks = nn.ModuleList(_make_blocks())
        self._conv_head = SameConv(_STAGES[-1][3], FEATURES, kernel=1)
        self._bn1 = _batch_norm(FEATURES)
        self._fc = nn.Linear(FEATURES, _CLASSES)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels (N, 3, 224, 224) -> ImageNet logits (N, 1000)."""
        logits: torch.Tensor = self._fc(self.features(pixels))
        return logits

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels (N, 3, 224, 224) -> pooled features (N, 1280), not negative and not normalised."""
        x = functional.relu6(self._bn0(self._conv_stem(pixels)))  # (N, 32, 112, 112)
        for block in self._blocks:
            x = block(x)  # ... (N, 320, 7, 7)
        x = functional.relu6(self._bn1(self._conv_head(x)))  # (N, 1280, 7, 7)
        return x.mean(dim=(2, 3))  # (N, 1280)


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel by itself, project back; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self._expands = expansion != 1
        self._shortcut = stride == 1 and inputs == outputs
        if self._expands:
            self._expand_conv = SameConv(inputs, hidden, kernel=1)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SameConv(hidden, hidden, kernel=kernel, stride=stride, groups=hidden)
        self._bn1 = _batch_norm(hidden)
        self._project_conv = SameConv(hidden, outputs, kernel=1)
        self._bn2 = _batch_norm(outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        x: torch.Tensor = inputs
        if self._expands:
            x = functional.relu6(self._bn0(self._expand_conv(x)))  # (N, hidden, H, W)
        x = functional.relu6(self._bn1(self._depthwise_conv(x)))  # (N, hidden, H / stride, W / stride)
        x = self._bn2(self._project_conv(x))  # (N, outputs, H / stride, W / stride)
        if self._shortcut:
            x = x + inputs
        return x


class SameConv(nn.Conv2d):
    """Convolution without bias and with TensorFlow's SAME padding: what is odd goes to the right and the bottom."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        # With stride 1 SAME is symmetric, which the convolution does itself without a padded copy.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        if self.stride[0] > 1:
            height, width = (_padding(size, self.kernel_size[0], self.stride[0]) for size in x.shape[2:])
            x = functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        filtered: torch.Tensor = super().forward(x)
        return filtered


def load_lite0(path: str | PathLike[str]) -> EfficientNetLite0:
    """The network with the weights of the state dict at ``path``, in evaluation mode, float32, on the CPU.

    Raises what ``torch.load`` and ``load_state_dict`` raise: the file is read without running its code, and every
    key must match.
    """
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    network.eval().requires_grad_(False)
    for module in list(network.modules()):
        _fold_batch_norms(module)
    for parameter in network.parameters():
        if parameter.dim() == 4:  # channels last: twice as fast on a CPU
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _fold_batch_norms(module: nn.Module) -> None:
    """Put each batch norm into the convolution before it: the same function, half as fast again on a CPU."""
    for conv, norm in _FOLDS:
        if isinstance(found := getattr(module, norm, None), nn.BatchNorm2d) and hasattr(module, conv):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), found))
            setattr(module, norm, nn.Identity())


def normalise_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """RGB bytes (N, 3, H, W) -> float32 of about -1 to 1, as the weights were trained.

    Measured on 299 photos of groceries that are ImageNet classes, top-1 / top-5: this scale with SAME padding
    .806 / .973, with symmetric padding .793 / .946; with the usual ImageNet mean and deviation .666 / .933. The test
    of the classifier in tests/encoders/test_offline_pictures.py measures it again.
    """
    return (pixels.float() - 127.0) / 128.0


def _make_blocks() -> list[InvertedBottleneck]:
    blocks, inputs = [], _STEM
    for kernel, stride, expansion, outputs, repeats in _STAGES:
        for index in range(repeats):
            first = stride if index == 0 else 1
            blocks.append(
                InvertedBottleneck(inputs, outputs, kernel=kernel, stride=first, expansion=expansion)
            )
            inputs = outputs
    return blocks


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _padding(size: int, kernel: int, stride: int) -> int:
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)
