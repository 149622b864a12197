"""Signals become one query vector: the weighted mean of what the user showed, said and pointed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError, EncoderError, ProductNotFound
from mm_milvus.fusion import blocks, normalise
from mm_milvus.media import load_pixels
from mm_milvus.records import Signal
from mm_milvus.search.bridge import Bridge

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.typing import ArrayLike

    from mm_milvus.encoders.base import DefaultWeights, Encoder, EncoderSpec
    from mm_milvus.fusion import Fusion
    from mm_milvus.media import MediaReader
    from mm_milvus.search.cache import QueryEncoder
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]

__all__ = ["MAX_WEIGHT", "Composed", "compose", "signal_text", "weigh"]

MAX_WEIGHT = 1e6
_SHOWN = 200  # characters of a signal, in explanations


@dataclass(frozen=True, slots=True, eq=False)
class Centred:
    """The parts of a query for products that are centred as well: sums of weighted unit vectors."""

    image: Array  # (D_image,)
    text: Array  # (D_text,)


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """A query vector (dim,), and how it came about, for ``explain``.

    ``centred`` is None where it would change nothing (one block alone) or means nothing (a joint space).
    """

    vector: Array
    explain: Mapping[str, Any]
    centred: Centred | None = None


def compose(
    signals: Sequence[Signal],
    collection: Collection,
    encoder: Encoder | QueryEncoder,
    reader: MediaReader,
    bridge: float | None = None,
) -> Composed:
    """The query vector, scaled so that its inner product with a product is the weighted mean of similarities:
    cosines for words alone and for pictures alone; in a mixture those of words are centred. ``bridge`` is the share of
    a picture that goes to the texts of the products that look most like it, or of words alone that goes to the pictures
    of the products whose texts are nearest; None for the encoder's own.

    Raises MediaError (a query picture), ProductNotFound (an id), ConfigError (nothing to search for).
    """
    weighted = weigh(signals, encoder.spec.weights)
    kinds = {signal.kind for signal in weighted}
    parts = _Parts(collection.stamp.vectors, encoder.spec, centred=len(kinds) > 1 or "id" in kinds)
    explain: dict[str, Any] = {
        "signals": [{"kind": s.kind, "value": _shown(s.value), "weight": s.weight} for s in weighted],
        "centred": parts.centred,
    }
    bridged = Bridge(collection, encoder.spec, bridge)
    words_alone = kinds == {"text"} and all((s.weight or 0.0) > 0 for s in weighted)
    parts.add_texts([s for s in weighted if s.kind == "text"], encoder, bridged if words_alone else None)
    parts.add_images([s for s in weighted if s.kind == "image"], encoder, reader, bridged)
    if "image" in kinds or words_alone:
        explain["bridge"] = float(bridged.share if "image" in kinds else bridged.text_share)
    parts.add_products([s for s in weighted if s.kind == "id"], collection)
    parts.add_vectors([s for s in weighted if s.kind == "vector"])
    total = sum(abs(signal.weight or 0.0) for signal in weighted)
    if not total:
        raise ConfigError("all signals of this query have the weight 0")
    vector = parts.vector() / np.float32(total)
    if not vector.any():
        raise ConfigError("the signals of this query cancel each other out; change their weights")
    return Composed(vector, explain, None if words_alone else parts.centred_parts(total))


def _shown(value: Any) -> str:
    """A signal's value in short: words, ids and addresses as they are, anything else by its kind."""
    return value[:_SHOWN] if isinstance(value, str) else f"({type(value).__name__})"


def weigh(signals: Sequence[Signal], defaults: DefaultWeights) -> list[Signal]:
    """The signals, each with a weight.

    Where both words and pictures (or products) are given, each side shares its default weight among its signals that
    carry none; a query of one kind needs no balance, and each of its signals weighs 1.
    """
    if bad := next((s for s in signals if s.weight is not None and not abs(s.weight) <= MAX_WEIGHT), None):
        raise ConfigError(
            f"the weight {bad.weight} is not a number between -{MAX_WEIGHT:g} and {MAX_WEIGHT:g}"
        )
    words = [signal for signal in signals if signal.kind == "text"]
    if not signals:
        raise ConfigError("nothing to search for: give a text, an image or an id")
    mixed = 0 < len(words) < len(signals)
    counts = {
        True: sum(s.weight is None for s in words),
        False: sum(s.weight is None for s in signals if s.kind != "text"),
    }
    sides = {True: defaults.text, False: defaults.image}
    return [
        replace(s, weight=sides[s.kind == "text"] / counts[s.kind == "text"] if mixed else 1.0)
        if s.weight is None
        else s
        for s in signals
    ]


