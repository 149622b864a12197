"""A shop of tiny models, and projections for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mm_milvus import Client, Settings
from mm_milvus.encoders import load_encoder, token_encoder
from mm_milvus.late import Projection, ProjectionConfig

from ..encoders import tiny_models

ROWS = [
    ("shirt", "red cotton shirt for men", 0),
    ("shoes", "Blue Running Shoes, size 42", 1),
    ("bag", "leather bag with a long strap", 2),
    ("tea", "green tea 500 g", None),
    ("watch", "silver watch with a black dial", 4),
    ("photo", "", 5),
]


def write_catalog(folder: Path, rows: list[tuple[str, str, int | None]] = ROWS) -> Path:
    """Six products: one without a picture, one without a text."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for id, title, number in rows:
        row = {"id": id} | ({"title": title} if title else {})
        if number is not None:
            tiny_models.pictures()[number].save(folder / f"{number}.png")
            row["image"] = f"{number}.png"
        lines.append(json.dumps(row) + "\n")
    path = folder / "catalog.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def settings_of(database: Path, encoder: str) -> Settings:
    return Settings(uri=str(database), encoder=encoder, device="cpu", dtype="float32")


def ingested(folder: Path, encoder: str) -> Settings:
    settings = settings_of(folder / "shop.db", encoder)
    with Client(config=settings) as client:
        assert client.ingest(write_catalog(folder)).written == len(ROWS)
    return settings


def projection(encoder: str, dim: int = 16, seed: int = 0) -> Projection:
    """A random one."""
    loaded = token_encoder(load_encoder(encoder, device="cpu", dtype="float32"))
    spec, tokens = loaded.spec, loaded.token_spec
    config = ProjectionConfig(
        dim, tokens.text_dim, tokens.image_dim, spec.name, spec.revision, tokens.recipe, encoder
    )
    rng = np.random.default_rng(seed)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in config.shapes().items()}
    return Projection(config, weights)
