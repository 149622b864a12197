"""What a head is trained on: the products of a collection, queries, and which of them belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError, FusionError

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import DefaultWeights
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]

__all__ = [
    "DEV",
    "SPLITS",
    "TEST",
    "TRAIN",
    "Asked",
    "Labels",
    "Products",
    "Queries",
    "View",
    "read_products",
]

View = tuple[str, int]  # a picture's reference and the number of its view

SPLITS = ("train", "dev", "test")
TRAIN, DEV, TEST = range(3)
_PAGE = 1_000  # rows whose vectors are asked for at once


@dataclass(frozen=True, eq=False)
class Products:
    """All products by rising id: the encoder's unit vectors, and what is known beside them.

    ``image`` (N, D_image) and ``text`` (N, D_text) hold the document mean where ``present`` (N, 2) says that a product
    has none. ``rows`` have the attributes, ``texts`` what was embedded.
    """

    ids: list[str]
    image: Array
    text: Array
    present: Bools
    texts: list[str]
    rows: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def copied(self) -> Products:
        """With vectors of its own, which may be changed in their place."""
        return replace(self, image=self.image.copy(), text=self.text.copy())

    def twins(self) -> Ints:
        """(N,) a number that products with the same vectors share: none of them can be told from another."""
        numbers: dict[bytes, int] = {}
        found = np.empty(len(self), np.int64)
        for place in range(len(self)):
            content = self.image[place].tobytes() + self.text[place].tobytes() + self.present[place].tobytes()
            key = hashlib.blake2b(content, digest_size=16).digest()
            found[place] = numbers.setdefault(key, len(numbers))
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """One query before it is encoded. Products are given by their place."""

    text: str = ""
    image: str = ""  # path, URL or data URI
    view: int = 0  # of the picture: 0 is the picture itself, others are crops of it
    picture_of: int = -1  # the stored vector of this product's picture
    product: int = -1  # like this product, with all that it has


@dataclass(eq=False)
class Labels:
    """Which queries belong to which products: pair i says that query[i] wants product[i], by grade[i] > 0.

    ``split`` (Q,) is one of TRAIN, DEV and TEST for each query. ``held_out`` (P,) bool are pairs of the training that
    are known and not learned from: their products are those that the dev split asks for, or enough others are.
    ``too_broad`` counts the queries that a catalog would have made of words which fit too many of its products.
    """

    asked: list[Asked] = field(default_factory=list)
    query: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    product: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    grade: Array = field(default_factory=lambda: np.empty(0, np.float32))
    split: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    held_out: Bools = field(default_factory=lambda: np.empty(0, np.bool_))
    too_broad: int = 0

    def __post_init__(self) -> None:
        if not len(self.held_out):
            self.held_out = np.zeros(len(self.query), np.bool_)

    def keep(self, queries: Bools) -> Labels:
        """Only the queries of which ``queries`` (Q,) is true, numbered anew."""
        number = np.cumsum(queries) - 1
        pairs = queries[self.query]
        return Labels(
            [one for one, kept in zip(self.asked, queries, strict=True) if kept],
            number[self.query[pairs]],
            self.product[pairs],
            self.grade[pairs],
            self.split[queries],
            self.held_out[pairs],
            self.too_broad,
        )

    @property
    def texts(self) -> list[str]:
        """What the queries say, each once."""
        return list(dict.fromkeys(one.text for one in self.asked if one.text))

    @property
    def views(self) -> list[View]:
        """What the queries show, but for pictures of products; each once."""
        return list(dict.fromkeys((one.image, one.view) for one in self.asked if one.image))

    @property
    def learned(self) -> Ints:
        """The numbers of the pairs to train with."""
        return np.flatnonzero((self.split[self.query] == TRAIN) & ~self.held_out)

    def draw_dev(self, share: float, seed: int) -> None:
        """Moves a share of the queries of the training to the dev split."""
        train = np.flatnonzero(self.split == TRAIN)
        count = round(len(train) * share)
        if share and len(train):
            count = min(max(count, 1), len(train) - 1)
        self.split[np.random.default_rng([seed, 1]).permutation(train)[:count]] = DEV

    def draw_products(self, share: float, seed: int, twins: Ints) -> None:
        """Holds out a share of the products, twins together: the dev split asks for them, and no pair of theirs trains.

        A query that wants nothing else goes to the dev split, one that wants others as well by lot, the more of its
        products are held out the likelier. ``twins`` as ``Products.twins`` gives them. Where the labels are too few for
        that, a share of the queries is drawn.
        """
        rng = np.random.default_rng([seed, 1])
        groups = np.unique(twins)
        drawn = rng.permutation(groups)[: round(len(groups) * share)]
        out = np.isin(twins[self.product], drawn)
        wanted = np.bincount(self.query, minlength=len(self.asked))
        part = np.bincount(self.query, weights=out, minlength=len(self.asked)) / np.maximum(wanted, 1)
        moved = (self.split == TRAIN) & (
            rng.random(len(self.asked)) < part
        )  # always where all of them are out
        if share and (not moved.any() or not (self.split == TRAIN)[~moved].any()):
            self.draw_dev(share, seed)
            return
        self.split[moved] = DEV
        self.held_out = out & (self.split[self.query] == TRAIN)

    @property
    def judging(self) -> int:
        """The split that a training is judged by: the test split, which has chosen nothing, where there is one."""
        return TEST if (self.split == TEST).any() else DEV

    def learn_at_most(self, count: int, seed: int) -> None:
        """Of each query no more than ``count`` pairs, drawn, are learned from: the others are known all the same."""
        learned = self.learned
        drawn = np.random.default_rng([seed, 5]).permutation(learned)
        drawn = drawn[np.argsort(self.query[drawn], kind="stable")]
        first = np.searchsorted(self.query[drawn], self.query[drawn])
        self.held_out[drawn[np.arange(len(drawn)) - first >= count]] = True

    def queries_of(self, split: int) -> Ints:
        return np.flatnonzero(self.split == split)

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Queries and pairs of each split; those that are held out count nowhere."""
        of_pairs = np.where(self.held_out, -1, self.split[self.query])
        return (
            {name: int((self.split == number).sum()) for number, name in enumerate(SPLITS)},
            {name: int((of_pairs == number).sum()) for number, name in enumerate(SPLITS)},
        )


