"""Token vectors of products and queries for a training: computed once, kept beside it, mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import MediaError
from mm_milvus.files import being_replaced, replace_file
from mm_milvus.late import product_tokens
from mm_milvus.training.data import Labels, Products, View
from mm_milvus.training.encode import load_array, version
from mm_milvus.training.views import view_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders import TokenEncoder
    from mm_milvus.media import MediaReader
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]
    Progress = Callable[[str, int, int], None]
    _Pages = Iterator[tuple[list[Array], list[Array]]]

__all__ = ["LateInputs", "Sources", "TokenTable", "late_inputs"]

_ITEMS = 64  # of one step of the progress
_HIGHEST = 65_504.0  # of float16


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Tokens of items one after the other: ``rows`` (sum of counts, D) float16, ``starts`` (N + 1,)."""

    rows: npt.NDArray[np.float16]
    starts: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, item: int) -> Array:
        """(T, D) float32; no rows for -1."""
        if item < 0:
            return np.empty((0, self.rows.shape[1]), np.float32)
        return self.rows[self.starts[item] : self.starts[item + 1]].astype(np.float32)


@dataclass(frozen=True, eq=False)
class LateInputs:
    """Raw tokens of the products that a training meets, and of its queries.

    ``row_of`` (N,) is the row of each product in ``text`` and ``image``, -1 where it is not met. ``text_at``,
    ``image_at`` and ``product_at`` (Q,) are places in ``texts``, in ``images`` and among the products, and ``shown_at``
    that of a product whose picture asks; -1 for none. ``weights`` (Q, 3) are those of picture, text and product.
    """

    text: TokenTable
    image: TokenTable
    row_of: Ints
    present: Any  # (N, 2) bool tensor: picture and text
    texts: TokenTable
    images: TokenTable
    text_at: Ints
    image_at: Ints
    shown_at: Ints
    product_at: Ints
    weights: Array
    unread: int  # pictures of products that could not be read

    def product(self, place: int) -> tuple[Array, Array]:
        """Raw tokens of its text and of its picture."""
        row = int(self.row_of[place]) if place >= 0 else -1
        return self.text.of(row), self.image.of(row)

    def query(self, place: int) -> tuple[list[tuple[Array, float]], list[tuple[Array, float]]]:
        """(tokens, weight of each) of texts, and the same of pictures, as ``late.joined`` weighs them."""
        on_image, on_text, on_product = (float(weight) for weight in self.weights[place])
        total = on_image + on_text + on_product
        like = self.product(int(self.product_at[place]))
        picture = self.images.of(int(self.image_at[place]))
        if self.shown_at[place] >= 0:
            picture = self.product(int(self.shown_at[place]))[1]
        words = self.texts.of(int(self.text_at[place]))
        alike = max(len(like[0]) + len(like[1]), 1)
        texts = [(words, on_text / total / max(len(words), 1)), (like[0], on_product / total / alike)]
        images = [(picture, on_image / total / max(len(picture), 1)), (like[1], on_product / total / alike)]
        return texts, images


@dataclass(frozen=True, eq=False)
class Sources:
    """Where tokens come from. Query pictures are relative to ``base``; ``cache`` is a folder, which is made.

    ``goes_on``: the run is one that was interrupted, and has to meet what it met.
    """

    encoder: TokenEncoder
    collection: Collection
    reader: MediaReader
    base: Path | None
    cache: Path
    progress: Progress
    goes_on: bool = False


