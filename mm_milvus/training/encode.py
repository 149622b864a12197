"""Query texts and pictures -> vectors, each encoded once and kept beside the head."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import MediaError
from mm_milvus.files import being_replaced
from mm_milvus.training.data import Asked, Labels, Products, Queries, View
from mm_milvus.training.views import view_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import EncoderSpec
    from mm_milvus.media import MediaReader
    from mm_milvus.search.cache import QueryEncoder

    Array = npt.NDArray[np.float32]

__all__ = ["QueryVectors", "encode_queries", "load_array", "version"]

_TEXTS = 64  # of one step of the progress
_PICTURES = 16


@dataclass(frozen=True, eq=False)
class QueryVectors:
    """``labels`` without the queries that could not be encoded; why, by their number before that."""

    labels: Labels
    queries: Queries
    failed: dict[int, str]


def encode_queries(
    labels: Labels,
    products: Products,
    encoder: QueryEncoder,
    reader: MediaReader,
    *,
    base: Path | None,
    cache: Path,
    progress: Callable[[str, int, int], None],
) -> QueryVectors:
    """Vectors of all queries; paths of pictures are relative to ``base``. ``cache`` is a folder, which is made."""
    texts, views = labels.texts, labels.views
    text_vectors = _kept(
        cache,
        encoder.spec,
        ["text", *texts],
        encoder.spec.text_dim,
        lambda: _encode_texts(texts, encoder, progress),
    )
    image_vectors = _kept(
        cache,
        encoder.spec,
        ["image", *([*view, version(view[0], base)] for view in views)],
        encoder.spec.image_dim,
        lambda: _encode_views(views, encoder, reader, base, progress),
    )
    reasons = {
        place: _why(view, encoder, reader, base)
        for place, view in enumerate(views)
        if not np.isfinite(image_vectors[place]).all()
    }
    text_place = {text: place for place, text in enumerate(texts)}
    view_place = {view: place for place, view in enumerate(views)}
    failed = {}
    for number, one in enumerate(labels.asked):
        if one.text and not np.isfinite(text_vectors[text_place[one.text]]).all():
            failed[number] = "the model gives no usable numbers for this text"
        if one.image and not np.isfinite(image_vectors[view_place[one.image, one.view]]).all():
            failed[number] = reasons[view_place[one.image, one.view]]
    if failed:
        kept = np.ones(len(labels.asked), np.bool_)
        kept[list(failed)] = False
        labels = labels.keep(kept)
    queries = _assembled(labels.asked, products, (text_vectors, text_place), (image_vectors, view_place))
    return QueryVectors(labels, queries, failed)


def _assembled(
    asked: Sequence[Asked],
    products: Products,
    texts: tuple[Array, dict[str, int]],
    views: tuple[Array, dict[View, int]],
) -> Queries:
    """Pictures of products follow those that were encoded."""
    shown = list(dict.fromkeys(one.picture_of for one in asked if one.picture_of >= 0))
    shown_place = {product: len(views[1]) + place for place, product in enumerate(shown)}
    image_at = [
        shown_place[one.picture_of] if one.picture_of >= 0 else views[1].get((one.image, one.view), -1)
        for one in asked
    ]
    return Queries(
        np.concatenate([views[0].reshape(-1, products.image.shape[1]), products.image[shown]]),
        texts[0].reshape(-1, products.text.shape[1]).copy(),
        np.array(image_at, np.int64),
        np.array([texts[1].get(one.text, -1) for one in asked], np.int64),
        np.array([one.product for one in asked], np.int64),
        [one.text for one in asked],
    )


def _encode_texts(
    texts: list[str], encoder: QueryEncoder, progress: Callable[[str, int, int], None]
) -> Array:
    found = []
    for start in range(0, len(texts), _TEXTS):
        found.append(encoder.encode_query_text(texts[start : start + _TEXTS]))
        progress("encoding texts", min(start + _TEXTS, len(texts)), len(texts))
    return np.concatenate(found)


def _encode_views(
    views: list[View],
    encoder: QueryEncoder,
    reader: MediaReader,
    base: Path | None,
    progress: Callable[[str, int, int], None],
) -> Array:
    """NaN for pictures that cannot be read."""
    found = np.full((len(views), encoder.spec.image_dim), np.nan, np.float32)
    for start in range(0, len(views), _PICTURES):
        part = range(start, min(start + _PICTURES, len(views)))
        ready = {place: one for place in part if (one := _prepared(views[place], encoder, reader, base))}
        if ready:
            found[list(ready)] = encoder.encode_prepared(list(ready.values()))
        progress("encoding pictures", part.stop, len(views))
    return found


def _prepared(view: View, encoder: QueryEncoder, reader: MediaReader, base: Path | None) -> Any:
    """None for a picture that cannot be read: ``_why`` tells the reason."""
    try:
        return encoder.prepare(view_of(*view, reader, base, encoder.smallest_side))
    except MediaError:
        return None


def _why(view: View, encoder: QueryEncoder, reader: MediaReader, base: Path | None) -> str:
    """Why there is no vector of a picture: it is read once more, as the vectors may be those of an earlier run."""
    try:
        encoder.prepare(view_of(*view, reader, base, encoder.smallest_side))
    except MediaError as error:
        return f"its picture cannot be read: {error}"
    return "its picture had no usable vector; it can be read now: delete the folder cache/ to try it again"


def version(reference: str, base: Path | None) -> list[int]:
    """Size and time of a file: a picture that was exchanged is encoded again."""
    try:
        status = os.stat(os.path.join(base or "", reference))
    except (OSError, ValueError):
        return []
    return [status.st_size, status.st_mtime_ns]


def load_array(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any] | None:
    """A kept array; None where there is none, or one that is damaged or other than expected: it has to be made."""
    try:
        with path.open("rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    except Exception:  # a damaged file makes the reader raise almost anything
        return None
    return found if (found.shape, found.dtype) == (shape, np.dtype(dtype)) else None


def _kept(cache: Path, spec: EncoderSpec, keys: list[Any], width: int, encode: Callable[[], Array]) -> Array:
    """What ``encode`` gives, (n, width) for all ``keys`` but the first; from the cache where it is there already."""
    if len(keys) == 1:
        return np.empty((0, 0), np.float32)
    identity = json.dumps([spec.name, spec.revision, keys], ensure_ascii=True)
    path = cache / f"{keys[0]}-{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npy"
    if (kept := load_array(path, (len(keys) - 1, width), np.float32)) is not None:
        return kept
    found = np.asarray(encode(), np.float32)
    cache.mkdir(parents=True, exist_ok=True)
    with being_replaced(path) as file:
        np.save(file, found)
    return found
