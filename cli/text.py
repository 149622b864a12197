"""Values as text for people: printable, on one line, and as wide as a terminal shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

__all__ = ["counted", "decimals", "is_number", "number", "one_line", "plain", "products", "shown_value"]

# Joiners and marks that emoji and many scripts are spelled with; the other format characters can
# reorder or hide text on a terminal (bidirectional overrides, escape sequences).
_JOINERS = "\u200c\u200d"
_MOST_DECIMALS = 3


def one_line(text: str) -> str:
    """``text`` without line breaks and without characters that could steer a terminal."""
    return " ".join("".join(char if char.isprintable() or char in _JOINERS else " " for char in text).split())


def plain(value: Any) -> str:
    """An attribute as a person would write it: yes and no, lists with commas, objects as JSON."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, decimals([value]))
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, dict):
        return one_line(json.dumps(value, ensure_ascii=False))
    return one_line(str(value))


def shown_value(value: Any, places: int) -> str:
    """Like ``plain``; numbers get ``places`` decimals, so that those of one column line up."""
    return number(value, places) if is_number(value) else plain(value)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def decimals(values: Iterable[Any]) -> int:
    """The decimals that the numbers among ``values`` need, at most three."""
    return max((_decimals(value) for value in values if isinstance(value, float)), default=0)


def _decimals(value: float) -> int:
    return len(f"{value:.{_MOST_DECIMALS}f}".rstrip("0").partition(".")[2])


def number(value: float, places: int) -> str:
    """``value`` in plain digits; as Python writes it where plain digits would hide it."""
    if value and not 10**-_MOST_DECIMALS <= abs(value) < 1e15:
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{value:.{places}f}"


def products(count: int) -> str:
    """``1 product``, ``84 products``."""
    return counted(count, "product")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """``1 group``, ``1,200 groups``: the noun takes an s for all but one, unless its plural is given."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