def late_inputs(
    sources: Sources, products: Products, met: Ints, labels: Labels, weights: Array
) -> LateInputs:
    """Tokens of the products at the places ``met`` and of all queries. ``products`` have the encoder's own vectors."""
    import torch

    encoder, reader = sources.encoder, sources.reader
    tables = _Tables(encoder, sources.cache)
    text, image, unread = _of_products(sources, tables, products, met)
    texts, views, asked = labels.texts, labels.views, labels.asked
    seen = [[*view, version(view[0], sources.base)] for view in views]
    place_of = {text: place for place, text in enumerate(texts)}
    view_of = {view: place for place, view in enumerate(views)}
    row_of = np.full(len(products), -1, np.int64)
    row_of[met] = np.arange(len(met))
    return LateInputs(
        text=text,
        image=image,
        row_of=row_of,
        present=torch.from_numpy(products.present),
        texts=tables.one("texts", 0, texts, lambda: _texts(texts, encoder)),
        images=tables.one("views", 1, seen, lambda: _views(views, encoder, reader, sources.base)),
        text_at=np.array([place_of.get(one.text, -1) for one in asked], np.int64),
        image_at=np.array([view_of.get((one.image, one.view), -1) for one in asked], np.int64),
        shown_at=np.array([one.picture_of for one in asked], np.int64),
        product_at=np.array([one.product for one in asked], np.int64),
        weights=weights,
        unread=unread,
    )


def _of_products(
    sources: Sources, tables: _Tables, products: Products, met: Ints
) -> tuple[TokenTable, TokenTable, int]:
    """Tokens of texts and of pictures, and how many pictures cannot be read. Those that an earlier run could not read
    are tried again."""
    ids = [products.ids[place] for place in met]
    keys = [[id, _digest(products, place)] for id, place in zip(ids, met, strict=True)]
    told = tables.path("met", keys).with_suffix(".json")  # whose pictures could not be read

    def encoded() -> _Pages:
        unread: list[str] = []
        for start in range(0, len(ids), _ITEMS):
            part = ids[start : start + _ITEMS]
            found, failed = _encoded(sources, tables.widths, part)
            unread += failed
            yield [found[id][0] for id in part], [found[id][1] for id in part]
            sources.progress("encoding tokens", min(start + _ITEMS, len(ids)), len(ids))
        replace_file(told, json.dumps(unread))

    text, image = tables.both("met", keys, encoded, anew=_told(told, ids) is None)
    unread = _told(told, ids) or []
    if not unread or sources.goes_on:
        return text, image, len(unread)
    found, failed = _encoded(sources, tables.widths, unread)
    if len(failed) == len(unread):
        return text, image, len(unread)

    def mended() -> _Pages:
        for place, id in enumerate(ids):
            one, other = found.get(id, (text.of(place), image.of(place)))
            yield [one], [other]
        replace_file(told, json.dumps(failed))

    return *tables.both("met", keys, mended, anew=True), len(failed)


def _told(path: Path, ids: Sequence[str]) -> list[str] | None:
    """Those of the ``ids`` whose pictures could not be read; None where the file is not there, or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, list) and set(found) <= set(ids) else None
    except (OSError, ValueError, TypeError):
        return None


def _encoded(
    sources: Sources, widths: tuple[int, int], ids: Sequence[str]
) -> tuple[dict[str, tuple[Array, Array]], list[str]]:
    """Tokens of the text and of the picture by id, and the ids of pictures that cannot be read."""
    hits = sources.collection.get(ids, ("text",))
    texts, images, failed = product_tokens(hits, sources.encoder, sources.reader)
    nothing = (np.empty((0, widths[0]), np.float32), np.empty((0, widths[1]), np.float32))
    made = {hit.id: (one, other) for hit, one, other in zip(hits, texts, images, strict=True)}
    return {id: made.get(id, nothing) for id in ids}, list(failed)


def _digest(products: Products, place: int) -> str:
    """Changes with the product's text and picture."""
    content = products.texts[place].encode() + b"\0" + products.image[place].tobytes()
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _texts(texts: Sequence[str], encoder: TokenEncoder) -> Iterable[list[Array]]:
    return (
        encoder.encode_query_text_tokens(texts[start : start + _ITEMS])
        for start in range(0, len(texts), _ITEMS)
    )


