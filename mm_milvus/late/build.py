"""Token vectors of all products of a collection: only what is new or has changed is encoded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.encoders import token_encoder
from mm_milvus.errors import ConfigError, FusionError, MediaError
from mm_milvus.late.codec import CODECS, Half, fit_residual
from mm_milvus.late.lists import upload, version_of
from mm_milvus.late.lock import exclusive
from mm_milvus.late.place import home_of
from mm_milvus.late.projection import KIND, load_projection
from mm_milvus.late.store import (
    Build,
    Manifest,
    current_build,
    open_build,
    partial,
    read_manifest,
    start_build,
    state_of,
)
from mm_milvus.media import MediaPolicy, MediaReader, load_pixels
from mm_milvus.store import TokenLists

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.config import Settings
    from mm_milvus.encoders import Encoder, TokenEncoder
    from mm_milvus.late.codec import CodecName
    from mm_milvus.late.projection import Projection
    from mm_milvus.records import Hit
    from mm_milvus.store import Collection

    Array = npt.NDArray[np.float32]
    Made = tuple[str, str, Array, Array]  # id, state, tokens of the text and of the picture

__all__ = ["BuildOptions", "TokensReport", "build_tokens", "make_tokens", "product_tokens"]

_SEGMENT = 1_024  # products: what a kill loses at most
_STEP = 64  # products encoded between two reports of progress
_SAMPLE = 2_048  # products that a codec is fitted to
_READERS = 4


@dataclass(frozen=True, slots=True)
class TokensReport:
    """What ``mm-milvus tokens`` did."""

    collection: str
    folder: str
    codec: str
    products: int  # of the collection
    encoded: int
    unchanged: int
    without: int  # products that have no tokens
    unreadable: (
        int  # pictures that could not be read, of products that were encoded; they are tried again next time
    )
    bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How tokens are made."""

    codec: CodecName | None = None  # None: that of the tokens there are, else fp16
    rebuild: bool = False  # encode everything again
    in_milvus: bool = False  # also write them as embedding lists of the server, which then compares them


