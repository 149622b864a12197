"""Learns what words look like to the encoder `offline` from names of classes and colours, and prints what it is worth.

    pip download --no-deps torchvision
    python benchmarks/fit_looks.py --data ../shared/data --names torchvision-*.whl --out looks.safetensors

``--names`` gives the names of the 1,000 ImageNet classes in the order of the outputs of the picture network: a wheel of
torchvision, or a text file of one a line. Learned from are: for each of these names the weights of its output; for each
label of garments (senders with an even number) and of groceries (three of four photos) the mean of their photos; for
twelve names of colours the colours themselves; for some names a colour together with a class; and for words of shops
the classes that show what they mean (``shop_words.py``). The table asks for other photos of the same labels, and for
photos of two sets that were not learned from. The words of shops have most labels of these two; the last column is
fitted without such words. Neighbours among
the groceries are photos of one shelf: their row is the mean of four fits, each without a quarter of the photos of each
class, in their order. The file carries the table as its card, and ``--table`` writes it into docs/looks.md. Uses two
cores for about four minutes.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fit_offline import TINTS, open_rgb, run, tint
from named_classes import BY_HAND, class_names, scores
from quality import ndcg
from safetensors.numpy import save_file
from shop_words import SHOP_WORDS
from training import quarters

from mm_milvus.encoders.colour import colour_histogram
from mm_milvus.encoders.looks import Looks
from mm_milvus.encoders.offline import OfflineTexts, PictureNetwork, join_features, read_constants
from mm_milvus.encoders.offline import _load_picture_model as load_network
from mm_milvus.fusion import normalise

GAMMA = 2.0
RIDGE = 0.1
COLOUR_SHARE = 0.12  # of a colour beside a class: more hides the class
COMBINED, COLOURS_EACH = 120, 4
DRAWS = 100
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
    """Centred vectors of pictures (N, 288), their rows, and what the network takes them for (N, 1000)."""

    vectors: Array
    odds: Array
    rows: list[dict[str, Any]]
    learned: np.ndarray[Any, np.dtype[np.bool_]]

    def held_out(self) -> Photos:
        which = ~self.learned
        rows = [row for row, kept in zip(self.rows, which, strict=True) if kept]
        return Photos(self.vectors[which], self.odds[which], rows, self.learned[which])

    def labels(self, key: str) -> np.ndarray[Any, Any]:
        return np.array([spelt(row[key]) for row in self.rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--names", type=Path, required=True, help="wheel of torchvision, or a file of names")
    parser.add_argument("--out", type=Path, help="file to write")
    parser.add_argument("--table", type=Path, help="page to write the table into")
    options = parser.parse_args()
    texts, network = OfflineTexts(), PictureNetwork()
    photos = {name: read(network, options.data / name, name) for name in SETS}
    photos["painted"] = paint(network, photos)
    names = class_names(options.names)
    mean = texts.encode(names, is_query=True).mean(0)

    def embed(words: Sequence[str]) -> Array:
        return normalise(texts.encode(list(words), is_query=True) - mean)

    unseen = {name for set_, key in UNSEEN for name in photos[set_].labels(key)}

    def learn(photos: dict[str, Photos]) -> list[tuple[Array, Array]]:
        """With and without the words that the two sets ask for."""
        both = (lessons(names, photos), lessons(names, photos, without=unseen))
        return [fit(embed(words), targets) for words, targets in both]

    looks = learn(photos)
    fits = {row: [(looks, photos)] for row in ROWS}
    fits[BLOCKS] = [(learn(part), part) for part in blocks(photos)]
    columns = {
        "random": at_random(),
        "classes named by hand": named(names),
        "classes of the network alone": by(texts, Looks(*fit(embed(names), prototypes()), mean, GAMMA)),
    }
    card = {
        row: mean_of(
            [
                {name: measure(scorer, key, part) for name, scorer in columns.items()}
                | {
                    name: measure(by(texts, Looks(*one, mean, GAMMA)), key, part)
                    for name, one in zip(("shipped", "without these words"), fitted, strict=True)
                }
                for fitted, part in fits[row]
            ]
        )
        for row, key in ROWS.items()
    }
    lines = table(card)
    print("\n".join(lines))
    if options.table:
        write_table(options.table, lines)
    if options.out:
        kept = {
            name: part.astype(np.float16) for name, part in zip(("anchors", "weights"), looks[0], strict=True)
        }
        kept |= {"mean": mean, "gamma": np.array([GAMMA], np.float32)}
        save_file(kept, options.out, {"card": "\n".join(lines)})
        print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB, {len(looks[0][0])} anchors")


# --- photos ------------------------------------------------------------------------------------------------

SETS = ("retail", "eshop", "grocery", "clothing")


def read(network: PictureNetwork, folder: Path, name: str) -> Photos:
    lines = (folder / "catalog.jsonl").read_text(encoding="utf-8").splitlines()
    rows = list({row["image"]: row for row in map(json.loads, lines)}.values())
    features, colours = run(network, [folder / row["image"] for row in rows])
    for row in rows:
        row["path"] = folder / row["image"]
    learned = np.zeros(len(rows), bool)
    if name == "clothing":
        learned = np.array([row["sender_id"] % 2 == 0 for row in rows])
    elif name == "grocery":
        learned = np.arange(len(rows)) % 4 != 0
    return Photos(centred(features, colours), odds(features), rows, learned)


def odds(features: torch.Tensor) -> Array:
    """(N, 1280) -> (N, 1000) probabilities."""
    head = load_network().state_dict()
    logits = features @ head["_fc.weight"].T + head["_fc.bias"]
    return np.asarray(logits.softmax(1).numpy(), np.float32)


def centred(features: torch.Tensor, colours: torch.Tensor) -> Array:
    constants = read_constants()
    return (join_features(features, colours, constants) - constants.image_mean).numpy()


def paint(network: PictureNetwork, photos: dict[str, Photos]) -> Photos:
    """Products of retail and eshop, each in six colours."""
    rows = [
        {**row, "kind": row.get("style", row["category"])} for name in SETS[:2] for row in photos[name].rows
    ]
    pictures = [tint(open_rgb(row["path"]), hue) for row in rows for hue in TINTS.values()]
    named = [
        {**row, "tint": colour, "both": f"{colour} {spelt(row['kind'])}"} for row in rows for colour in TINTS
    ]
    features, colours = run(network, pictures)
    return Photos(centred(features, colours), odds(features), named, np.zeros(len(named), bool))


def spelt(label: str) -> str:
    return str(label).lower().replace("-", " ")


# --- what is learned ---------------------------------------------------------------------------------------


def lessons(
    names: Sequence[str], photos: dict[str, Photos], without: Collection[str] = ()
) -> tuple[list[str], Array]:
    """Texts, and what they look like: (K,) and (K, 288) of unit norm. ``without``: words of shops that are left out, in
    both numbers."""
    shapes = prototypes()
    words, targets = list(names), [*shapes]
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
    place_of = {name: place for place, name in reversed(list(enumerate(names)))}
    left_out = {word.rstrip("s") for word in without}
    for synonyms, shown in SHOP_WORDS.items():
        kept = [word for word in synonyms.split(", ") if word.rstrip("s") not in left_out]
        words += kept
        targets += [normalise(shapes[[place_of[name] for name in shown]].sum(0))] * len(kept)
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

# words, set and label, photos -> (words, N) how well they fit
Scorer = Callable[[list[str], tuple[str, str], Photos], Any]
BLOCKS = "groceries, 81 kinds"
UNSEEN = (
    ("retail", "style"),
    ("retail", "category"),
    ("eshop", "category"),
)  # no photo of theirs is learned from
# what is asked for -> set and label
ROWS = {
    "retail, 27 kinds of 84 products": ("retail", "style"),
    "retail, 8 categories": ("retail", "category"),
    "eshop, 8 categories of 101 products": ("eshop", "category"),
    "garments, 17 kinds of other people's photos": ("clothing", "label"),
    BLOCKS: ("grocery", "title"),
    "one of six colours": ("painted", "tint"),
    "colour and kind together": ("painted", "both"),
}


def by(texts: OfflineTexts, looks: Looks) -> Scorer:
    return lambda words, key, part: looks(texts.encode(words, is_query=True)) @ part.vectors.T


def named(names: Sequence[str]) -> Scorer:
    return lambda words, key, part: scores(words, BY_HAND[key], names, part.odds)


def at_random() -> Scorer:
    """One draw says little of so few photos: each word is asked a hundred times."""
    draw = np.random.default_rng(0)
    return lambda words, key, part: draw.normal(size=(DRAWS, len(words), len(part.rows)))


def blocks(photos: dict[str, Photos]) -> Iterator[dict[str, Photos]]:
    """Four times, with another quarter of each class of groceries held out."""
    part = photos["grocery"]
    quarter = quarters(np.unique(part.labels("title"), return_inverse=True)[1])
    for number in range(4):
        yield {**photos, "grocery": replace(part, learned=quarter != number)}


def measure(scorer: Scorer, key: tuple[str, str], photos: dict[str, Photos]) -> float | None:
    """nDCG@10 of labels as queries for pictures alone, all held out; None where the classes have no names for them."""
    set_, label = key
    part = photos[set_].held_out()
    labels = part.labels(label)
    words = sorted(set(labels) - set(UNNAMED))
    try:
        found = scorer(words, key, part)
    except KeyError:
        return None
    relevant = np.array(words)[:, None] == labels
    tries = found if found.ndim == 3 else found[None]
    return float(np.mean([ndcg(relevant, np.argsort(-one, axis=1)[:, :10]) for one in tries]))


def mean_of(parts: list[dict[str, float | None]]) -> dict[str, float | None]:
    found = {name: [part[name] for part in parts] for name in parts[0]}
    return {name: None if None in values else float(np.mean(values)) for name, values in found.items()}


def table(card: dict[str, dict[str, float | None]]) -> list[str]:
    """Lines of Markdown."""
    names = list(next(iter(card.values())))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return lines + [
        f"| {row} | " + " | ".join(map(cell, values.values())) + " |" for row, values in card.items()
    ]


def cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".removeprefix("0")


def write_table(page: Path, lines: list[str]) -> None:
    """In the place of the one that the page has."""
    text = page.read_text(encoding="utf-8")
    old = re.compile(r"^\| \| random .*\n(\|.*\n)+", re.MULTILINE)
    page.write_text(old.sub(lambda _: "\n".join(lines) + "\n", text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
