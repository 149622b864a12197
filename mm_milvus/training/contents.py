"""Which pictures and texts products and queries are made of, for a training that encodes them again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.training.data import Asked, Labels, Products, Queries, View
from mm_milvus.training.pictures import PictureFile

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]

__all__ = ["Contents", "contents_of", "forget_unread", "product_views"]


@dataclass(frozen=True, eq=False)
class Contents:
    """Products (N) and queries (Q) as places in the pictures of two files and in two lists of texts, -1 for none.

    Pictures of queries are numbered after those of products.
    """

    files: tuple[PictureFile, PictureFile]
    product_texts: list[str]  # (N,)
    words: list[str]  # (W,) distinct texts of queries
    picture_of: Ints  # (N,) of each product
    present: Bools  # (N, 2)
    image_at: Ints  # (Q,)
    text_at: Ints  # (Q,) in ``words``
    product_at: Ints  # (Q,) among the products

    @property
    def pictures(self) -> Ints:
        """Places of all pictures that products or queries use, rising."""
        return _used(self.picture_of, self.image_at)

    def load(self, places: Ints) -> list[object]:
        """The prepared pictures at ``places``, rising."""
        first = len(self.files[0].readable)
        products, queries = places[places < first], places[places >= first] - first
        return [*self.files[0].load(products), *self.files[1].load(queries)]

    def queries(self, images: Array, texts: Array, asked: list[Asked]) -> Queries:
        """With vectors ``images`` of ``pictures`` (P, D_image) and ``texts`` of ``words`` (W, D_text)."""
        places = np.searchsorted(self.pictures, self.image_at)
        return Queries(
            images.copy(), texts.copy(), np.where(self.image_at >= 0, places, -1), self.text_at, self.product_at,
            [one.text for one in asked],
        )  # fmt: skip


def _used(*places: Ints) -> Ints:
    found = np.unique(np.concatenate(places))
    return found[found >= 0]


def product_views(products: Products, references: Mapping[str, str]) -> tuple[list[View], Ints]:
    """Each distinct picture once, and (N,) which of them a product has, -1 for none.

    ``references`` says by id where the picture of a product is.
    """
    places: dict[View, int] = {}
    found = np.full(len(products), -1, np.int64)
    for product in np.flatnonzero(products.present[:, 0]):
        if reference := references.get(products.ids[product]):
            found[product] = places.setdefault((reference, 0), len(places))
    return list(places), found


def forget_unread(products: Products, picture_of: Ints, pictures: PictureFile) -> int:
    """Products whose picture cannot be read go on without it; returns how many they are.

    ``products.present`` and ``picture_of`` are changed in their place. Raises ConfigError where no picture is left.
    """
    unread = products.present[:, 0].copy()
    has = picture_of >= 0
    unread[has] &= ~pictures.readable[picture_of[has]]
    if unread.any() and unread.sum() == products.present[:, 0].sum():
        raise ConfigError(
            f"none of the pictures of the {unread.sum():,} products that have one can be read where it was when they "
            "were ingested: layers are trained on the pictures themselves"
        )
    picture_of[unread] = -1
    products.present[unread, 0] = False
    return int(unread.sum())


def contents_of(
    labels: Labels,
    products: Products,
    picture_of: Ints,
    files: tuple[PictureFile, PictureFile],
    views: list[View],
) -> tuple[Labels, Contents]:
    """The labels without queries whose picture cannot be read, and what products and queries consist of.

    ``views`` are the pictures of queries, in the second of the ``files``.
    """
    first = len(files[0].readable)
    view_at = {view: first + place for place, view in enumerate(views) if files[1].readable[place]}
    image_at = np.array([_picture(one, picture_of, view_at) for one in labels.asked], np.int64)
    asks = np.array([bool(one.image) or one.picture_of >= 0 for one in labels.asked], np.bool_)
    readable = ~asks | (image_at >= 0)
    labels = labels.keep(readable)
    words = labels.texts
    place = {text: number for number, text in enumerate(words)}
    return labels, Contents(
        files, products.texts, words, picture_of, products.present, image_at[readable],
        np.array([place.get(one.text, -1) for one in labels.asked], np.int64),
        np.array([one.product for one in labels.asked], np.int64),
    )  # fmt: skip


def _picture(one: Asked, picture_of: Ints, view_at: Mapping[View, int]) -> int:
    if one.picture_of >= 0:
        return int(picture_of[one.picture_of])
    return view_at.get((one.image, one.view), -1)
