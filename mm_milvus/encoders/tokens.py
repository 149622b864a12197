"""Token vectors: what a model knows of each piece of a text and of each part of a picture, for late interaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mm_milvus.errors import NotSupported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mm_milvus.encoders.base import Encoder, EncoderSpec, Prepared

__all__ = ["MOST_PATCHES", "TokenEncoder", "TokenSpec", "token_encoder"]

MOST_PATCHES = 64  # of a picture: a finer grid is averaged to at most as many places


@dataclass(frozen=True, slots=True)
class TokenSpec:
    """Widths of the token vectors, and how they are made: another ``recipe`` gives other tokens."""

    text_dim: int
    image_dim: int
    joint: bool  # both went through the model's own projections into one space
    recipe: str = f"last layer, no special tokens and no prompts, at most {MOST_PATCHES} patches; 1"


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder that also gives a vector for each token.

    All methods give one array (T, D) float32 for each item, in their order, of any norm: the last layer after its
    final norm, through the model's projection where it has one. Padding, special tokens (start, end, class, separator)
    and the words of a prompt are left out: the first two say nothing of a place, and a prompt is the same everywhere.
    A text of no other tokens has none (T = 0), and neither has an item for which the model gives numbers that are not
    finite.
    """

    @property
    def spec(self) -> EncoderSpec: ...

    @property
    def token_spec(self) -> TokenSpec: ...

    @property
    def smallest_side(self) -> int: ...

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared: ...

    def encode_text_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Product texts -> (T, text_dim) each."""
        ...

    def encode_query_text_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Query texts -> (T, text_dim) each; differs where the model has a query prompt."""
        ...

    def encode_prepared_tokens(self, pictures: Sequence[Prepared]) -> list[NDArray[np.float32]]:
        """What ``prepare`` made -> (T, image_dim) each: patches without the class token, or the places of a map."""
        ...


def token_encoder(encoder: Encoder) -> TokenEncoder:
    """The same encoder, where it has token vectors. Raises NotSupported."""
    if not isinstance(encoder, TokenEncoder):
        raise NotSupported(
            f"the encoder {encoder.spec.name!r} has no token vectors, which late interaction compares; it needs a "
            "CLIP-type model (such as google/siglip2-base-patch16-224) or towers:IMAGE+TEXT"
        )
    return encoder


def patches_of(hidden: Tensor, config: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Hidden states (N, T, D), or a map (N, D, H, W), of a picture model -> (T', D) of each picture.

    Tokens before the patches (class, registers, distillation) are left out. Grids of more than MOST_PATCHES places are
    averaged to a smaller grid of about the same proportions.
    """
    if hidden.ndim == 4:
        return [_pooled(one) for one in hidden]
    shapes = inputs.get("spatial_shapes")
    if shapes is not None:  # NaFlex: each picture has a grid of its own, and padding after it
        return [
            _pooled(one[: high * wide].T.reshape(-1, high, wide))
            for one, (high, wide) in zip(hidden, shapes.tolist(), strict=True)
        ]
    high, wide = _grid(hidden.shape[1], config, inputs["pixel_values"])
    grids = hidden[:, hidden.shape[1] - high * wide :].transpose(1, 2).reshape(len(hidden), -1, high, wide)
    return [_pooled(one) for one in grids]


def _grid(tokens: int, config: Any, pixels: Tensor) -> tuple[int, int]:
    """Rows and columns of the patches; hierarchical models have fewer places than patches, and nothing before them."""
    patch = getattr(config, "patch_size", None)
    if isinstance(patch, int):
        high, wide = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        if 0 < high * wide <= tokens:
            return high, wide
    side = round(tokens**0.5)
    return (side, side) if side * side == tokens else (1, tokens)


def _pooled(grid: Tensor) -> Tensor:
    """(D, H, W) -> (T, D) of at most MOST_PATCHES places."""
    from torch.nn.functional import adaptive_avg_pool2d

    high, wide = grid.shape[1:]
    if high * wide > MOST_PATCHES:
        scale = (MOST_PATCHES / (high * wide)) ** 0.5
        rows = min(max(int(high * scale + 1e-6), 1), MOST_PATCHES)
        columns = min(max(int(wide * scale + 1e-6), 1), MOST_PATCHES // rows)
        grid = adaptive_avg_pool2d(grid.float(), (rows, columns))
    return grid.flatten(1).T


def kept(hidden: Tensor, mask: Tensor) -> list[Tensor]:
    """(N, T, D) and what is kept of it (N, T) bool -> (T', D) of each item."""
    return [one[chosen] for one, chosen in zip(hidden, mask, strict=True)]


def finished(tokens: Sequence[Tensor]) -> list[Tensor]:
    """(T, D) each of any dtype and device -> float32 on the CPU; none of an item with a number that is not finite."""
    found = [one.detach().float().cpu() for one in tokens]
    return [one if bool(one.isfinite().all()) else one[:0] for one in found]
