"""Learns what words look like to the encoder `offline` from names of classes and colours, and prints what it is worth.

    python benchmarks/fit_looks.py --data ../shared/data --names classes.txt --out looks.safetensors

``--names`` holds the names of the 1,000 ImageNet classes, one a line, in the order of the outputs of the picture
network. Learned from are: for each of these names the weights of its output; for each label of garments (senders with
an even number) and of groceries (three of four) the mean of their photos; for twelve names of colours the colours
themselves; and for some names a colour together with a class. Everything in the table is held out: other photos of the
same labels, and the labels and photos of two sets that were not learned from. Uses two cores for about four minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fit_offline import TINTS, open_rgb, run, tint
from quality import ndcg
from safetensors.numpy import save_file

from mm_milvus.encoders.colour import colour_histogram
from mm_milvus.encoders.looks import Looks
from mm_milvus.encoders.offline import OfflineTexts, PictureNetwork, join_features, read_constants
from mm_milvus.encoders.offline import _load_picture_model as load_network
from mm_milvus.fusion import normalise

GAMMA = 2.0
RIDGE = 0.1
COLOUR_SHARE = 0.12  # of a colour beside a class: more hides the class
COMBINED, COLOURS_EACH = 120, 4
# Usual shades, RGB.
COLOURS = {
    "red": (200, 25, 30), "orange": (240, 130, 30), "yellow": (240, 215, 40), "green": (40, 140, 60),
    "blue": (40, 70, 190), "purple": (120, 50, 160), "pink": (240, 140, 180), "brown": (115, 70, 40),
    "black": (20, 20, 20), "white": (245, 245, 245), "grey": (128, 128, 128), "beige": (220, 200, 170),
}  # fmt: skip
LIGHTS = (0.75, 1.0, 1.15)  # of each shade
UNNAMED = ("other", "not sure", "skip")  # labels that name nothing
SHAPES = 256  # dimensions of a picture's vector before its colours

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Photos:
    """Centred vectors of pictures (N, 288), and their rows."""

    vectors: Array
    rows: list[dict[str, Any]]
    learned: np.ndarray[Any, np.dtype[np.bool_]]

    def labels(self, key: str) -> np.ndarray[Any, Any]:
        return np.array([spelt(row[key]) for row in self.rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--names", type=Path, required=True, help="names of the classes of the network")
    parser.add_argument("--out", type=Path, help="file to write")
    options = parser.parse_args()
    texts, network = OfflineTexts(), PictureNetwork()
    photos = {name: read(network, options.data / name, name) for name in SETS}
    names = options.names.read_text(encoding="utf-8").splitlines()
    mean = texts.encode(names, is_query=True).mean(0)

    def embed(words: Sequence[str]) -> Array:
        return normalise(texts.encode(list(words), is_query=True) - mean)

    words, targets = lessons(names, photos)
    looks = fit(embed(words), targets)
    painted = paint(network, photos)
    nothing = np.random.default_rng(0)
    for name, found in (
        ("random order", lambda q: nothing.normal(size=(len(q), 288)).astype(np.float32)),
        ("classes of the network alone", Looks(*fit(embed(names), prototypes()), mean, GAMMA)),
        ("all of it", Looks(*looks, mean, GAMMA)),
    ):
        report(name, found, texts, photos, painted)
    if options.out:
        kept = {
            name: part.astype(np.float16) for name, part in zip(("anchors", "weights"), looks, strict=True)
        }
        save_file({**kept, "mean": mean, "gamma": np.array([GAMMA], np.float32)}, options.out)
        print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB, {len(looks[0])} anchors")


# --- photos ------------------------------------------------------------------------------------------------

SETS = ("retail", "eshop", "grocery", "clothing")


def read(network: PictureNetwork, folder: Path, name: str) -> Photos:
    lines = (folder / "catalog.jsonl").read_text(encoding="utf-8").splitlines()
    rows = list({row["image"]: row for row in map(json.loads, lines)}.values())
    vectors = centred(*run(network, [folder / row["image"] for row in rows]))
    for row in rows:
        row["path"] = folder / row["image"]
    if name == "clothing":
        learned = np.array([row["sender_id"] % 2 == 0 for row in rows])
    else:
        learned = (np.arange(len(rows)) % 4 != 0) & (name == "grocery")
    return Photos(vectors, rows, learned)


def centred(features: torch.Tensor, colours: torch.Tensor) -> Array:
    constants = read_constants()
    return (join_features(features, colours, constants) - constants.image_mean).numpy()


def paint(network: PictureNetwork, photos: dict[str, Photos]) -> Photos:
    """Products of retail and eshop, each in six colours."""
    rows = [
        {**row, "kind": row.get("style", row["category"])} for name in SETS[:2] for row in photos[name].rows
    ]
    pictures = [tint(open_rgb(row["path"]), hue) for row in rows for hue in TINTS.values()]
    named = [{**row, "tint": colour} for row in rows for colour in TINTS]
    return Photos(centred(*run(network, pictures)), named, np.zeros(len(named), bool))


def spelt(label: str) -> str:
    return str(label).lower().replace("-", " ")


# --- what is learned ---------------------------------------------------------------------------------------


def lessons(names: Sequence[str], photos: dict[str, Photos]) -> tuple[list[str], Array]:
    """Texts, and what they look like: (K,) and (K, 288) of unit norm."""
    words, targets = list(names), [*prototypes()]
    for name, key in (("clothing", "label"), ("grocery", "title"), ("grocery", "category")):
        part = photos[name]
        labels = part.labels(key)
        for label in sorted(set(labels[part.learned]) - set(UNNAMED)):
            words.append(label)
            targets.append(normalise(part.vectors[part.learned & (labels == label)].mean(0)))
    classes = len(words)
    shades = {colour: shade(rgb) for colour, rgb in COLOURS.items()}
    words += shades
    targets += shades.values()
    draw = np.random.default_rng(0)
    for place in draw.choice(classes, COMBINED, replace=False):
        shape = normalise(np.concatenate([targets[place][:SHAPES], np.zeros(len(targets[0]) - SHAPES)]))
        for colour in draw.choice(list(COLOURS), COLOURS_EACH, replace=False):
            words.append(f"{colour} {words[place]}")
            targets.append(normalise((1 - COLOUR_SHARE) * shape + COLOUR_SHARE * shades[colour]))
    return words, np.stack(targets).astype(np.float32)


def prototypes() -> Array:
    """(1000, 288): the weights of each output of the network, seen through the encoder's PCA; colourless."""
    weights = load_network().state_dict()["_fc.weight"].numpy()
    shapes = (weights - weights.mean(0)) @ read_constants().pca_basis.numpy().T
    return np.pad(normalise(shapes.astype(np.float32)), ((0, 0), (0, 32)))


