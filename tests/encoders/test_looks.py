"""What words look like: the formula, and real photos that nobody has described."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from mm_milvus import Client
from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.looks import LOOKS_FILE, Looks, _read, load_looks
from mm_milvus.errors import EncoderError

ROOT = Path(__file__).resolve().parents[2]
RETAIL = ROOT.parent / "shared" / "data" / "retail"


def test_the_formula_by_hand() -> None:
    anchors = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    weights = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], np.float32)
    looks = Looks(anchors, weights, np.array([0.0, 1.0], np.float32), gamma=2.0)
    asked = np.array([[0.6, 1.8]], np.float32)  # less the mean (.6, .8), of unit norm
    expected = np.array([np.exp(2 * (0.6 - 1)), 2 * np.exp(2 * (0.8 - 1)), 0.0])
    assert looks(asked)[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_colours_look_like_colours() -> None:
    encoder = load_encoder("offline")
    looks = load_looks(encoder.spec)
    assert looks is not None
    colours = {"red": (200, 25, 30), "green": (40, 140, 60), "blue": (40, 70, 190), "yellow": (240, 215, 40)}
    pictures = []
    for shade in colours.values():
        picture = Image.new("RGB", (224, 224), (250, 250, 250))
        picture.paste(shade, (50, 60, 180, 170))
        pictures.append(picture)
    vectors = encoder.encode_image(pictures).numpy() - np.array(encoder.spec.image_mean, np.float32)
    scores = looks(encoder.encode_query_text(list(colours)).numpy()) @ vectors.T
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_the_model_card_is_that_of_the_file() -> None:
    """The file carries the figures that were measured when it was made; the page shows these and its shapes."""
    page = (ROOT / "docs" / "looks.md").read_text(encoding="utf-8")
    with safe_open(LOOKS_FILE, "numpy") as file:
        card = file.metadata()["card"].splitlines()
        anchors, weights = (file.get_slice(name).get_shape() for name in ("anchors", "weights"))
        gamma = float(file.get_tensor("gamma")[0])
    assert len(card) == 9 and card[0].startswith("| | random |") and "| shipped |" in card[0]
    assert "\n\n" + "\n".join(card) + "\n\n" in page
    size = f"{LOOKS_FILE.stat().st_size / 1e6:.1f} MB"
    told = f"text vectors ({anchors[1]}) to picture vectors ({weights[1]}): {anchors[0]:,} anchors, gamma {gamma:g}, "
    assert f"{told}ridge .1, 16 bits, {size} |" in page
    script = (ROOT / "benchmarks" / "fit_looks.py").read_text(encoding="utf-8")
    assert f"\nGAMMA = {gamma}\nRIDGE = 0.1\n" in script


@pytest.fixture
def named_classes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("named_classes")


def test_words_are_classes_by_hand(named_classes: ModuleType) -> None:
    """The other way of the table: what a person calls them, and how probable that is."""
    odds = np.array([[0.5, 0.2, 0.3], [0.0, 0.9, 0.1]], np.float32)
    by_hand, names = {"feet": ("clog", "sandal"), "head": ("hat",)}, ["clog", "hat", "sandal"]
    found = named_classes.scores(["feet", "head"], by_hand, names, odds)
    assert found == pytest.approx(np.array([[0.8, 0.1], [0.2, 0.9]]))
    page = (ROOT / "docs" / "looks.md").read_text(encoding="utf-8")
    words = named_classes.BY_HAND.values()
    named = {name for classes in words for listed in classes.values() for name in listed}
    assert f"{len(named)} classes)" in page


def test_names_of_classes_come_out_of_a_wheel(named_classes: ModuleType, tmp_path: Path) -> None:
    """Laid out as torchvision's."""
    with ZipFile(tmp_path / "torchvision-0.29.1-none.whl", "w") as wheel:
        listed = '_COCO = ["person"]\n\n_IMAGENET_CATEGORIES = [\n    "tench",\n    "goldfish",\n]\n'
        wheel.writestr("torchvision/models/_meta.py", listed)
    (tmp_path / "classes.txt").write_text("tench\ngoldfish\n", encoding="utf-8")
    for file in ("torchvision-0.29.1-none.whl", "classes.txt"):
        assert named_classes.class_names(tmp_path / file) == ["tench", "goldfish"]


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "looks").write_bytes(b"nothing")
    with pytest.raises(EncoderError, match="reinstall mm-milvus"):
        _read(tmp_path / "looks")


def test_other_encoders_have_none() -> None:
    class Spec:
        family = "clip"

    assert load_looks(Spec()) is None  # type: ignore[arg-type]


@pytest.mark.skipif(not RETAIL.exists(), reason="no folder shared/data/retail beside the checkout")
def test_words_find_photos_without_any_text(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (RETAIL / "catalog.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = {str(n): row["category"] for n, row in enumerate(rows)}
    catalog = tmp_path / "catalog.jsonl"
    lines = [{"id": str(n), "image": str(RETAIL / row["image"])} for n, row in enumerate(rows)]
    catalog.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with Client(tmp_path / "shop.db") as shop:
        shop.ingest(catalog, allow_root=[str(RETAIL)])
        found = {
            kind: [kinds[hit.id] for hit in shop.query(text=kind, limit=5).hits]
            for kind in set(kinds.values())
        }
    right = np.mean([[kind == hit for hit in hits] for kind, hits in found.items()])
    assert right > 0.4  # of eight kinds; by chance .125
