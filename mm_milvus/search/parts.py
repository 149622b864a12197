"""The parts of a query vector: weighted sums of what each signal asks of the pictures and of the texts of products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError, EncoderError, ProductNotFound
from mm_milvus.fusion import blocks, normalise, slerp
from mm_milvus.media import load_pixels

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.typing import ArrayLike

    from mm_milvus.encoders.base import EncoderSpec
    from mm_milvus.media import MediaReader
    from mm_milvus.records import Signal
    from mm_milvus.search.bridge import Bridge
    from mm_milvus.search.cache import QueryEncoder
    from mm_milvus.store import Collection, Stamp

    Array = npt.NDArray[np.float32]

__all__ = ["Centred", "Parts", "given_vectors", "query_mean", "signal_text"]


@dataclass(frozen=True, slots=True, eq=False)
class Centred:
    """A query for products that are centred as well: (dim,) sums of weighted unit vectors, [image ; text]."""

    words: Array
    others: Array  # pictures and products


class Parts:
    """Weighted sums per block; products and given vectors add to the fused vector itself.

    Beside a picture, words are centred: q becomes (q - m) / |q - m|, m being the mean of such texts. The cosines of
    unimodal text encoders crowd into a narrow band, and without this a picture would outweigh any words. As q . v
    ranks like q . (v - m_doc), stored vectors stay as they are.
    """

    def __init__(self, collection: Collection, spec: EncoderSpec, *, mixed: bool) -> None:
        self._collection = collection
        self._fusion = collection.stamp.vectors
        self._spec = spec
        self._apart = self._fusion.name == "blocks" and not spec.joint
        self._mixed = (mixed and self._apart) or self._fusion.centred
        self._image: Array | None = None
        self._text: Array | None = None
        self._fused = np.zeros(self._fusion.dim, np.float32)
        self._weights = {"text": 0.0, "image": 0.0}
        self._known = self._fusion.name == "blocks"  # what every part of the query is about
        # The same sums, of centred unit vectors: [image ; text].
        self._words = np.zeros(self._fusion.image_dim + self._fusion.text_dim, np.float32)
        self._others = np.zeros_like(self._words)
        # Sums of the vectors of texts and of pictures themselves, for a joint space.
        self._of_kind: dict[str, Array] = {}

    @cached_property
    def _query_mean(self) -> Array:
        return query_mean(self._collection.stamp, self._spec)

    def vector(self) -> Array:
        """(dim,) the sum of all parts."""
        if self._image is None and self._text is None:
            return self._fused
        mixed = self._fusion.query(self._image, self._text)
        if self._fusion.name == "product":  # of unit norm whatever the weights: only their sum has a meaning
            mixed = mixed * np.float32(sum(self._weights.values()))
        return self._fused + mixed

    def slerp(self) -> Array:
        """(dim,) texts and pictures as one direction between them on the sphere, by the share of the texts.

        Raises ConfigError where they have no space in common.
        """
        if (
            not self._spec.joint
            or self._fusion.name in ("product", "head")
            or self._fused.any()
            or len(self._of_kind) < 2
        ):
            raise ConfigError(
                "the composition 'slerp' goes from a picture to words: it takes both, no products, and an encoder "
                "with a joint space such as CLIP"
            )
        text, image = self._weights["text"], self._weights["image"]
        pictures, words = (normalise(self._of_kind[kind]) for kind in ("image", "text"))
        direction = slerp(pictures, words, text / (text + image)) * np.float32(text + image)
        if self._fusion.name == "sum":
            return direction
        shares = self._spec.weights
        on_image = (image * (1 - shares.image_on_text) + text * shares.text_on_image) / (text + image)
        return blocks(np.float32(on_image) * direction, np.float32(1 - on_image) * direction)

    @property
    def worth_rescoring(self) -> bool:
        """Both blocks of two separate spaces take part: only then does centring products change their order."""
        image, text = self._fusion.split(self._words + self._others)
        return self._apart and bool(image.any() and text.any())

    def alone(self, vector: Array) -> str | None:
        """The only block that the query ``vector`` (dim,) asks about; None for both, and where nothing is known."""
        if not self._known:
            return None
        image, text = self._fusion.split(vector)
        return None if image.any() and text.any() else "image" if image.any() else "text"

    def centred(self, total: float) -> Centred | None:
        """Divided by the ``total`` weight; None where the vectors of products have no parts."""
        if not self._known:
            return None
        return Centred(self._words / np.float32(total), self._others / np.float32(total))

    def add_texts(self, signals: Sequence[Signal], encoder: QueryEncoder, bridge: Bridge | None) -> None:
        """In a joint space words are compared with pictures too, by the encoder's default share."""
        texts = [signal_text(signal) for signal in signals]
        if not texts:
            return
        on_image = self._share(self._spec.weights.text_on_image)
        for signal, raw in zip(signals, _finite(encoder.encode_query_text(texts)), strict=True):
            weight = np.float32(signal.weight or 0.0)
            centred = _centred(raw, self._query_mean)
            vector = centred if self._mixed else raw
            pictures = bridge.pictures(raw) if bridge else None
            if bridge and pictures is not None:
                self._add("text", weight, bridge.text_share * pictures, (1 - bridge.text_share) * vector)
            else:
                self._add("text", weight, on_image * vector if on_image else None, (1 - on_image) * vector)
            self._centre(
                self._words, weight, on_image * centred if on_image else None, (1 - on_image) * centred
            )
            self._sum_of("text", weight * raw)

    def add_images(
        self,
        signals: Sequence[Signal],
        encoder: QueryEncoder,
        reader: MediaReader,
        bridge: Bridge,
    ) -> None:
        if not signals:
            return
        side = encoder.smallest_side
        pictures: list[Any] = [
            encoder.prepare(load_pixels(signal.value, reader=reader, crop=signal.crop, smallest=side))
            for signal in signals
        ]
        on_text = self._share(self._spec.weights.image_on_text)
        for signal, raw in zip(signals, _finite(encoder.encode_prepared(pictures)), strict=True):
            weight = np.float32(signal.weight or 0.0)
            texts = bridge.texts(raw) if weight > 0 else None
            centred = _centred(raw, self._fusion.image_mean)
            share = on_text if texts is None else float(bridge.share)
            vector = centred if self._fusion.centred else raw
            for_text = vector if texts is None else texts
            self._add("image", weight, (1 - share) * vector, share * for_text if share else None)
            for_text = centred if texts is None else texts
            self._centre(self._others, weight, (1 - share) * centred, share * for_text if share else None)
            self._sum_of("image", weight * raw)

    def add_products(self, signals: Sequence[Signal]) -> None:
        """A stored product: half its picture, half its text, or all of the one that it has."""
        stored = self._collection.vectors([signal_text(signal) for signal in signals]) if signals else {}
        for signal in signals:
            if signal.value not in stored:
                raise ProductNotFound(f"there is no product {signal.value!r} in {self._collection.name!r}")
            vector, has_image, has_text = stored[signal.value]
            weight = np.float32(signal.weight or 0.0)
            if self._fusion.name == "blocks":
                share = np.float32(1 / (has_image + has_text or 1))
                image, text = self._fusion.split(vector)
                centred = (_centred(image, self._fusion.image_mean), _centred(text, self._fusion.text_mean))
                parts = (share * has_image * centred[0], share * has_text * centred[1])
                self._centre(self._others, weight, *parts)
                text = centred[1] if self._apart else text
                vector = share * blocks(image * has_image, text * has_text)
            self._fused += vector * weight

    def add_vectors(self, signals: Sequence[Signal]) -> None:
        """Vectors in the place of fused ones, which nothing more is known of."""
        self._known = self._known and not signals
        if signals:
            self._fused += given_vectors(signals, self._fusion.dim)

    def _share(self, share: float) -> float:
        """Only blocks keep the modalities apart; in a mixed vector every signal meets both anyway."""
        return share if self._spec.joint and self._fusion.name == "blocks" else 0.0

    def _add(self, kind: str, weight: np.float32, image: Array | None, text: Array | None) -> None:
        self._weights[kind] += abs(float(weight))
        if image is not None:
            self._image = weight * image if self._image is None else self._image + weight * image
        if text is not None:
            self._text = weight * text if self._text is None else self._text + weight * text

    def _centre(self, into: Array, weight: np.float32, image: Array | None, text: Array | None) -> None:
        if image is not None:
            into[: self._fusion.image_dim] += weight * image
        if text is not None:
            into[self._fusion.image_dim :] += weight * text

    def _sum_of(self, kind: str, vector: Array) -> None:
        self._of_kind[kind] = vector if kind not in self._of_kind else self._of_kind[kind] + vector


