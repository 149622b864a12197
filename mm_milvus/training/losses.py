"""What a training minimises: queries near the products they want, far from the others of the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

if TYPE_CHECKING:
    from mm_milvus.training.settings import LossName

__all__ = ["PairLoss", "sigmoid_loss", "softmax_loss"]

_HIGHEST = math.log(100.0)  # of the scale, as in CLIP (Radford et al. 2021): beyond it steps become unstable


def softmax_loss(logits: Tensor, wanted: Tensor, hidden: Tensor, grades: Tensor) -> Tensor:
    """The mean over pairs, by grade, of -log of the softmax at ``wanted``.

    ``logits`` (B, C) of queries and candidates, ``wanted`` (B,) the candidate of each pair, ``hidden`` (B, C) bool what
    is no negative, ``grades`` (B,). InfoNCE (van den Oord et al. 2018); grades as in GCL (Zhu et al. 2024, Marqo).
    """
    logits = logits.masked_fill(hidden, -math.inf)
    losses = logits.logsumexp(dim=1) - logits.gather(1, wanted[:, None])[:, 0]
    return (grades * losses).sum() / grades.sum()


def sigmoid_loss(logits: Tensor, wanted: Tensor, hidden: Tensor, grades: Tensor) -> Tensor:
    """The mean over pairs, by grade, of the sum over candidates of -log sigmoid(z logit), z = 1 if wanted, else -1.

    Shapes as in ``softmax_loss``. SigLIP (Zhai et al. 2023).
    """
    signs = -torch.ones_like(logits).scatter(1, wanted[:, None], -1.0)
    losses = -logsigmoid(signs * logits).masked_fill(hidden, 0.0).sum(dim=1)
    return (grades * losses).sum() / grades.sum()


class PairLoss(nn.Module):
    """A loss with what it learns itself: the scale of cosines, and for ``sigmoid`` their bias."""

    def __init__(self, name: LossName) -> None:
        super().__init__()
        self.name = name
        scale = 1 / 0.07 if name == "softmax" else 10.0  # where CLIP and SigLIP start
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        if name == "sigmoid":
            self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(
        self, queries: Tensor, candidates: Tensor, wanted: Tensor, hidden: Tensor, grades: Tensor
    ) -> Tensor:
        """(B, dim) and (C, dim) -> the loss of their cosines."""
        return self.of_cosines(normalize(queries, dim=-1) @ candidates.T, wanted, hidden, grades)

    def of_cosines(self, cosines: Tensor, wanted: Tensor, hidden: Tensor, grades: Tensor) -> Tensor:
        """(B, C) -> their loss."""
        logits = self.log_scale.clamp(max=_HIGHEST).exp() * cosines
        if self.name == "sigmoid":
            return sigmoid_loss(logits + self.bias, wanted, hidden, grades)
        return softmax_loss(logits, wanted, hidden, grades)
