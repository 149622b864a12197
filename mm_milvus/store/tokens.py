"""Search tokens of our own, so that lexical search is the same on every backend.

Milvus' analyzers differ between Milvus Lite and the server versions; this room writes already analysed tokens,
joined by blanks, into one field, and the `standard` analyzer only splits them again.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

__all__ = ["BM25_B", "BM25_K1", "MAX_TOKEN_BYTES", "Tokens", "telling", "tokenize", "tokenize_query"]

# Those of Milvus Lite, which cannot be changed; collections on servers are made with the same.
BM25_K1, BM25_B = 1.5, 0.75

MAX_TOKEN_BYTES = 60_000  # of the joined tokens: they must fit a VARCHAR field

# Tokens that say nothing of a product. Few: what is rare in one shop is a name in another.
_COMMON = frozenset(
    "a an and any are as at be by for from i in is it me my of on or our some someth that the this to with you your "
    "的 了 和 与 在 是 有 我 给 一个".split()
)
# Words, as they are written: "für" without its accent is "fur". Those that mean something in another language are no
# part of it: die, den, am, la, les, un, en, aux, sans.
_FUNCTION_WORDS = frozenset(
    [
        *"für fuer mit und oder der das dem des im zum zur vom von beim aus auf ist".split(),
        *"ein eine einen einem einer eines".split(),
        *"pour avec le du de et ou au dans sur chez une".split(),
    ]
)
_NAMES = {("pour", "over")}  # of things, in which the first word is none of them

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")  # runs of Chinese characters, and words of other scripts
_ACCENT = re.compile("[\u0300-\u036f]")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Those of N texts, T in all."""

    lengths: npt.NDArray[np.int64]  # (N,) how many each text has
    codes: npt.NDArray[np.int32]  # (T,) which ones, text after text
    vocabulary: Mapping[str, int]  # token -> code

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Of texts as they are written."""
        vocabulary: dict[str, int] = {}
        lengths, codes = array("q"), array("i")
        for text in texts:
            tokens = tokenize(text).split()
            lengths.append(len(tokens))
            codes.extend(vocabulary.setdefault(token, len(vocabulary)) for token in tokens)
        return cls(np.array(lengths, np.int64), np.array(codes, np.int32), vocabulary)


def tokenize(text: str) -> str:
    """Lowercase words without accents, lightly stemmed; Chinese cut into words by jieba; joined by blanks.

    "Men's Running Shoes, 红色T恤" becomes "men run shoe 红色 t 恤".
    """
    return _joined(token for run in _runs(text) for token in _tokens(run))


def _joined(tokens: Iterable[str]) -> str:
    line = " ".join(tokens)
    return line.encode("utf-8", errors="replace")[:MAX_TOKEN_BYTES].decode("utf-8", errors="ignore")


def _runs(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).lower().replace("'s", "").replace("’s", "")
    return _RUN.findall(folded)


def _tokens(run: str) -> Iterable[str]:
    if re.match(f"[{_HAN}]", run):
        return _jieba().cut(run)  # type: ignore[no-any-return]
    return (_stem(run),)


def telling(text: str) -> list[str]:
    """The tokens of a query that say something of a product: no "for", "für" and "pour"."""
    runs = _runs(text)
    kept = [
        run
        for run, after in zip(runs, [*runs[1:], ""], strict=False)
        if run not in _FUNCTION_WORDS or (run, after) in _NAMES
    ]
    return [token for run in kept for token in _tokens(run) if token not in _COMMON]


def tokenize_query(text: str) -> str:
    """The tokens of a query that are worth looking for: those that are ``telling``, or all where none of them is."""
    return _joined(telling(text)) or tokenize(text)


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    plain = _ACCENT.sub("", unicodedata.normalize("NFD", word))
    return str(_stemmer().stemWord(unicodedata.normalize("NFC", plain)))


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@lru_cache(maxsize=1)
def _jieba() -> Any:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)  # it prints to stderr while it loads its dictionary
    return jieba.dt
