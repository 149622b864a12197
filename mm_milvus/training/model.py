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
        tokens = (image @ self._of(side, "image").T, text @ self._of(side, "text").T)  # (B, dim) each
        if self.config.kind == "product":
            return normalize(tokens[0] * tokens[1], dim=-1)
        has = present.to(tokens[0].dtype)
        if self.config.kind == "gated":
            gate = self._gate(side, image, text, has)
            # Without the factor 2, which a unit vector does not show.
            return normalize(gate * tokens[0] + (1 - gate) * tokens[1], dim=-1)
        total = has[:, :1] * tokens[0] + has[:, 1:] * tokens[1]
        if self.config.kind == "attention":
            total = total + self._attended(side, tokens, has)
        return normalize(total, dim=-1)

    def _gate(self, side: str, image: Tensor, text: Tensor, has: Tensor) -> Tensor:
        """(B, dim): how much the picture counts in each dimension; the text counts for the rest.

        The softmax of two scores is the sigmoid of their difference, so one product of matrices does for both.
        """
        both = torch.cat([image * has[:, :1], text * has[:, 1:]], dim=1)
        weight, bias = self._of(side, "gate"), self._of(side, "gate_bias")
        dim = self.config.dim
        share = (both @ (weight[:dim] - weight[dim:]).T + (bias[:dim] - bias[dim:])).sigmoid()
        return _among(share, has)

    def _attended(self, side: str, tokens: tuple[Tensor, Tensor], has: Tensor) -> Tensor:
        """(B, dim) what multi-head attention adds to the tokens in all; nobody attends to an absent one.

        sum over m of W_O sum over n of a_mn V x_n = W_O sum over n of (a_1n + a_2n) V x_n, and as the softmax of two
        scores is the sigmoid of their difference, a_m1 = sigmoid(Q x_m . K (x_1 - x_2) / sqrt(d_k)): six products of
        matrices instead of eight, and none per head.
        """
        heads, width = self.config.attention_heads, self.config.dim // self.config.attention_heads
        key = (tokens[0] - tokens[1]) @ self._of(side, "keys").T
        taken = torch.zeros(len(has), heads)  # of the picture's value, by all tokens that there are
        for modality, token in enumerate(tokens):
            query = token @ self._of(side, "queries").T
            scores = (query * key).view(-1, heads, width).sum(dim=-1) / math.sqrt(width)
            taken = taken + has[:, modality : modality + 1] * _among(scores.sigmoid(), has)
        left = has.sum(dim=1, keepdim=True) - taken
        values = [(token @ self._of(side, "values").T).view(-1, heads, width) for token in tokens]
        seen = taken[:, :, None] * values[0] + left[:, :, None] * values[1]
        return seen.reshape(len(has), -1) @ self._of(side, "out").T

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


def _among(share: Tensor, has: Tensor) -> Tensor:
    """(B, D) the picture's ``share`` where (B, 2) ``has`` both, else all or nothing."""
    both = has[:, :1] * has[:, 1:]
    return both * share + (1 - both) * has[:, :1]
