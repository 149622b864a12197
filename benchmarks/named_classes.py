"""What a person would call a word in the 1,000 classes of ImageNet: the simplest way to find pictures by words.

The baseline of ``fit_looks.py``. A word that has no class gets the nearest that a person would think of.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np

__all__ = ["BY_HAND", "class_names", "scores"]

_FEET = ("running shoe", "Loafer", "clog", "sandal", "cowboy boot")
_TOPS = ("sweatshirt", "jersey", "cardigan")
_COATS = ("trench coat", "fur coat", "cloak", "poncho")
_BAGS = ("backpack", "purse", "mailbag")
_OUTING = ("mountain tent", "sleeping bag", "knot", "cliff", "alp")

# set and label -> word -> classes
BY_HAND: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("retail", "category"): {
        "accessories": (*_BAGS, "stole"),
        "apparel": (*_TOPS, *_COATS, "sock"),
        "beauty": ("lipstick", "face powder", "lotion", "perfume", "hair spray", "paintbrush"),
        "electronics": ("digital watch", "loudspeaker", "reflex camera", "iPod", "modem", "hard disc"),
        "footwear": _FEET,
        "housewares": ("mixing bowl", "soup bowl", "cup", "plate", "pillow", "bath towel", "espresso maker"),
        "jewelry": ("necklace", "chain", "buckle"),
        "outdoors": ("reel", "hook", *_OUTING),
    },
    ("retail", "style"): {
        "appliance": ("espresso maker", "toaster", "vacuum"),
        "bag": _BAGS,
        "bathing": ("bath towel", "tub", "soap dispenser"),
        "bedroom": ("pillow", "quilt"),
        "blouse": ("abaya", "kimono"),
        "boot": ("cowboy boot",),
        "bowls": ("mixing bowl", "soup bowl"),
        "bracelet": ("chain", "buckle"),
        "cable": ("switch", "modem"),
        "consumable": ("packet", "bakery", "confectionery"),
        "earrings": ("necklace", "safety pin"),
        "fishing": ("reel", "hook"),
        "grooming": ("hair spray", "lotion", "soap dispenser"),
        "headphones": ("iPod", "loudspeaker"),
        "jacket": _COATS,
        "kitchen": ("frying pan", "spatula", "wok"),
        "makeup": ("lipstick", "face powder", "paintbrush"),
        "necklace": ("necklace",),
        "pet": ("muzzle", "tennis ball"),
        "photography": ("reflex camera", "Polaroid camera"),
        "salon": ("hand blower", "hair slide", "hair spray"),
        "scarf": ("stole",),
        "shirt": (*_TOPS, "lab coat"),
        "sneaker": ("running shoe",),
        "socks": ("sock",),
        "speaker": ("loudspeaker",),
        "wearable": ("digital watch",),
    },
    ("eshop", "category"): {
        "footwear": _FEET,
        "climbing": ("cliff", "knot", "crash helmet", "hook", "buckle"),
        "ski/boarding": ("ski", "ski mask", "alp", "snowmobile"),
        "bags": _BAGS,
        "trekking": ("mountain tent", "sleeping bag", "water bottle", "torch"),
        "jackets": _COATS,
        "navigation": ("magnetic compass", "binoculars", "stopwatch", "digital watch"),
        "cycling": ("mountain bike", "bicycle-built-for-two", "crash helmet"),
    },
    ("clothing", "label"): {
        "t shirt": ("jersey",),
        "shoes": _FEET,
        "shorts": ("swimming trunks",),
        "shirt": ("lab coat", "pajama"),
        "pants": ("jean",),
        "skirt": ("miniskirt", "overskirt", "hoopskirt"),
        "top": ("maillot", "brassiere"),
        "outwear": _COATS,
        "dress": ("gown", "abaya", "sarong"),
        "body": ("diaper", "bib"),
        "longsleeve": ("sweatshirt", "cardigan"),
        "undershirt": ("maillot tank suit", "brassiere"),
        "hat": ("cowboy hat", "bonnet", "sombrero", "bearskin", "shower cap", "bathing cap"),
        "polo": ("jersey", "lab coat"),
        "blouse": ("abaya", "kimono"),
        "hoodie": ("sweatshirt", "cloak"),
        "blazer": ("suit", "military uniform"),
    },
}  # fmt: skip


def scores(
    words: Sequence[str], named: dict[str, tuple[str, ...]], names: Sequence[str], odds: np.ndarray
) -> np.ndarray:
    """(words, N): the probability of the classes of a word together, ``odds`` (N, 1000) being those of ``names``."""
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    return np.stack([odds[:, [places[name] for name in named[word]]].sum(axis=1) for word in words])


def class_names(file: Path) -> list[str]:
    """The names of the 1,000 classes in the order of the network's outputs, out of a wheel of torchvision
    (BSD-3-Clause), or out of a text file that has one a line."""
    if file.suffix != ".whl":
        return file.read_text(encoding="utf-8").splitlines()
    with ZipFile(file) as wheel:
        source = wheel.read("torchvision/models/_meta.py").decode("utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_IMAGENET_CATEGORIES":
            return list(ast.literal_eval(node.value))
    raise SystemExit(f"{file} lists no classes of ImageNet; take torchvision 0.29")
