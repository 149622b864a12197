"""Text of a filter -> tokens."""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from mm_milvus.errors import FilterError

__all__ = ["BUILT", "Token", "fail", "tokenize", "unescape"]

BUILT = 0  # the position of what was not written in a string

_KEYWORDS = frozenset(["and", "or", "not", "in", "like", "is", "null", "exists", "true", "false"])
_SPELLINGS = {"&&": "and", "||": "or", "!": "not"}
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<name>`(?:[^`]|``)+`)
    |(?P<meta>\$meta\b)
    |(?P<word>[^\W\d]\w*)
    |(?P<symbol>==|!=|<=|>=|<>|&&|\|\||\*\*|[=<>!()\[\],+\-*/%.&|])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\", "/": "/"}


class Token(NamedTuple):
    kind: str  # number, string, name, meta, word, keyword, symbol, end
    text: str  # keywords in lower case and spelled out; names and strings with their quotes
    at: int  # 1-based position of the first character


def fail(at: int, problem: str) -> NoReturn:
    raise FilterError(problem if at == BUILT else f"at character {at}: {problem}")


def tokenize(expression: str) -> list[Token]:
    """All tokens and one of kind ``end``. Raises FilterError at what cannot be a token."""
    tokens, at = [], 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            fail(at + 1, _unreadable(expression[at]))
        if match.lastgroup != "space":
            tokens.append(_token(match))
        at = match.end()
    return [*tokens, Token("end", "", len(expression) + 1)]


def _token(match: re.Match[str]) -> Token:
    kind, text, at = str(match.lastgroup), match[0], match.start() + 1
    if text in _SPELLINGS:
        return Token("keyword", _SPELLINGS[text], at)
    if kind == "word" and text.lower() in _KEYWORDS:
        return Token("keyword", text.lower(), at)
    return Token(kind, text, at)


def _unreadable(character: str) -> str:
    if character in "\"'`":
        return f"the text that begins with {character} has no end"
    if character == "$":
        return "only $meta[...] may begin with '$'"
    return f"unexpected character {character!r}"


def unescape(token: Token, *, pattern: bool = False) -> str:
    """The text that a string token stands for. In a pattern ``\\%`` and ``\\_`` stay as they are."""

    def one(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 5:
            return chr(int(code[1:], 16))
        if pattern and code in "%_":
            return match[0]
        if code not in _ESCAPES:
            fail(token.at, f"unknown escape {match[0]!r}; write a backslash as two")
        return _ESCAPES[code]

    text = _ESCAPE.sub(one, token.text[1:-1])
    # \ud83c\udf89 is how JSON writes one character beyond U+FFFF
    return (
        text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if "\\u" in token.text
        else text
    )
