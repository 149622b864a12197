"""What is asked of a text: that it looks like a pattern, or has words.

In a pattern ``%`` stands for any text, ``_`` for any one character, and either of them for itself after a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from mm_milvus.store.tokens import tokenize

__all__ = ["escaped", "is_inner", "literal", "looks_like", "pieces", "words", "words_in"]

_SIGN = re.compile(r"\\[%_\\]|.", re.DOTALL)
_ESCAPED = str.maketrans({"%": "\\%", "_": "\\_", "\\": "\\\\"})
_REMEMBERED = 200  # characters; titles are cut into words once, longer texts each time


def escaped(text: str) -> str:
    """The pattern of exactly this text."""
    return text.translate(_ESCAPED)


def pieces(pattern: str) -> list[str]:
    """The patterns without ``%`` that stand between the ``%`` of this one; a single one where it has none."""
    found = [""]
    for sign in _SIGN.findall(pattern):
        if sign == "%":
            found.append("")
        else:
            found[-1] += sign if sign != "\\" else "\\\\"
    return [found[0], *filter(None, found[1:-1]), *found[1:][-1:]]


def literal(piece: str) -> str | None:
    """The text that a piece stands for, None where it has a ``_``."""
    signs = _SIGN.findall(piece)
    return None if "_" in signs else "".join(sign[-1] for sign in signs)


def is_inner(pattern: str) -> bool:
    """Whether it is ``%text%`` with neither signs nor escapes inside: every ``like`` reads that alike."""
    return len(pattern) > 2 and pattern[0] == pattern[-1] == "%" and pattern[1:-1] == escaped(pattern[1:-1])


@lru_cache(maxsize=256)
def looks_like(pattern: str) -> Callable[[str], bool]:
    """Asks a text whether it looks like the pattern as a whole.

    Each piece is taken where it first fits, which is enough and never goes back: the time grows with the length of
    the text, however many ``%`` there are.
    """
    parts = pieces(pattern)
    first, *others = map(_compiled, parts)
    if not others:
        return lambda text: first.fullmatch(text) is not None
    *inner, last = others
    size = len(_SIGN.findall(parts[-1]))

    def holds(text: str) -> bool:
        found = first.match(text)
        for piece in inner:
            found = found and piece.search(text, found.end())
        end = len(text) - size
        return found is not None and found.end() <= end and last.match(text, end) is not None

    return holds


def _compiled(piece: str) -> re.Pattern[str]:
    signs = _SIGN.findall(piece)
    return re.compile("".join("." if sign == "_" else re.escape(sign[-1]) for sign in signs), re.DOTALL)


def words(text: str) -> tuple[str, ...]:
    """Its different words, cut and stemmed as those of the search are."""
    return tuple(dict.fromkeys(tokenize(text).split()))


def words_in(wanted: Sequence[str], every: bool) -> Callable[[str], bool]:
    """Asks a text whether it has any (or ``every``) one of these words."""
    quantifier = all if every else any
    padded = [f" {word} " for word in wanted]

    def holds(text: str) -> bool:
        line = _remembered(text) if len(text) <= _REMEMBERED else _line(text)
        return quantifier(word in line for word in padded)

    return holds


def _line(text: str) -> str:
    return f" {tokenize(text)} "


_remembered = lru_cache(maxsize=1 << 18)(_line)
