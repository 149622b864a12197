"""A shop whose products are told apart only by the shape in their picture, and small encoders for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from mm_milvus import Client, Settings
from mm_milvus.training import Step, TrainReport, TrainSettings, train

WORDS = {
    "disc": "tea",
    "bar": "chair",
    "cross": "leather",
    "ring": "silver",
}  # of the tokenizers, not of the shapes
PHRASES = {
    "{}": "train",
    "one {}": "train",
    "{} with a strap": "train",
    "long {}": "train",
    "two {} for men": "train",
    "a {}": "dev",
    "{} for women": "test",
}
COLOURS = ("red", "blue", "green", "orange", "purple", "black")
FAST: dict[str, Any] = {"epochs": 30, "patience": 30, "pairs_per_step": 48, "encoder_lr": 5e-3, "unfreeze": 2}


def draw(path: Path, shape: str, colour: str) -> None:
    image = Image.new("RGB", (48, 48), "white")
    pen = ImageDraw.Draw(image)
    if shape == "disc":
        pen.ellipse([8, 8, 40, 40], fill=colour)
    elif shape == "bar":
        pen.rectangle([2, 18, 46, 30], fill=colour)
    elif shape == "cross":
        pen.line([4, 4, 44, 44], colour, 8)
        pen.line([44, 4, 4, 44], colour, 8)
    else:
        pen.ellipse([6, 6, 42, 42], outline=colour, width=5)
    image.save(path)


def make_catalog(folder: Path) -> Path:
    """24 products of four shapes in six colours. Neither titles nor file names say which."""
    folder.mkdir()
    lines = []
    for number, (shape, colour) in enumerate((s, c) for s in WORDS for c in COLOURS):
        name = f"{number}.png"
        draw(folder / name, shape, colour)
        lines.append({"id": f"{shape}-{colour}", "title": f"item {number}", "image": name, "kind": shape})
    path = folder / "catalog.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def make_pairs(path: Path) -> Path:
    """A word for each shape, in phrases of which one is held out and one is a test."""
    lines = []
    for shape, word in WORDS.items():
        for phrase, split in PHRASES.items():
            lines += [
                {"query": phrase.format(word), "product": f"{shape}-{colour}", "split": split}
                for colour in COLOURS
            ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


class Shop:
    def __init__(self, folder: Path, encoder: str) -> None:
        self.folder, self.encoder = folder, encoder
        self.catalog = make_catalog(folder / "catalog")
        self.pairs = make_pairs(folder / "pairs.jsonl")
        self.settings = Settings(
            uri=str(folder / "shop.db"),
            encoder=encoder,
            device="cpu",
            dtype="float32",
            text_fields=("title",),
        )
        with Client(config=self.settings) as client:
            assert client.ingest(self.catalog).written == 24

    @property
    def asked(self) -> Settings:
        """For a training: the encoder is that of the collection."""
        return self.settings.replace(encoder=None)

    def train(self, out: Path, **options: Any) -> TrainReport:
        return train(TrainSettings(out=out, **{"pairs": self.pairs} | FAST | options), self.asked)


def interrupted(settings: TrainSettings, shop: Settings) -> None:
    """A run that ends in its last step, the epochs before it being saved."""

    def told(step: Step) -> None:
        if step.phase == "training" and step.done == step.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, shop, progress=told)
