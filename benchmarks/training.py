"""What training is worth on real photos that it has not seen, with the encoder `offline`.

    python benchmarks/training.py --data ../shared/data [--cache FOLDER] [--seeds 3]
    python benchmarks/training.py --data ../shared/data --only rates
    python benchmarks/training.py --only speed
    python benchmarks/training.py --only bridge --data ../shared/data

Prints a table of nDCG@10: the mean of the seeds and half their range. Vectors are kept in the cache folder.

* groceries, description: a photo asks for the description of its class among all 81, which have no picture. The photos
  that ask are the last quarter of their class; training sees the first half.
* groceries, new classes: the same, where training saw neither photos nor descriptions of the 16 classes among which
  the photo asks.
* groceries, photos: a photo asks for products (photo and description) of its class, among other photos of the third
  quarter.
* clothing, kinds: a photo asks for photos of the same of 17 kinds. Training, products and queries are of different
  senders.

Untrained are `raw` (the vectors as they are), `centred` (less their mean), and for descriptions `bridge` (the texts of
the nearest photos of the training, as ``--bridge 1`` asks). ``rates`` prints nDCG@10 of the dev split, a tenth of the
queries of the training, by learning rate: by these numbers ``TrainSettings.rate_of`` is chosen.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import training_bridge
import training_speed
from bridge import encode, mean_of_nearest, rows_of

from mm_milvus.encoders import Encoder, load_encoder
from mm_milvus.fusion import HeadConfig, normalise
from mm_milvus.training.data import TEST, TRAIN, Asked, Labels, Products, Queries
from mm_milvus.training.loop import Training
from mm_milvus.training.measure import DEPTH, ndcg_of, ndcgs
from mm_milvus.training.model import HeadModel, Means, inputs_of
from mm_milvus.training.settings import TrainSettings
from mm_milvus.training.start import starting_head

KINDS = ("linear", "gated", "attention")
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
POSITIVES = 8  # products of its class that a query of the training wants; of the others none is a negative
GARMENTS = 3_000


@dataclass
class Part:
    """Queries by picture, products, and the classes of both: what is of the same class is wanted."""

    asked: np.ndarray  # (Q, D_image)
    asked_classes: np.ndarray
    image: np.ndarray  # (N, D_image)
    text: np.ndarray
    present: np.ndarray
    classes: np.ndarray


@dataclass
class Task:
    name: str
    train: Part
    test: Part


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with clothing/ and grocery/")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "mm-milvus-training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="words of the names of tasks; rates; speed; bridge")
    options = parser.parse_args()
    if options.only == ["speed"]:
        training_speed.report(KINDS)
        return
    if options.data is None:
        parser.error("give --data, but for --only speed")
    encoder = load_encoder("offline", device="cpu")
    if options.only == ["bridge"]:
        training_bridge.report(
            encoder,
            options.data,
            lambda name, rows: kept(options.cache / f"{name}-image.npy", lambda: pictures_of(encoder, rows)),
        )
        return
    spec = encoder.spec
    means = Means(*(np.array(m, np.float32) for m in (spec.image_mean, spec.text_mean, spec.query_text_mean)))
    if options.only == ["rates"]:
        print("| task | head | " + " | ".join(map(str, RATES)) + " |\n|---|---|" + "---|" * len(RATES))
        for task in tasks(encoder, options.data, options.cache):
            for kind in KINDS:
                means_of = [
                    np.mean(
                        [trained(task, kind, seed, means, encoder, rate)[0] for seed in range(options.seeds)]
                    )
                    for rate in RATES
                ]
                cells = " | ".join(f"{mean:.3f}" for mean in means_of)
                print(f"| {task.name} | {kind} | {cells} |", flush=True)
        return
    print(f"| task | raw | centred | bridge | {' | '.join(KINDS)} |\n|---|---|---|---|{'---|' * len(KINDS)}")
    for task in tasks(encoder, options.data, options.cache):
        if options.only and not any(word in task.name for word in options.only):
            continue
        cells = untrained(task, means)
        for kind in KINDS:
            found = [trained(task, kind, seed, means, encoder)[1] for seed in range(options.seeds)]
            cells.append(f"{np.mean(found):.3f} ± {(max(found) - min(found)) / 2:.3f}")
        print(f"| {task.name} | {' | '.join(cells)} |", flush=True)


# --- the tasks ---------------------------------------------------------------------------------------------


def tasks(encoder: Encoder, data: Path, cache: Path) -> list[Task]:
    rows = rows_of(data / "grocery")
    pictures = kept(cache / "grocery-image.npy", lambda: pictures_of(encoder, rows))
    texts = kept(cache / "grocery-text.npy", lambda: texts_of(encoder, [row["description"] for row in rows]))
    names, classes = np.unique([row["title"] for row in rows], return_inverse=True)
    quarter = quarters(classes)
    first = np.array([np.flatnonzero(classes == number)[0] for number in range(len(names))])
    known = np.ones(len(names), np.bool_)
    split = known.copy()
    split[np.random.default_rng(0).permutation(len(names))[: len(names) // 5]] = False

    def described(asks: np.ndarray, among: np.ndarray) -> Part:
        asks = asks & among[classes]
        own = first[among]
        nothing = np.zeros((len(own), pictures.shape[1]), np.float32)
        present = np.tile([False, True], (len(own), 1))
        return Part(pictures[asks], classes[asks], nothing, texts[own], present, classes[own])

    def shown(asks: np.ndarray, has: np.ndarray) -> Part:
        both = np.ones((has.sum(), 2), np.bool_)
        return Part(pictures[asks], classes[asks], pictures[has], texts[has], both, classes[has])

    return [
        Task("groceries, description", described(quarter < 2, known), described(quarter == 3, known)),
        Task("groceries, new classes", described(quarter < 2, split), described(quarter >= 0, ~split)),
        Task("groceries, photos", shown(quarter == 0, quarter == 1), shown(quarter == 3, quarter == 2)),
        garments(encoder, data, cache, texts.shape[1]),
    ]


def garments(encoder: Encoder, data: Path, cache: Path, text_dim: int) -> Task:
    rows = rows_of(data / "clothing")[:GARMENTS]
    pictures = kept(cache / "clothing-image.npy", lambda: pictures_of(encoder, rows))
    classes = np.unique([row["label"] for row in rows], return_inverse=True)[1]
    sender = np.unique([row["sender_id"] for row in rows], return_inverse=True)[1] % 4

    def part(asks: int, has: int) -> Part:
        one, other = sender == asks, sender == has
        nothing = np.zeros((other.sum(), text_dim), np.float32)
        present = np.tile([True, False], (other.sum(), 1))
        return Part(pictures[one], classes[one], pictures[other], nothing, present, classes[other])

    return Task("clothing, kinds", part(0, 1), part(2, 3))


def quarters(classes: np.ndarray) -> np.ndarray:
    """(N,) the quarter of its class that a row is in: neighbours are photos of one shelf and stay together."""
    found = np.empty(len(classes), np.int64)
    for number in range(classes.max() + 1):
        rows = np.flatnonzero(classes == number)
        found[rows] = np.arange(len(rows)) * 4 // len(rows)
    return found


def pictures_of(encoder: Encoder, rows: list[dict[str, Any]]) -> np.ndarray:
    return np.concatenate([encode(encoder, rows[start : start + 64]) for start in range(0, len(rows), 64)])


def texts_of(encoder: Encoder, texts: list[str]) -> np.ndarray:
    distinct, place = np.unique(texts, return_inverse=True)
    return np.asarray(encoder.encode_text(distinct.tolist()).numpy()[place])


def kept(path: Path, make: Any) -> np.ndarray:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.asarray(np.load(path), np.float32)


# --- the scores --------------------------------------------------------------------------------------------


def untrained(task: Task, means: Means) -> list[str]:
    """Photos are compared with photos; where there are none every order is as good as another."""
    part, train = task.test, task.train
    if part.present[:, 0].any():
        centred = normalise(part.asked - means.image) @ normalise(part.image - means.image).T
        return [f"{scored(part, part.asked @ part.image.T):.3f}", f"{scored(part, centred):.3f}", ""]
    chance = np.mean([scored(part, draw(part, seed)) for seed in range(20)])
    place = {number: row for row, number in enumerate(train.classes)}
    texts = train.text[[place[number] for number in train.asked_classes]] - means.text
    words = mean_of_nearest(part.asked @ train.asked.T, texts)
    return [f"{chance:.3f}", f"{chance:.3f}", f"{scored(part, words @ (part.text - means.text).T):.3f}"]


def draw(part: Part, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((len(part.asked), len(part.image)))


def scored(part: Part, scores: np.ndarray) -> float:
    found = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    return float(
        ndcgs(found, [dict.fromkeys(wanted(part, row), 1.0) for row in range(len(part.asked))]).mean()
    )


def wanted(part: Part, row: int) -> list[int]:
    return [int(place) for place in np.flatnonzero(part.classes == part.asked_classes[row])]


def trained(
    task: Task, kind: str, seed: int, means: Means, encoder: Encoder, rate: float | None = None
) -> tuple[float, float]:
    """nDCG@10 of the dev split, and of what training has not seen."""
    spec = encoder.spec
    dims = (spec.image_dim, spec.text_dim)
    config = HeadConfig(kind, 512, *dims, False, spec.name, spec.revision)  # type: ignore[arg-type]
    labels = labels_of(task.train, TRAIN, seed)
    products, queries = prepared(task.train)
    inputs = inputs_of(config, means, products, queries, spec.weights)
    weights = starting_head(config, products.image, products.text, products.present)
    model = HeadModel(config, weights, means)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(out=Path(folder), from_catalog=True, seed=seed, lr=rate)
        training = Training(
            settings, model, inputs, labels, task.train.classes, (queries.words, products.texts)
        )
        outcome = training.run(Path(folder), "benchmark")
    held_out = inputs_of(config, means, *prepared(task.test), spec.weights)
    found = ndcg_of(model, held_out, labels_of(task.test, TEST, seed), TEST)
    dev = outcome.at(outcome.best_epoch)
    assert found is not None
    assert dev is not None
    return dev, found


def prepared(part: Part) -> tuple[Products, Queries]:
    """Copies, which become centred."""
    count = len(part.image)
    nothing = np.full(len(part.asked), -1)
    return (
        Products([""] * count, part.image.copy(), part.text.copy(), part.present, [""] * count, []),
        Queries(
            part.asked.copy(), np.empty((0, part.text.shape[1]), np.float32),
            np.arange(len(part.asked)), nothing, nothing, [""] * len(part.asked),
        ),
    )  # fmt: skip


def labels_of(part: Part, split: int, seed: int) -> Labels:
    """All that is wanted; of a query to train with, a few that are drawn."""
    rng = np.random.default_rng(seed)
    rows = [row for row in range(len(part.asked)) if wanted(part, row)]
    labels = Labels(
        [Asked(picture_of=row) for row in range(len(part.asked))],
        split=np.full(len(part.asked), -1, np.int8),
    )
    labels.split[rows] = split  # what wants nothing is in no split
    if split == TRAIN:
        labels.draw_dev(0.1, seed)
    pairs = []
    for row in rows:
        places = wanted(part, row)
        if labels.split[row] == TRAIN and len(places) > POSITIVES:
            places = [int(place) for place in rng.choice(places, POSITIVES, replace=False)]
        pairs += [(row, place) for place in places]
    labels.query, labels.product = np.array(pairs).T
    labels.grade, labels.held_out = np.ones(len(pairs), np.float32), np.zeros(len(pairs), np.bool_)
    return labels


if __name__ == "__main__":
    main()