def _views(
    views: Sequence[View], encoder: TokenEncoder, reader: MediaReader, base: Path | None
) -> Iterable[list[Array]]:
    """A picture that cannot be read any more has no tokens: that it could not was told when its vector was made."""
    for view in views:
        try:
            pixels = view_of(*view, reader, base, encoder.smallest_side)
        except MediaError:
            yield [np.empty((0, encoder.token_spec.image_dim), np.float32)]
        else:
            yield encoder.encode_prepared_tokens([encoder.prepare(pixels)])


class _Tables:
    """Tables in the cache, made where they are missing."""

    def __init__(self, encoder: TokenEncoder, cache: Path) -> None:
        spec = encoder.token_spec
        self.widths = (spec.text_dim, spec.image_dim)
        self._cache = cache
        self._encoder = [encoder.spec.name, encoder.spec.revision, spec.recipe]

    def one(
        self, name: str, side: int, keys: Sequence[Any], encode: Callable[[], Iterable[list[Array]]]
    ) -> TokenTable:
        (table,) = self._kept([name], [self.widths[side]], keys, lambda: ((part,) for part in encode()))
        return table

    def both(
        self, name: str, keys: Sequence[Any], encode: Callable[[], _Pages], *, anew: bool = False
    ) -> tuple[TokenTable, TokenTable]:
        """``anew``: they are made although they are there."""
        text, image = self._kept([f"{name}-text", f"{name}-image"], self.widths, keys, encode, anew)
        return text, image

    def path(self, name: str, keys: Sequence[Any]) -> Path:
        """Of a file, but for its suffix."""
        identity = json.dumps([*self._encoder, *keys])
        return self._cache / f"tokens-{name}-{hashlib.sha256(identity.encode()).hexdigest()[:24]}"

    def _kept(
        self,
        names: Sequence[str],
        widths: Sequence[int],
        keys: Sequence[Any],
        encode: Callable[[], Iterable[Sequence[list[Array]]]],
        anew: bool = False,
    ) -> list[TokenTable]:
        paths = [self.path(name, keys) for name in names]
        if anew or not all(
            _is_whole(path, len(keys), width) for path, width in zip(paths, widths, strict=True)
        ):
            self._write(paths, encode)
        return [_table(path, width) for path, width in zip(paths, widths, strict=True)]

    def _write(self, paths: Sequence[Path], encode: Callable[[], Iterable[Sequence[list[Array]]]]) -> None:
        """The counts last: without them there is no table. Tables that are mapped meanwhile stay as they are."""
        self._cache.mkdir(parents=True, exist_ok=True)
        for path in paths:
            path.with_suffix(".npy").unlink(missing_ok=True)
        counts: list[list[int]] = [[] for _ in paths]
        with ExitStack() as stack:
            files = [stack.enter_context(being_replaced(path.with_suffix(".bin"))) for path in paths]
            for page in encode():
                for file, count, items in zip(files, counts, page, strict=True):
                    for tokens in items:
                        file.write(tokens.clip(-_HIGHEST, _HIGHEST).astype("<f2").tobytes())
                        count.append(len(tokens))
        for path, count in zip(paths, counts, strict=True):
            with being_replaced(path.with_suffix(".npy")) as table:
                np.save(table, np.concatenate([[0], np.cumsum(count, dtype=np.int64)]).astype(np.int64))


def _is_whole(path: Path, count: int, width: int) -> bool:
    """Whether there is a table of ``count`` items as it was written."""
    starts, rows = load_array(path.with_suffix(".npy"), (count + 1,), np.int64), path.with_suffix(".bin")
    if starts is None or not rows.is_file():
        return False
    rises = starts[0] == 0 and bool((np.diff(starts) >= 0).all())
    return rises and rows.stat().st_size == int(starts[-1]) * width * 2


def _table(path: Path, width: int) -> TokenTable:
    starts = np.load(path.with_suffix(".npy"))
    if not starts[-1]:
        return TokenTable(np.empty((0, width), np.float16), starts)
    rows = np.memmap(path.with_suffix(".bin"), "<f2", "r", shape=(int(starts[-1]), width))
    return TokenTable(rows, starts)
