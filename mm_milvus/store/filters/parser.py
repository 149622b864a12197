"""Grammar of filters (a part of Milvus' own), by recursive descent:

either     := both ("or" both)*                                     also ||, OR
both       := one ("and" one)*                                      also &&, AND
one        := ("not" | "!")* ( "(" either ")" | "exists" field | function | comparison )
comparison := part (op literal | ["not"] "in" list | ["not"] "like" string | "is" ["not"] "null")?
            | literal op part (op literal)?                         5 < price <= 10
part       := field | "array_length" "(" field ")"
field      := (name | `any name` | $meta["any name"]) ("[" (string | index) "]")*
function   := ("array_contains" | "json_contains") ["_any" | "_all"] "(" field "," (literal | list) ")"
            | ("text_match" | "text_match_all") "(" field "," string ")"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from mm_milvus.errors import FilterError
from mm_milvus.records import FieldType
from mm_milvus.store.filters import check
from mm_milvus.store.filters.ast import And, Filter, Not, Or, Ref, Scalar
from mm_milvus.store.filters.chains import shortened, terms
from mm_milvus.store.filters.quoting import one_line
from mm_milvus.store.filters.tokens import Token, fail, tokenize, unescape

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "parse"]

MAX_LENGTH = 1 << 20  # characters
MAX_DEPTH = 50  # parentheses; 200 overflow the parser of the embedded Milvus

_OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MATCHES = ("text_match", "text_match_all")
_CONTAINS = {f"{kind}_contains{mode}": mode for kind in ("array", "json") for mode in ("", "_any", "_all")}


def parse(expression: str, fields: Mapping[str, FieldType]) -> Filter:
    """The filter that ``expression`` says, checked against ``fields`` (id, text, has_image, has_text come along).

    Raises FilterError with the position of the mistake, UnknownField with the nearest name. Limits: 1 MiB of text, 50
    nested parentheses, 100,000 values of one ``in``, 1,000 characters of a pattern or of words, 500 comparisons; those
    of one field joined by ``or`` that ask for equality are one.
    """
    if len(expression) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(expression)} characters; {MAX_LENGTH} are the most")
    if not expression.strip():
        raise FilterError("the filter is empty")
    return _Parser(tokenize(expression), fields).whole()


class _Literal(NamedTuple):
    value: Scalar
    at: int


class _Length(NamedTuple):
    ref: Ref


class _Parser:
    def __init__(self, tokens: list[Token], fields: Mapping[str, FieldType]) -> None:
        self._tokens = tokens
        self._fields = fields
        self._next = 0
        self._depth = 0
        self._starts: list[int] = []  # of the comparisons

    def whole(self) -> Filter:
        result = shortened(self._either())
        if self._here.kind != "end":
            self._unexpected("'and', 'or' or the end")
        if terms(result) > check.MAX_TERMS:
            fail(
                self._starts[check.MAX_TERMS],
                f"more than {check.MAX_TERMS} comparisons; use 'field in [...]' for many values of one field",
            )
        return result

    # ---- and, or, not

    def _either(self) -> Filter:
        parts = [self._both()]
        while self._take("keyword", "or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Or(*parts)

    def _both(self) -> Filter:
        parts = [self._one()]
        while self._take("keyword", "and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(*parts)

    def _one(self) -> Filter:
        negated = False
        while self._take("keyword", "not"):
            negated = not negated
        part = self._group() if self._is("symbol", "(") else self._term()
        return Not(part) if negated else part

    def _group(self) -> Filter:
        opening = self._advance()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            fail(opening.at, f"more than {MAX_DEPTH} parentheses in each other")
        inside = self._either()
        self._expect(")")
        self._depth -= 1
        return inside

    # ---- comparisons

    def _term(self) -> Filter:
        start = self._here
        if self._take("keyword", "exists"):
            result = check.missing(self._field(), negated=True)
        elif self._function_name in _CONTAINS:
            result = self._contains()
        elif self._function_name in _MATCHES:
            result = self._match()
        elif self._starts_literal():
            result = self._literal_first()
        else:
            result = self._part_first()
        self._starts += [start.at] * terms(result)
        return result

    def _literal_first(self) -> Filter:
        left = self._literal()
        if self._is("keyword", "in"):
            fail(
                self._here.at,
                "a field stands before 'in'; for an array field use array_contains(field, value)",
            )
        first = self._operator("a comparison of this value with a field")
        if self._starts_literal():
            fail(self._here.at, "a comparison needs a field on one side")
        part = self._part()
        lower = self._compare(part, _MIRRORED[first], left)
        if self._here.text not in _OPERATORS:
            return lower
        second = self._operator("")
        if second[0] != first[0] or first in ("==", "!="):
            fail(self._tokens[self._next - 1].at, "a chain has the form 1 < field < 2 or 2 > field > 1")
        return And(lower, self._compare(part, second, self._literal()))

    def _part_first(self) -> Filter:
        start = self._here
        part = self._part()
        if self._here.kind == "symbol" and self._here.text not in (")", ",", "]"):
            op = self._operator("a comparison")
            return self._compare(part, op, self._literal(op))
        if isinstance(part, _Length):
            self._unexpected("a comparison with a number, like array_length(field) > 2")
        at = self._here.at
        if self._take("keyword", "is"):
            negated = self._take("keyword", "not")
            if not self._take("keyword", "null"):
                self._unexpected("'null'")
            return check.missing(part, negated)
        negated = self._is("keyword", "not") and self._take("keyword", "not")
        if self._take("keyword", "in"):
            return check.membership(part, self._list(), negated, at)
        if self._take("keyword", "like"):
            return self._like(part, negated)
        if negated:
            self._unexpected("'in' or 'like'")
        self._refuse_sql()
        return check.truth(part, start.at)

    def _compare(self, part: Ref | _Length, op: str, literal: _Literal) -> Filter:
        if isinstance(part, _Length):
            return check.length(part.ref, op, literal.value, literal.at)
        return check.compare(part, op, literal.value, literal.at)

    def _like(self, ref: Ref, negated: bool) -> Filter:
        token = self._here
        if token.kind != "string":
            self._unexpected("a pattern in quotes after 'like'")
        self._advance()
        result = check.like(ref, unescape(token, pattern=True), token.at)
        return Not(result) if negated else result

    def _operator(self, expected: str) -> str:
        token = self._here
        if token.text in _OPERATORS and token.kind == "symbol":
            return self._advance().text
        if token.text == "=":
            fail(token.at, "use '==' to compare")
        if token.text == "<>":
            fail(token.at, "use '!=' for 'is not equal'")
        if token.text in ("&", "|"):
            fail(token.at, f"use '{token.text * 2}' or the word")
        if token.text == ".":
            fail(token.at, 'a part of a json field is written field["key"]')
        if token.text in ("+", "-", "*", "/", "%", "**"):
            fail(token.at, f"'{token.text}': filters do not calculate; put such a name in `backquotes`")
        return self._unexpected(expected)

    def _refuse_sql(self) -> None:
        if self._here.kind == "word" and self._here.text.lower() == "between":
            fail(self._here.at, "write a range as 1 <= field <= 2")

    # ---- functions

    @property
    def _function_name(self) -> str:
        """The name of the function that is called here, in lower case; "" for anything else."""
        if self._here.kind != "word" or self._tokens[self._next + 1].text != "(":
            return ""
        return self._here.text.lower()

    def _contains(self) -> Filter:
        mode = _CONTAINS[self._advance().text.lower()]
        self._expect("(")
        at = self._here.at
        ref = self._field()
        self._expect(",")
        values = self._list() if mode else [self._literal()]
        self._expect(")")
        return check.contains(ref, values, mode == "_all", at)

    def _match(self) -> Filter:
        every = self._advance().text.lower() == "text_match_all"
        self._expect("(")
        ref = self._field()
        self._expect(",")
        if self._here.kind != "string":
            self._unexpected("words in quotes")
        token = self._advance()
        self._expect(")")
        return check.match(ref, unescape(token), every, token.at)

    def _part(self) -> Ref | _Length:
        name = self._function_name
        if name not in ("", "array_length"):
            fail(
                self._here.at,
                f"unknown function '{one_line(name)}'; there are {', '.join(('array_length', *_CONTAINS, *_MATCHES))}",
            )
        if not name:
            return self._field()
        self._advance()
        self._expect("(")
        at = self._here.at
        ref = check.array(self._field(), at)
        self._expect(")")
        return _Length(ref)

    # ---- fields and values

    def _field(self) -> Ref:
        token = self._here
        if token.kind not in ("word", "name", "meta"):
            self._unexpected("a field")
        self._advance()
        path = self._path()
        if token.kind == "word":
            return check.resolve(token.text, path, self._fields, token.at)
        if token.kind == "name":
            return check.resolve(token.text[1:-1].replace("``", "`"), path, self._fields, token.at)
        if not path or not isinstance(path[0], str):
            fail(token.at, 'write $meta["name of the field"]')
        return check.resolve(path[0], path[1:], self._fields, token.at)

    def _path(self) -> list[str | int]:
        path: list[str | int] = []
        while self._take("symbol", "["):
            token = self._here
            if token.kind == "string":
                path.append(unescape(token))
            elif token.kind == "number" and token.text.isdecimal() and len(token.text) <= 9:
                path.append(int(token.text))
            else:
                self._unexpected("a key in quotes or an index from 0")
            self._advance()
            self._expect("]")
        return path

    def _starts_literal(self) -> bool:
        here = self._here
        return (
            here.kind in ("number", "string")
            or (here.kind == "keyword" and here.text in ("true", "false", "null"))
            or (here.kind == "symbol" and here.text in ("-", "+", "["))
        )

    def _literal(self, after: str = "") -> _Literal:
        """A value; ``after`` is the operator that stands before it."""
        token = self._here
        if token.text in ("-", "+") and self._tokens[self._next + 1].kind == "number":
            self._advance()
            value = _number(self._advance())
            return _Literal(-value if token.text == "-" else value, token.at)
        self._refuse_other_values(after)
        self._advance()
        if token.kind == "number":
            return _Literal(_number(token), token.at)
        return _Literal(unescape(token) if token.kind == "string" else token.text == "true", token.at)

    def _refuse_other_values(self, after: str) -> None:
        token = self._here
        if token.kind == "keyword" and token.text == "null":
            fail(token.at, "nothing equals null; use 'field is null' or 'field is not null'")
        if token.text == "[" and token.kind == "symbol":
            fail(token.at, "a list stands after 'in' or in array_contains_any")
        if token.kind in ("word", "name", "meta"):
            found = one_line(token.text)
            fail(
                token.at,
                f"expected a value, not {found}; a field is compared with a value, texts stand in quotes",
            )
        if token.kind not in ("number", "string") and token.text not in ("true", "false"):
            self._unexpected(f"a value after '{after}'" if after else "a value")

    def _list(self) -> list[_Literal]:
        if not self._take("symbol", "["):
            self._unexpected("a list of values in brackets, like [1, 2]")
        values: list[_Literal] = []
        while not self._take("symbol", "]"):
            values.append(self._literal())
            if not self._is("symbol", "]"):
                self._expect(",")
        return values

    # ---- tokens

    @property
    def _here(self) -> Token:
        return self._tokens[self._next]

    def _advance(self) -> Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _is(self, kind: str, text: str) -> bool:
        return self._here.kind == kind and self._here.text == text

    def _take(self, kind: str, text: str) -> bool:
        found = self._is(kind, text)
        self._next += found
        return found

    def _expect(self, symbol: str) -> None:
        if not self._take("symbol", symbol):
            self._unexpected(f"'{symbol}'")

    def _unexpected(self, expected: str) -> NoReturn:
        token = self._here
        found = "the end" if token.kind == "end" else one_line(token.text)
        fail(token.at, f"expected {expected}, found {found}")


def _number(token: Token) -> int | float:
    if len(token.text) > 400:
        fail(token.at, "a number of more than 400 characters")
    return int(token.text) if token.text.isdecimal() else float(token.text)