def build_tokens(
    trained: str | os.PathLike[str] | None,
    collection: Collection,
    encoder: Encoder,
    reader: MediaReader,
    home: Path,
    options: BuildOptions,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> TokensReport:
    """Makes the tokens in ``home`` those of the collection, by the projection in the folder ``trained``, or by that of
    the tokens that are there.

    A run that was killed goes on when it is repeated, and queries read the old tokens until a new build is complete.
    Raises FusionError, NotSupported (an encoder without token vectors, a Milvus without embedding lists), ConfigError,
    EncoderError and StoreError.
    """
    began = time.perf_counter()
    projection, fingerprint = _projection(trained, home)
    collection.stamp.check_encoder(encoder.spec, collection.name)
    tokens = token_encoder(encoder)
    projection.check(tokens)
    lists = TokenLists(collection, projection.config.dim) if options.in_milvus else None
    states = {row.id: state_of(row) for row in collection.scan()}
    if not states:
        raise ConfigError(f"{collection.name!r} has no products")
    maker = _Maker(projection, collection, tokens, reader)
    manifest = _manifest(home, fingerprint, options.codec, options.rebuild)
    build = _continued(home, manifest, options.rebuild)
    before = version_of(build) if build else ""
    made: list[Made] = []
    if build is None:
        ids = list(states)
        sample = ids[:: -(-len(ids) // _SAMPLE)] if manifest.codec != "fp16" else []
        for page in _pages(sample, _STEP):
            made += maker(page, states)
            progress(maker.encoded, len(states))
        build = _started(home, manifest, projection, made, len(states) / max(len(sample), 1))
    known = {id for id, _, _, _ in made}
    pending = [id for id, state in states.items() if id not in known and not _has(build, id, state)]
    total = len(pending) + len(made)
    changed = [*known, *pending, *(id for id in build.entries if id not in states)]
    for page in _pages(pending, _STEP):
        made += maker(page, states)
        progress(maker.encoded, total)
        if len(made) >= _SEGMENT:
            build.append(made)
            made = []
    if made:
        build.append(made)
    build.compact(set(states))
    build.publish()
    if lists is not None:
        upload(build, lists, states, changed, before)
    without = sum(not build.count(id) for id in states)
    return TokensReport(
        collection.name, str(build.folder), manifest.codec, len(states), maker.encoded, len(states) - total,
        without, maker.unreadable, build.size, round(time.perf_counter() - began, 1),
    )  # fmt: skip


def _projection(trained: str | os.PathLike[str] | None, home: Path) -> tuple[Projection, str]:
    """The projection in ``trained``, else that of the tokens in ``home``, and its fingerprint."""
    if trained is not None:
        return load_projection(trained)
    folder = current_build(home)
    if folder is None:
        raise ConfigError(
            f"there are no token vectors in {str(home)!r} yet: say by which reranker to make them, mm-milvus tokens "
            f"FOLDER being what mm-milvus train --fusion {KIND} has written"
        )
    return load_projection(folder)[0], read_manifest(folder).projection


def make_tokens(
    trained: str | os.PathLike[str] | None = None,
    shop: Settings | None = None,
    *,
    codec: CodecName | None = None,
    rebuild: bool = False,
    in_milvus: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> TokensReport:
    """``build_tokens`` for the collection of ``shop``; without it ``mm-milvus.toml`` and ``MM_MILVUS_*`` count.

    Without ``trained`` the tokens that there are become those of the products as they are now.
    See ``BuildOptions`` for the options.
    """
    from mm_milvus.config import load_settings
    from mm_milvus.encoders import load_encoder
    from mm_milvus.store import Store

    shop = shop or load_settings()
    home = home_of(shop)
    _projection(trained, home)  # what is no such folder shows before anything is opened
    policy = MediaPolicy(allow_private_hosts=shop.allow_private_hosts)
    with Store(shop) as store, MediaReader(policy) as reader:
        collection = store.open(shop.collection)
        name = collection.stamp.encoder_name(shop.encoder, shop.collection)
        encoder = load_encoder(name, device=shop.device, dtype=shop.dtype, compile=shop.compile)
        options = BuildOptions(codec, rebuild, in_milvus)
        with exclusive(home):
            return build_tokens(trained, collection, encoder, reader, home, options, progress)


def _has(build: Build, id: str, state: str) -> bool:
    return (entry := build.entries.get(id)) is not None and entry.state == state


def _manifest(home: Path, fingerprint: str, codec: CodecName | None, rebuild: bool) -> Manifest:
    """Of the build that is to be: the number goes up with each one that was asked for."""
    folder = current_build(home)
    name = folder.name if folder else ""
    old, _, number = name.rpartition("-")
    if codec is None:
        codec = next((known for known in CODECS if old.endswith(f"-{known}")), "fp16")
    if codec not in CODECS:
        raise ConfigError(f"the codec is one of {', '.join(CODECS)}, not {codec!r}")
    manifest = Manifest(fingerprint, codec, int(number) if number.isdigit() else 1)
    if rebuild and manifest.name == name:
        return Manifest(fingerprint, codec, manifest.number + 1)
    return manifest


def _continued(home: Path, manifest: Manifest, rebuild: bool) -> Build | None:
    """The build of this name, where there is one: complete, or left by a run that was killed."""
    folder = home / manifest.name
    if not folder.is_dir():
        return None
    try:
        return open_build(folder)
    except FusionError:
        if rebuild or folder != current_build(home):
            return None
        raise


def _started(
    home: Path, manifest: Manifest, projection: Projection, made: Sequence[Made], share: float
) -> Build:
    """``made`` are the products that a codec is fitted to; all of them are ``share`` times as many."""
    if manifest.codec == "fp16":
        return start_build(home, manifest, projection, Half(projection.config.dim))
    sample = np.concatenate([part for _, _, text, image in made for part in (text, image)])
    if not len(sample):
        raise ConfigError("none of the products has a text or a picture with tokens")
    codec = fit_residual(sample, int(len(sample) * share))
    return start_build(home, manifest, projection, codec)


def _pages(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    return (list(ids[start : start + size]) for start in range(0, len(ids), size))


class _Maker:
    """Products -> projected tokens."""

    def __init__(
        self, projection: Projection, collection: Collection, encoder: TokenEncoder, reader: MediaReader
    ) -> None:
        self._projection = projection
        self._collection = collection
        self._encoder = encoder
        self._reader = reader
        self.encoded = self.unreadable = 0

    def __call__(self, ids: Sequence[str], states: dict[str, str]) -> list[Made]:
        hits = self._collection.get(ids, ("text",))
        texts, images, failed = product_tokens(hits, self._encoder, self._reader)
        self.encoded += len(ids)
        self.unreadable += len(failed)
        project = self._projection
        made_of = states | {id: partial(states[id]) for id in failed}
        return [
            (hit.id, made_of[hit.id], project.text(text), project.image(image))
            for hit, text, image in zip(hits, texts, images, strict=True)
        ]


def product_tokens(
    hits: Sequence[Hit], encoder: TokenEncoder, reader: MediaReader
) -> tuple[list[Array], list[Array], dict[str, str]]:
    """Raw tokens of the texts and of the first pictures of products, and why pictures could not be read, by id.

    ``hits`` have the attribute ``text``, which is what was embedded. A product without a picture has (0, D) of it.
    """
    failed: dict[str, str] = {}

    def prepared(hit: Hit) -> Any:
        if not hit.image:
            return None
        try:
            return encoder.prepare(load_pixels(hit.image, reader=reader, smallest=encoder.smallest_side))
        except MediaError as error:
            failed[hit.id] = str(error)
            return None

    with ThreadPoolExecutor(_READERS) as pool:
        pictures = list(pool.map(prepared, hits))
    seen = [place for place, picture in enumerate(pictures) if picture is not None]
    images: list[Array] = [np.empty((0, encoder.token_spec.image_dim), np.float32)] * len(hits)
    found = encoder.encode_prepared_tokens([pictures[place] for place in seen])
    for place, tokens in zip(seen, found, strict=True):
        images[place] = tokens
    return encoder.encode_text_tokens([hit.attributes.get("text") or "" for hit in hits]), images, failed
