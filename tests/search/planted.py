"""An encoder whose vectors are planted: what is made of them can then be written out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mm_milvus.encoders.base import DefaultWeights, EncoderSpec
from tests.store.conftest import DIM

HALF = DIM // 2
SPEC = EncoderSpec(
    "test", "1", "test", HALF, HALF, False, "none", 10, 300,
    weights=DefaultWeights(image=0.4, text=0.6, bridge=0.0, text_bridge=0.0),
)  # fmt: skip
JOINT = replace(SPEC, joint=True, weights=DefaultWeights(text_on_image=0.5))


class Planted:
    """Texts have the vectors given, and a picture that of its first pixel's red value."""

    smallest_side = 0

    def __init__(
        self, spec: EncoderSpec, texts: Mapping[str, Sequence[float]], pictures: Mapping[int, Sequence[float]]
    ) -> None:
        self.spec = spec
        self._texts = {text: _unit(vector) for text, vector in texts.items()}
        self._pictures = {red: _unit(vector) for red, vector in pictures.items()}

    def encode_query_text(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.stack([self._texts[text] for text in texts])

    def prepare(self, picture: Any) -> torch.Tensor:
        return torch.tensor(int(picture[0, 0, 0]))

    def encode_prepared(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([self._pictures[int(red)] for red in pictures])


def _unit(vector: Sequence[float]) -> torch.Tensor:
    array = np.array(vector, np.float32)
    return torch.from_numpy(array / np.linalg.norm(array))
