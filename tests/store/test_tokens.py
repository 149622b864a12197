"""Search tokens of our own: the same everywhere, so they are pinned."""

from __future__ import annotations

import pytest

from mm_milvus.store.tokens import MAX_TOKEN_BYTES, tokenize, tokenize_query


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Men's Running Shoes", "men run shoe"),
        ("红色T恤 男装", "红色 t 恤 男装"),
        ("Café Crème, naïve", "cafe creme naiv"),
        ("ガラス", "ガラス"),
        ("XL-12 / 350ml", "xl 12 350ml"),
        ("ﬁne ＡＢＣ", "fine abc"),
        ("snake_case  \n tabs\t", "snake case tab"),
        ("!!! 👟", ""),
        ("", ""),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert tokenize(text) == tokens


def test_tokens_of_queries_and_products_meet() -> None:
    assert tokenize("shoe") == tokenize("Shoes") == tokenize("SHOE'S")


def test_long_texts_are_cut_at_a_character() -> None:
    tokens = tokenize("红鞋 " * 30_000)
    assert MAX_TOKEN_BYTES - 3 <= len(tokens.encode()) <= MAX_TOKEN_BYTES


def test_common_words_are_not_looked_for_beside_others() -> None:
    assert tokenize_query("something for the kitchen") == "kitchen"
    assert tokenize_query("红色的鞋") == "红色 鞋"
    assert tokenize_query("The Who") == "who"
    assert tokenize_query("for the") == "for the"
    assert tokenize_query("...") == ""


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("Schuhe für Damen", "Schuhe Damen"),
        ("schuhe FUER damen", "schuhe damen"),
        ("Ein Tisch aus Holz mit Rollen und einer Schublade", "Tisch Holz Rollen Schublade"),
        ("chaussures pour homme avec lacets", "chaussures homme lacets"),
        ("huile d'olive de Provence", "huile d olive Provence"),
        ("sac à dos", "sac dos"),
        ("für", "für"),
        ("avec le", "avec le"),
    ],
)
def test_german_and_french_function_words_are_not_looked_for_either(query: str, wanted: str) -> None:
    assert tokenize_query(query) == tokenize(wanted)


@pytest.mark.parametrize(
    "query",
    ["fur coat", "die cut stickers", "den sofa", "LA Lakers cap", "aux cable", "pour over kettle", "Les Paul guitar",
     "EN 388 gloves", "UN flag", "sans serif poster"],
)  # fmt: skip
def test_words_of_products_are_looked_for(query: str) -> None:
    assert tokenize_query(query) == tokenize(query)