def query_mean(stamp: Stamp, spec: EncoderSpec) -> Array:
    """What query texts have in common (D_text,): that of the shop's own, else of generic ones, else of products."""
    known = (stamp.query_text_mean, spec.query_text_mean, stamp.text_mean)
    return np.asarray(next(mean for mean in known if mean is not None), np.float32)


def _centred(vector: Array, mean: Array) -> Array:
    """Of unit norm."""
    return normalise(vector - mean)


def _finite(vectors: Array) -> Array:
    """Raises EncoderError for what cannot be searched with."""
    if not np.isfinite(vectors).all():
        raise EncoderError("the model gives numbers that are not finite for this query; try --dtype float32")
    return vectors


def given_vectors(signals: Sequence[Signal], dim: int) -> Array:
    """(dim,) the weighted sum of vectors that a user gave; one without a weight counts once. Raises ConfigError."""
    vectors = [_given_vector(signal.value, dim) for signal in signals]
    weighted = [
        vector if signal.weight is None else vector * np.float32(signal.weight)
        for signal, vector in zip(signals, vectors, strict=True)
    ]
    total: Array = sum(weighted[1:], weighted[0])
    return total


def _given_vector(value: ArrayLike, dim: int) -> Array:
    """Raises ConfigError for what is no vector of the collection's length."""
    try:
        vector = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a query's vector must be a list of numbers: {error}") from error
    finite = vector.shape == (dim,) and (math.isfinite(vector.dot(vector)) or np.isfinite(vector).all())
    if not finite:  # the product tells it in one call, but where it is too large
        raise ConfigError(f"a query's vector must be {dim} finite numbers, got the shape {vector.shape}")
    return vector


def signal_text(signal: Signal) -> str:
    """The words or the id of a signal. Raises ConfigError when it is anything else."""
    if not isinstance(signal.value, str) or not signal.value.strip():
        raise ConfigError(f"a query's {signal.kind} must be a string that is not empty, got {signal.value!r}")
    return signal.value
