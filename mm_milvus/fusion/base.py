"""A fusion bound to an encoder's dimensions and means: the same object serves ingest and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mm_milvus.errors import FusionError
from mm_milvus.fusion.functions import blocks, fill_missing, hadamard, weighted_sum
from mm_milvus.fusion.head import Head

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import EncoderSpec

    Array = npt.NDArray[np.float32]

__all__ = ["UNTRAINED", "Fusion", "FusionName"]

FusionName = Literal["blocks", "sum", "product", "head"]
UNTRAINED: tuple[FusionName, ...] = ("blocks", "sum", "product")


@dataclass(frozen=True, eq=False)
class Fusion:
    """Turns the vectors of both modalities into one vector.

    ``image_mean`` (D_image,) and ``text_mean`` (D_text,) stand in for a missing modality. Raises FusionError
    when ``sum`` or ``product`` is asked of an encoder whose modalities do not share one space.
    """

    name: FusionName
    image_mean: Array
    text_mean: Array
    image_weight: float = 0.5
    text_weight: float = 0.5
    head: Head | None = None  # of the fusion "head": a trained one

    @staticmethod
    def check(
        name: FusionName, spec: EncoderSpec, image_weight: float = 0.5, text_weight: float = 0.5
    ) -> None:
        """Raises FusionError where the fusion has no meaning for the encoder."""
        if name in ("sum", "product") and not (spec.joint and spec.image_dim == spec.text_dim):
            raise FusionError(
                f"the fusion {name!r} needs pictures and texts in one space, but the encoder {spec.name!r} "
                f"gives {spec.image_dim} and {spec.text_dim} dimensions of two separate spaces; "
                "use 'blocks', or a trained fusion such as linear (mm-milvus train)"
            )
        if name == "sum" and image_weight + text_weight == 0:
            raise FusionError("the fusion 'sum' needs an image_weight or a text_weight above 0")

    @property
    def image_dim(self) -> int:
        return int(self.image_mean.shape[0])

    @property
    def text_dim(self) -> int:
        return int(self.text_mean.shape[0])

    @property
    def dim(self) -> int:
        """Dimensions of the fused vector."""
        if self.head is not None:
            return self.head.config.dim
        return self.image_dim + self.text_dim if self.name == "blocks" else self.image_dim

    @property
    def centred(self) -> bool:
        """Whether ``query`` takes sums of centred unit vectors."""
        return self.head is not None and self.head.config.centred

    def fuse(self, images: Sequence[Array | None], texts: Sequence[Array | None]) -> Array:
        """N vectors per modality, None where it is missing -> (N, dim) float32."""
        image, text = fill_missing(images, self.image_mean), fill_missing(texts, self.text_mean)
        if self.head is not None:
            has_image, has_text = ([vector is not None for vector in found] for found in (images, texts))
            return self.head.products(image, text, has_image, has_text)
        return self._combine(image, text)

    def _combine(self, image: Array, text: Array) -> Array:
        match self.name:
            case "blocks":
                return blocks(image, text)
            case "sum":
                return weighted_sum(image, text, self.image_weight, self.text_weight)
            case _:
                return hadamard(image, text)

    def split(self, fused: Array) -> tuple[Array, Array]:
        """The (image, text) blocks of fused vectors (..., dim); only for ``blocks``."""
        return fused[..., : self.image_dim], fused[..., self.image_dim :]

    def expected(self, query: Array) -> float | None:
        """The inner product of a query vector (dim,) with a product of which nothing is known; only for ``blocks``."""
        if self.name != "blocks":
            return None
        return float(query @ blocks(self.image_mean, self.text_mean))

    def query(self, image: Array | None, text: Array | None) -> Array:
        """The query vector (dim,) of an already weighted picture part and text part; None where absent.

        ``blocks`` keeps the parts apart and ``sum`` adds them; both keep their weights. ``product`` multiplies them
        to unit norm, an absent part being the document mean, as in the products that lack it. For a trained fusion
        see ``Head.query``.
        """
        if self.head is not None:
            return self.head.query(image, text)
        if self.name == "product":
            return self._combine(
                self.image_mean if image is None else image, self.text_mean if text is None else text
            )
        image = np.zeros_like(self.image_mean) if image is None else image
        text = np.zeros_like(self.text_mean) if text is None else text
        return blocks(image, text) if self.name == "blocks" else image + text
