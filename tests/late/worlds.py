"""A shop in which words matter one by one: long texts of words in any order, of which a query names two."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mm_milvus import Client, Settings

from . import shops

KINDS = ("shirt", "shoes", "bag", "tea", "watch", "chair")
LOOKS = ("red", "blue", "green", "silver", "black", "wooden", "leather", "cotton")
FILLERS = ("for", "men", "running", "size", "with", "long", "strap", "dial", "and", "steel", "band", "women")


def word_shop(folder: Path, encoder: str, count: int = 240) -> tuple[Settings, Path]:
    """The shop, and pairs: each of 48 two-word queries, in the company of words that mean nothing here."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        look, kind = str(rng.choice(LOOKS)), str(rng.choice(KINDS))
        words = rng.permutation([look, kind, *rng.choice(FILLERS, 8, replace=False)])
        made.append({"id": f"p{number:03d}", "title": " ".join(words), "look": look, "kind": kind})
    catalog = folder / "catalog.jsonl"
    catalog.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    settings = shops.settings_of(folder / "shop.db", encoder).replace(text_fields=["title"])
    with Client(config=settings) as client:
        client.ingest(catalog)
    lines = []
    for place, (look, kind) in enumerate((look, kind) for look in LOOKS for kind in KINDS):
        split = "dev" if place % 3 == 0 else "train"
        wanted = [row["id"] for row in made if (row["look"], row["kind"]) == (look, kind)]
        for _ in range(4):
            fillers = rng.choice(FILLERS, 3, replace=False)
            query = " ".join(rng.permutation([look, kind, *fillers]))
            lines += [{"query": query, "product": id, "split": split} for id in wanted]
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return settings, pairs
