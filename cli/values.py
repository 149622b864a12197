"""Parsing of option values: weighted signals, crops, names and FIELD=VALUE pairs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import click

from mm_milvus.errors import ConfigError

if TYPE_CHECKING:
    from mm_milvus.records import Boost, Crop, Facet, Signal, Sort

__all__ = ["boost", "crop", "example", "facet", "names", "pair", "signal_of", "sort", "split_weight"]

_WEIGHTED = re.compile(r"(.*)(?<!\\)\^([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)", re.DOTALL)


def split_weight(text: str) -> tuple[str, float | None]:
    r"""``red^0.7`` -> ("red", 0.7). A ``^`` without a number after it is literal, and so is ``\^``."""
    match = _WEIGHTED.fullmatch(text)
    value, weight = (match[1], float(match[2])) if match else (text, None)
    return value.replace("\\^", "^"), weight


def signal_of(kind: Literal["text", "image", "id"]) -> Callable[[str], Signal]:
    """A parser of signals of one kind with an optional weight."""

    def signal(text: str) -> Signal:
        from mm_milvus.records import Signal

        value, weight = split_weight(text)
        if not value.strip():
            raise click.BadParameter("there is nothing to search for")
        if weight is not None and not math.isfinite(weight):
            raise click.BadParameter(f"the weight of {value!r} is too large")
        return Signal(kind, value, weight)

    return signal


def example(text: str) -> Signal:
    """An id that may have a weight, as recommend() has them: above 0."""
    signal = signal_of("id")(text)
    if signal.weight is not None and signal.weight <= 0:
        raise click.BadParameter(
            f"the weight of {signal.value!r} has to be above 0; one of --id may be below it"
        )
    return signal


@contextmanager
def _bad_parameter() -> Iterator[None]:
    """What Python refuses is a bad value of the option here."""
    try:
        yield
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


def crop(text: str) -> Crop:
    """``x,y,width,height`` in whole pixels."""
    from mm_milvus.arguments import parse_crop

    with _bad_parameter():
        return parse_crop(text)


def sort(text: str) -> Sort:
    """``price``, or ``-price`` for the highest first."""
    from mm_milvus.arguments import parse_sort

    with _bad_parameter():
        return parse_sort(text)


def boost(text: str) -> Boost:
    """``first:in_stock``, or with an amount ``recency:listed=90``."""
    from mm_milvus.arguments import parse_boost

    with _bad_parameter():
        return parse_boost(text)


def facet(text: str) -> Facet:
    """``color``, or ``price=50,100`` for the numbers between bounds."""
    from mm_milvus.arguments import parse_facet

    with _bad_parameter():
        return parse_facet(text)


def names(text: str) -> tuple[str, ...]:
    """``a,b,c``."""
    found = tuple(name for part in text.split(",") if (name := part.strip()))
    if not found:
        raise click.BadParameter("expected names with commas between them")
    return found


def pair(text: str) -> tuple[str, str]:
    """``FIELD=VALUE``; the value may hold further equals signs."""
    field, _, value = (part.strip() for part in text.partition("="))
    if not (field and value):
        raise click.BadParameter(f"expected FIELD=VALUE, got {text!r}")
    return field, value