def shade(rgb: tuple[int, int, int]) -> Array:
    """(288,) of a colour: a square of it in front of white, in three lights."""
    pictures = torch.full((len(LIGHTS), 3, 224, 224), 250, dtype=torch.uint8)
    for picture, light in zip(pictures, LIGHTS, strict=True):
        picture[:, 40:184, 40:184] = (torch.tensor(rgb) * light).clamp(0, 255).byte()[:, None, None]
    histogram = normalise(colour_histogram(pictures).numpy().mean(0))
    usual = read_constants().image_mean.numpy()[SHAPES:]
    share = np.float32(0.2**0.5)  # that of the colours in a picture's vector
    return normalise(np.pad(share * histogram - usual, (SHAPES, 0)))


def fit(anchors: Array, targets: Array) -> tuple[Array, Array]:
    """Anchors and weights, in the 16 bits in which they are stored. Kernel ridge regression:
    a = (K + ridge I)^-1 targets."""
    kernel = np.exp(GAMMA * (anchors @ anchors.T - 1)).astype(np.float64)
    weights = np.linalg.solve(kernel + RIDGE * np.eye(len(kernel)), targets)
    return anchors.astype(np.float16).astype(np.float32), weights.astype(np.float16).astype(np.float32)


# --- what it is worth --------------------------------------------------------------------------------------


def report(
    name: str,
    looks: Callable[[Array], Array],
    texts: OfflineTexts,
    photos: dict[str, Photos],
    painted: Photos,
) -> None:
    """nDCG@10 of labels as queries for pictures alone, all held out."""
    found = []
    for set_, key in (
        ("retail", "style"), ("retail", "category"), ("eshop", "category"), ("clothing", "label"),
        ("grocery", "title"), ("grocery", "category"),
    ):  # fmt: skip
        part = photos[set_]
        asked = ~part.learned
        labels = part.labels(key)[asked]
        found.append(f"{set_} {key} {score(looks, texts, labels, part.vectors[asked]):.3f}")
    tints, kinds = painted.labels("tint"), painted.labels("kind")
    both = np.array([f"{tint} {kind}" for tint, kind in zip(tints, kinds, strict=True)])
    found.append(f"painted colour {score(looks, texts, tints, painted.vectors):.3f}")
    found.append(f"colour and kind {score(looks, texts, both, painted.vectors):.3f}")
    print(f"{name}: nDCG@10 {', '.join(found)}", flush=True)


def score(
    looks: Callable[[Array], Array], texts: OfflineTexts, labels: np.ndarray[Any, Any], vectors: Array
) -> float:
    names = sorted(set(labels) - set(UNNAMED))
    scores = looks(texts.encode(names, is_query=True)) @ vectors.T
    relevant = np.array(names)[:, None] == labels
    top = np.argsort(-scores, axis=1)[:, :10]
    return ndcg(relevant, top)


if __name__ == "__main__":
    main()