@dataclass(eq=False)
class Queries:
    """Encoded queries. ``image_at``, ``text_at`` and ``product_at`` (Q,) are places in ``images`` (A, D_image),
    ``texts`` (B, D_text) and among the products, -1 where a query has no such part. Vectors are of unit norm.
    """

    images: Array
    texts: Array
    image_at: Ints
    text_at: Ints
    product_at: Ints
    words: list[str]

    def weights(self, defaults: DefaultWeights) -> Array:
        """(Q, 3) of picture, text and product, as ``search.weigh`` gives them to signals without a weight."""
        has = np.stack([self.image_at, self.text_at, self.product_at], axis=1) >= 0
        shown = has[:, 0].astype(np.float32) + has[:, 2]
        mixed = has[:, 1] & (shown > 0)
        side = np.where(mixed, defaults.image / np.maximum(shown, 1), 1.0)
        weights = np.stack([side, np.where(mixed, defaults.text, 1.0), side], axis=1)
        return np.asarray(weights * has, np.float32)


def read_products(collection: Collection, progress: Callable[[int, int], None], *, rows: bool) -> Products:
    """All products with their vectors. ``rows``: with their attributes.

    Raises FusionError for a collection in which pictures and texts cannot be told apart, ConfigError for an empty one.
    """
    fusion = collection.stamp.vectors
    if fusion.name != "blocks":
        raise FusionError(
            f"{collection.name!r} was fused with {fusion.name!r}, which keeps pictures and texts no longer apart; "
            "training reads a collection of the fusion 'blocks': ingest the catalog into one"
        )
    count = collection.count()
    image = np.empty((count, fusion.image_dim), np.float32)
    text = np.empty((count, fusion.text_dim), np.float32)
    present = np.empty((count, 2), np.bool_)
    found = Products([], image, text, present, [], [])
    for page in _pages(collection.products()):
        vectors = collection.vectors([row["id"] for row in page])
        for row in page:
            place = len(found.ids)
            if place == count or row["id"] not in vectors:  # written, or deleted, meanwhile
                continue
            vector, *present[place] = vectors[row["id"]]
            image[place], text[place] = fusion.split(vector)
            found.ids.append(row["id"])
            found.texts.append(row["text"])
            if rows:
                found.rows.append(row)
        progress(len(found.ids), count)
    if not found.ids:
        raise ConfigError(f"{collection.name!r} has no products to train with")
    kept = len(found.ids)
    return Products(found.ids, image[:kept], text[:kept], present[:kept], found.texts, found.rows)


def _pages(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while page := list(islice(rows, _PAGE)):
        yield page
