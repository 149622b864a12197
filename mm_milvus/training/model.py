"""A head in torch: the parameters and formulae of ``fusion.head``, with gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mm_milvus.fusion import Head, HeadConfig
from mm_milvus.training.start import centre

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import DefaultWeights
    from mm_milvus.training.data import Products, Queries

    Array = npt.NDArray[np.float32]

__all__ = ["HeadModel", "Inputs", "Means", "inputs_of"]

_SIDES = ("product", "query")


@dataclass(frozen=True, eq=False)
class Means:
    """What unit vectors of pictures (D_image,), product texts and query texts (D_text,) have in common."""

    image: Array
    text: Array
    query_text: Array


@dataclass(frozen=True, eq=False)
class Inputs:
    """Products and queries as tensors, ready for a head: centred, unless it takes raw vectors."""

    image: Tensor  # (N, D_image)
    text: Tensor  # (N, D_text)
    present: Tensor  # (N, 2) bool
    images: Tensor  # (A, D_image), of queries
    texts: Tensor  # (B, D_text)
    image_at: Tensor  # (Q,) a place in ``images``, -1 for none
    text_at: Tensor
    product_at: Tensor
    weights: Tensor  # (Q, 3) of picture, text and product

    def __len__(self) -> int:
        """Number of products."""
        return len(self.image)


def inputs_of(
    config: HeadConfig, means: Means, products: Products, queries: Queries, defaults: DefaultWeights
) -> Inputs:
    """What the head takes. The vectors of ``products`` and ``queries`` are changed in their place."""
    present = products.present
    if config.centred:
        centre(products.image, means.image)
        centre(products.text, means.text)
        centre(queries.images, means.image)
        centre(queries.texts, means.query_text)
    else:
        products.image[~present[:, 0]] = means.image
        products.text[~present[:, 1]] = means.text
        present = np.ones_like(present)
    return Inputs(
        image=_tensor(products.image),
        text=_tensor(products.text),
        present=_tensor(present),
        images=_tensor(queries.images),
        texts=_tensor(queries.texts),
        image_at=_tensor(queries.image_at),
        text_at=_tensor(queries.text_at),
        product_at=_tensor(queries.product_at),
        weights=_tensor(queries.weights(defaults)),
    )


def _tensor(array: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


class HeadModel(nn.Module):
    """Weights by the names of ``Head.weights``, "_" standing for the dot; the query's only where they are apart."""

    def __init__(self, config: HeadConfig, weights: Mapping[str, Array], means: Means) -> None:
        super().__init__()
        self.config = config
        self.means = means
        for side in _SIDES[: 1 if config.shared else 2]:
            for name in config.shapes():
                value = torch.tensor(weights[f"{side}.{name}"])
                self.register_parameter(f"{side}_{name}", nn.Parameter(value))

    def to_head(self) -> Head:
        """The same head in numpy."""
        names = {f"{side}_{name}": f"{side}.{name}" for side in _SIDES for name in self.config.shapes()}
        weights = {names[name]: value.detach().numpy().copy() for name, value in self.named_parameters()}
        return Head(self.config, weights, self.means.image, self.means.text, self.means.query_text)

    def _of(self, side: str, name: str) -> Tensor:
        found: Tensor = getattr(self, f"{'product' if self.config.shared else side}_{name}")
        return found

    # --- products ------------------------------------------------------------------------------------------

    def products(self, inputs: Inputs, places: Tensor, dropped: Tensor | None = None) -> Tensor:
        """(B,) places -> (B, dim) of unit norm. ``dropped`` (B, 2) bool: what is taken away for this time."""
        present = inputs.present[places]
        image, text = inputs.image[places], inputs.text[places]
        if dropped is not None and self.config.centred:
            present = present & ~dropped
        elif dropped is not None:
            image = torch.where(dropped[:, :1], torch.from_numpy(self.means.image), image)
            text = torch.where(dropped[:, 1:], torch.from_numpy(self.means.text), text)
        return self.fused("product", image, text, present)

    def fused(self, side: str, image: Tensor, text: Tensor, present: Tensor) -> Tensor:
        """(B, D_image), (B, D_text) and (B, 2) -> (B, dim) of unit norm."""
        tokens = torch.stack(
            [image @ self._of(side, "image").T, text @ self._of(side, "text").T], dim=1
        )  # (B, 2, dim)
        match self.config.kind:
            case "product":
                return normalize(tokens[:, 0] * tokens[:, 1], dim=-1)
            case "gated":
                tokens = 2 * self._gates(side, image, text, present) * tokens
            case "attention":
                tokens = tokens + self._attended(side, tokens, present)
        return normalize((tokens * present[:, :, None]).sum(dim=1), dim=-1)

    def _gates(self, side: str, image: Tensor, text: Tensor, present: Tensor) -> Tensor:
        """(B, 2, dim): how much each modality counts in each dimension."""
        both = torch.cat([image * present[:, :1], text * present[:, 1:]], dim=1)
        scores = both @ self._of(side, "gate").T + self._of(side, "gate_bias")
        scores = scores.reshape(len(image), 2, -1).masked_fill(~present[:, :, None], -math.inf)
        return scores.softmax(dim=1)

    def _attended(self, side: str, tokens: Tensor, present: Tensor) -> Tensor:
        """(B, 2, dim) what multi-head attention adds to each token; nobody attends to an absent one."""
        count, width, dim = tokens.shape
        heads = self.config.attention_heads
        queries, keys, values = (
            (tokens @ self._of(side, name).T).reshape(count, width, heads, dim // heads).transpose(1, 2)
            for name in ("queries", "keys", "values")
        )  # (B, heads, 2, d_k)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(dim // heads)
        shares = scores.masked_fill(~present[:, None, None, :], -math.inf).softmax(dim=-1)
        seen = (shares @ values).transpose(1, 2).reshape(count, width, dim)
        return seen @ self._of(side, "out").T

    # --- queries -------------------------------------------------------------------------------------------

    def queries(self, inputs: Inputs, places: Tensor) -> Tensor:
        """(B,) places -> (B, dim), as ``Head.query`` composes them from their parts by weight."""
        weights = inputs.weights[places]
        if self.config.kind == "product":
            found = self._multiplied(inputs, places) * weights[:, :2].sum(dim=1, keepdim=True)
        else:
            found = torch.zeros(len(places), self.config.dim)
            for part, (at, vectors, name) in enumerate(
                ((inputs.image_at, inputs.images, "image"), (inputs.text_at, inputs.texts, "text"))
            ):
                rows = (at[places] >= 0).nonzero()[:, 0]
                if len(rows):
                    alone = self._alone(name, vectors[at[places[rows]]])
                    found = found.index_add(0, rows, weights[rows, part : part + 1] * alone)
        rows = (inputs.product_at[places] >= 0).nonzero()[:, 0]
        if len(rows):
            like = self.products(inputs, inputs.product_at[places[rows]])
            found = found.index_add(0, rows, weights[rows, 2:] * like)
        return found

    def _alone(self, name: str, vectors: Tensor) -> Tensor:
        """(B, D) of one modality -> (B, dim) of unit norm: a gate among one is 1, and a token attends to itself."""
        token = vectors @ self._of("query", name).T
        if self.config.kind == "attention":
            token = token + (token @ self._of("query", "values").T) @ self._of("query", "out").T
        return normalize(token, dim=-1)

    def _multiplied(self, inputs: Inputs, places: Tensor) -> Tensor:
        """(B, dim) of the head ``product``, to which a part that is missing is the document mean."""
        parts = []
        for at, vectors, mean in (
            (inputs.image_at, inputs.images, self.means.image),
            (inputs.text_at, inputs.texts, self.means.text),
        ):
            found = torch.from_numpy(mean).repeat(len(places), 1)
            rows = (at[places] >= 0).nonzero()[:, 0]
            found[rows] = vectors[at[places[rows]]]
            parts.append(found)
        return self.fused("query", parts[0], parts[1], torch.ones(len(places), 2, dtype=torch.bool))
