"""A picture as another photo of it might be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mm_milvus import Settings
from mm_milvus.media import MediaReader
from mm_milvus.training import views
from mm_milvus.training.views import view_of


def test_views_are_mild_and_always_the_same(shop: Settings) -> None:
    path = str(Path(shop.uri).parent / "demo" / "images" / "mug-red-1.jpg")
    with MediaReader() as reader:
        whole, one, again, other = (view_of(path, number, reader, None, 224) for number in (0, 1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert all(0.74 <= part / side <= 1 for part, side in zip(one.shape[:2], whole.shape[:2], strict=True))
    assert abs(one.mean() - whole.mean()) < 40


def test_views_differ_from_a_cut_of_the_picture_in_colour_and_in_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(40, 200, (60, 80, 3)).astype(np.uint8)).save(path)
    with MediaReader() as reader:
        whole, *changed = (view_of(path, number, reader, None, 40) for number in range(5))
        monkeypatch.setattr(views, "_MOST_CHANGE", 0.0)
        plain = [view_of(path, number, reader, None, 40) for number in range(5)]
    np.testing.assert_array_equal(plain[0], whole)
    for one, cut in zip(changed, plain[1:], strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(whole, cut.shape)
        assert (windows == cut).all(axis=(3, 4, 5)).any(), "a part of the picture, as it is"
        assert one.shape == cut.shape
        difference = np.abs(one.astype(int) - cut)
        assert difference.mean() > 1 and difference.max() < 80
