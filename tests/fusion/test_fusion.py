"""Fusions against values that are written out."""

from __future__ import annotations

import numpy as np
import pytest

from mm_milvus.encoders.base import EncoderSpec
from mm_milvus.errors import FusionError
from mm_milvus.fusion import Fusion, blocks, fill_missing, hadamard, weighted_sum


def f32(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def spec(*, joint: bool, image_dim: int = 2, text_dim: int = 2) -> EncoderSpec:
    return EncoderSpec("test", "1", "clip", text_dim, image_dim, joint, "", 77, 300)


IMAGE, TEXT = f32(0.6, 0.8)[None], f32(0.0, 1.0)[None]


def test_blocks_lays_the_parts_side_by_side() -> None:
    assert blocks(IMAGE, TEXT).tolist() == [pytest.approx([0.6, 0.8, 0.0, 1.0])]


def test_sum_is_weighted_then_normalised() -> None:
    # .25 * (.6, .8) + .75 * (0, 1) = (.15, .95), of norm sqrt(.0225 + .9025) = .961769
    expected = [0.15 / 0.925**0.5, 0.95 / 0.925**0.5]
    assert weighted_sum(IMAGE, TEXT, 0.25, 0.75)[0].tolist() == pytest.approx(expected)


def test_product_multiplies_then_normalises() -> None:
    image, text = f32(0.6, 0.8)[None], f32(0.8, 0.6)[None]
    assert hadamard(image, text)[0].tolist() == pytest.approx([0.5**0.5, 0.5**0.5])  # (.48, .48)
    assert hadamard(f32(1, 0)[None], f32(0, 1)[None])[0].tolist() == [0.0, 0.0]


def test_a_missing_part_is_the_mean_as_it_is() -> None:
    mean = f32(0.3, 0.1)
    assert fill_missing([None, f32(1, 0)], mean).tolist() == [pytest.approx([0.3, 0.1]), [1.0, 0.0]]


def test_fuse_fills_each_modality_with_its_own_mean() -> None:
    fusion = Fusion("blocks", image_mean=f32(0.3, 0.1), text_mean=f32(0.2, 0.4, 0.1))
    fused = fusion.fuse([f32(1, 0), None], [None, f32(0, 0, 1)])
    assert fusion.dim == 5
    assert fused[0].tolist() == pytest.approx([1, 0, 0.2, 0.4, 0.1])
    assert fused[1].tolist() == pytest.approx([0.3, 0.1, 0, 0, 1])
    image, text = fusion.split(fused)
    assert image[1].tolist() == pytest.approx([0.3, 0.1])
    assert text[1].tolist() == [0, 0, 1]


def test_a_blocks_query_scores_the_weighted_similarities() -> None:
    fusion = Fusion("blocks", image_mean=f32(0.3, 0.1), text_mean=f32(0.2, 0.4))
    product = fusion.fuse([f32(0.6, 0.8)], [f32(1, 0)])[0]
    query = fusion.query(0.3 * f32(1, 0), -0.7 * f32(0.8, 0.6))
    assert float(query @ product) == pytest.approx(0.3 * 0.6 - 0.7 * 0.8)
    assert fusion.query(None, f32(0, 1)).tolist() == [0, 0, 0, 1]


def test_a_product_query_with_one_part_uses_the_mean_of_the_other() -> None:
    fusion = Fusion("product", image_mean=f32(0.6, 0.8), text_mean=f32(0.8, 0.6))
    assert fusion.query(None, f32(0.8, 0.6)).tolist() == pytest.approx([0.5**0.5, 0.5**0.5])


@pytest.mark.parametrize("name", ["sum", "product"])
def test_sum_and_product_need_one_space(name: str) -> None:
    Fusion.check(name, spec(joint=True))
    for bad in (spec(joint=False), spec(joint=True, image_dim=3)):
        with pytest.raises(FusionError, match="linear"):
            Fusion.check(name, bad)
    Fusion.check("blocks", spec(joint=False, image_dim=3))


def test_sum_without_weights_is_refused() -> None:
    with pytest.raises(FusionError, match="above 0"):
        Fusion.check("sum", spec(joint=True), 0.0, 0.0)
