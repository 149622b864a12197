"""How signals are weighed, against written-out values."""

from __future__ import annotations

import pytest

from mm_milvus.encoders.base import DefaultWeights
from mm_milvus.errors import ConfigError
from mm_milvus.records import Signal
from mm_milvus.search import weigh

DEFAULTS = DefaultWeights(image=0.3, text=0.7)


def weights(*signals: Signal) -> list[float | None]:
    return [signal.weight for signal in weigh(signals, DEFAULTS)]


def text(weight: float | None = None) -> Signal:
    return Signal("text", "red", weight)


def image(weight: float | None = None) -> Signal:
    return Signal("image", "shoe.jpg", weight)


def product(weight: float | None = None) -> Signal:
    return Signal("id", "p1", weight)


def test_a_query_of_one_kind_needs_no_balance() -> None:
    assert weights(text()) == [1.0]
    assert weights(image(), image()) == [1.0, 1.0]
    assert weights(image(), product()) == [1.0, 1.0]


def test_words_and_pictures_share_the_defaults() -> None:
    assert weights(image(), text()) == [0.3, 0.7]
    assert weights(image(), product(), text(), text()) == [0.15, 0.15, 0.35, 0.35]


def test_a_given_weight_stays_as_it_is() -> None:
    assert weights(image(2.0), text()) == [2.0, 0.7]
    assert weights(image(), text(), text(-0.4)) == [0.3, 0.7, -0.4]
    assert weights(text(0.0)) == [0.0]


@pytest.mark.parametrize("weight", [1e308, float("nan"), float("-inf")])
def test_a_weight_without_measure_is_an_error(weight: float) -> None:
    with pytest.raises(ConfigError, match="the weight"):
        weights(text(weight))


def test_no_signal_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nothing to search for"):
        weights()