class _Parts:
    """Weighted sums per block; an id adds to the fused vector itself.

    Beside a picture, words are centred: q becomes (q - m) / |q - m|, m being the mean of such texts. The cosines of
    unimodal text encoders crowd into a narrow band, and without this a picture would outweigh any words. As q . v
    ranks like q . (v - m_doc), stored vectors stay as they are. `benchmarks/fit_offline.py` measures the gain.
    """

    def __init__(self, fusion: Fusion, spec: EncoderSpec, *, centred: bool) -> None:
        self._fusion = fusion
        self._image: Array | None = None
        self._text: Array | None = None
        self._fused = np.zeros(fusion.dim, np.float32)
        self._weight = 0.0  # of texts and pictures together
        self._spec = spec
        self._apart = fusion.name == "blocks" and not spec.joint
        self.centred = centred and self._apart
        # The same sums, with every part centred and of unit norm.
        self._image_sum, self._text_sum = np.zeros_like(fusion.image_mean), np.zeros_like(fusion.text_mean)

    def vector(self) -> Array:
        if self._image is None and self._text is None:
            return self._fused
        mixed = self._fusion.query(self._image, self._text)
        if self._fusion.name == "product":  # of unit norm whatever the weights: only their sum has a meaning
            mixed = mixed * np.float32(self._weight)
        return self._fused + mixed

    def centred_parts(self, total: float) -> Centred | None:
        """Divided by the ``total`` weight; None unless both blocks take part."""
        if not (self._apart and self._image_sum.any() and self._text_sum.any()):
            return None
        return Centred(self._image_sum / np.float32(total), self._text_sum / np.float32(total))

    def add_texts(
        self, signals: Sequence[Signal], encoder: Encoder | QueryEncoder, bridge: Bridge | None
    ) -> None:
        """In a joint space words are compared with pictures too, by the encoder's default share."""
        texts = [signal_text(signal) for signal in signals]
        if not texts:
            return
        self._weight += sum(abs(signal.weight or 0.0) for signal in signals)
        share = self._share(self._spec.weights.text_on_image)
        for signal, raw in zip(signals, _finite(encoder.encode_query_text(texts).numpy()), strict=True):
            weight = np.float32(signal.weight or 0.0)
            vector = self._centre(raw, self._spec.query_text_mean) * weight
            self._text_sum += weight * _centred(raw, self._spec.query_text_mean)
            pictures = bridge.pictures(raw) if bridge else None
            if bridge and pictures is not None:
                self._add_text((1 - bridge.text_share) * vector)
                self._add_image(bridge.text_share * weight * pictures)
                continue
            self._add_text((1 - share) * vector)
            if share:
                self._add_image(share * vector)

    def add_images(
        self,
        signals: Sequence[Signal],
        encoder: Encoder | QueryEncoder,
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
        self._weight += sum(abs(signal.weight or 0.0) for signal in signals)
        share = self._share(self._spec.weights.image_on_text)
        for signal, raw in zip(signals, _finite(encoder.encode_prepared(pictures).numpy()), strict=True):
            weight = np.float32(signal.weight or 0.0)
            texts = bridge.texts(raw) if weight > 0 else None
            other = bridge.share if texts is not None else 0.0
            self._image_sum += (1 - other) * weight * _centred(raw, self._fusion.image_mean)
            if texts is not None:
                self._text_sum += bridge.share * weight * texts
                self._add_image((1 - bridge.share) * weight * raw)
                self._add_text(bridge.share * weight * texts)
                continue
            self._add_image((1 - share) * weight * raw)
            if share:
                self._add_text(share * weight * raw)

    def add_products(self, signals: Sequence[Signal], collection: Collection) -> None:
        """A stored product: half its picture, half its text, or all of the one that it has."""
        stored = collection.vectors([signal_text(signal) for signal in signals])
        for signal in signals:
            if signal.value not in stored:
                raise ProductNotFound(f"there is no product {signal.value!r} in {collection.name!r}")
            vector, has_image, has_text = stored[signal.value]
            if self._fusion.name == "blocks":
                image, text = self._fusion.split(vector)
                share = np.float32(signal.weight or 0.0) / np.float32(has_image + has_text or 1)
                if has_image:
                    self._image_sum += share * _centred(image, self._fusion.image_mean)
                if has_text:
                    self._text_sum += share * _centred(text, self._fusion.text_mean)
                text = self._centre(text, self._fusion.text_mean)
                vector = blocks(image * has_image, text * has_text) / np.float32(has_image + has_text or 1)
            self._fused += vector * np.float32(signal.weight or 0.0)

    def add_vectors(self, signals: Sequence[Signal]) -> None:
        """Vectors in the place of fused ones, which nothing is known of."""
        self._apart = self._apart and not signals
        for signal in signals:
            self._fused += _given_vector(signal.value, self._fusion.dim) * np.float32(signal.weight or 0.0)

    def _centre(self, vector: Array, mean: ArrayLike | None) -> Array:
        return _centred(vector, mean) if self.centred else vector

    def _share(self, share: float) -> float:
        """Only blocks keep the modalities apart; in a mixed vector every signal meets both anyway."""
        return share if self._spec.joint and self._fusion.name == "blocks" else 0.0

    def _add_image(self, vector: Array) -> None:
        self._image = vector if self._image is None else self._image + vector

    def _add_text(self, vector: Array) -> None:
        self._text = vector if self._text is None else self._text + vector


def _centred(vector: Array, mean: ArrayLike | None) -> Array:
    """Of unit norm; as it is without a mean."""
    return vector if mean is None else normalise(vector - np.asarray(mean, np.float32))


def _finite(vectors: Array) -> Array:
    """Raises EncoderError for what cannot be searched with."""
    if not np.isfinite(vectors).all():
        raise EncoderError("the model gives numbers that are not finite for this query; try --dtype float32")
    return vectors


def _given_vector(value: ArrayLike, dim: int) -> Array:
    """Raises ConfigError for what is no vector of the collection's length."""
    try:
        vector = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a query's vector must be a list of numbers: {error}") from error
    if vector.shape != (dim,) or not np.isfinite(vector).all():
        raise ConfigError(f"a query's vector must be {dim} finite numbers, got the shape {vector.shape}")
    return vector


def signal_text(signal: Signal) -> str:
    """The words or the id of a signal. Raises ConfigError when it is anything else."""
    if not isinstance(signal.value, str) or not signal.value.strip():
        raise ConfigError(f"a query's {signal.kind} must be a string that is not empty, got {signal.value!r}")
    return signal.value
