"""Compressed token vectors of a collection's products, in a folder of their own.

    FOLDER/current              names the build that queries read
    FOLDER/BUILD/               one projection, one codec: projection, codec, manifest.json
    FOLDER/BUILD/000001.bin     a segment: rows of tokens, product after product; mapped into memory
    FOLDER/BUILD/000001.json    its ids, the state of each product then, and how many tokens of text and picture it has

A segment is written once, then named in the manifest, which is replaced in one step: what a killed build left behind
is not named, and nothing that is read ever changes. Of a product in several segments the last one counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import FusionError
from mm_milvus.files import replace_file
from mm_milvus.late.codec import CodecName, load_codec
from mm_milvus.late.projection import Projection, load_projection

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.late.codec import Codec
    from mm_milvus.store import Stored

    Array = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

__all__ = [
    "LOCK",
    "Build",
    "Entry",
    "Manifest",
    "current_build",
    "open_build",
    "partial",
    "read_manifest",
    "remove_builds",
    "start_build",
    "state_of",
]

CURRENT = "current"
LOCK = "lock"  # see ``lock``
MANIFEST = "manifest.json"
_VERSION = 1
_PARTIAL = "!"  # before the state of a product of which something could not be encoded
_NAME = re.compile(r"[0-9a-f]+-[a-z0-9]+-\d+")  # of a build, see Manifest.name


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a build is, and which of its segments count, oldest first."""

    projection: str  # fingerprint
    codec: CodecName
    number: int  # of the build; a higher one was asked to begin anew
    segments: tuple[str, ...] = ()
    version: int = _VERSION

    @property
    def name(self) -> str:
        return f"{self.projection.removeprefix('fp:')}-{self.codec}-{self.number}"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the tokens of a product are: ``texts`` rows of its text, then ``images`` of its picture."""

    segment: str
    start: int
    texts: int
    images: int
    state: str  # of the product when they were made, see ``state_of`` and ``partial``

    def is_of(self, state: str) -> bool:
        """Whether these are the tokens of a product in that state, as far as it could be encoded."""
        return self.state.removeprefix(_PARTIAL) == state


def state_of(row: Stored) -> str:
    """Changes with what a product's tokens are made of: its pictures and its embedded text."""
    return hashlib.blake2b(f"{row.image_hash}\0{row.text_hash}".encode(), digest_size=8).hexdigest()


def partial(state: str) -> str:
    """The state of a product of which something could not be encoded: to be tried again."""
    return _PARTIAL + state


class Build:
    """Tokens of one projection in one codec. Opened by ``open_build`` and ``start_build``."""

    def __init__(self, folder: Path, manifest: Manifest, projection: Projection, codec: Codec) -> None:
        """Raises FusionError for damaged files."""
        self.folder = folder
        self.manifest = manifest
        self.projection = projection
        self.codec = codec
        self.entries: dict[str, Entry] = {}
        self._rows: dict[str, npt.NDArray[np.uint8]] = {}
        for segment in manifest.segments:
            self._read(segment)

    def _read(self, segment: str) -> None:
        try:
            listed = json.loads((self.folder / f"{segment}.json").read_bytes())
            counts = np.array([listed["texts"], listed["images"]], np.int64)
            starts = np.concatenate([[0], counts.sum(axis=0).cumsum()])
            self._rows[segment] = _mapped(self.folder / f"{segment}.bin", int(starts[-1]), self.codec.row)
            self.entries |= {
                id: Entry(segment, int(starts[n]), int(counts[0, n]), int(counts[1, n]), listed["states"][n])
                for n, id in enumerate(listed["ids"])
            }
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise FusionError(
                f"the token vectors in {str(self.folder)!r} are damaged ({error}); make them again with --rebuild"
            ) from error

    def __len__(self) -> int:
        """Products that have tokens."""
        return sum(bool(entry.texts + entry.images) for entry in self.entries.values())

    @property
    def size(self) -> int:
        """Bytes of all rows, those of replaced products too."""
        return sum(rows.nbytes for rows in self._rows.values())

    def count(self, id: str) -> int:
        """How many tokens a product has."""
        entry = self.entries.get(id)
        return entry.texts + entry.images if entry else 0

    def tokens(self, ids: Sequence[str]) -> tuple[Array, Ints]:
        """The tokens of products one after the other, (sum of counts, dim) float32, and how many each has, (N,)."""
        entries = [self.entries.get(id) for id in ids]
        parts = [
            self._rows[entry.segment][entry.start : entry.start + entry.texts + entry.images]
            for entry in entries
            if entry is not None
        ]
        counts = np.array([self.count(id) for id in ids], np.int64)
        rows = np.concatenate(parts) if parts else np.empty((0, self.codec.row), np.uint8)
        return self.codec.decode(rows), counts

    # --- writing -------------------------------------------------------------------------------------------

    def append(self, products: Sequence[tuple[str, str, Array, Array]]) -> None:
        """Adds a segment of (id, state, projected tokens of the text, of the picture) and makes it count."""
        vectors = [part for _, _, text, image in products for part in (text, image)]
        rows = self.codec.encode(np.concatenate(vectors))
        listed = {
            "ids": [id for id, _, _, _ in products],
            "states": [state for _, state, _, _ in products],
            "texts": [len(text) for _, _, text, _ in products],
            "images": [len(image) for _, _, _, image in products],
        }
        self._add(rows.tobytes(), listed, self.manifest.segments)

    def _add(self, rows: bytes, listed: dict[str, Any], others: tuple[str, ...]) -> None:
        """A segment beside the ``others`` that go on counting."""
        segments = self.manifest.segments
        segment = f"{int(segments[-1]) + 1 if segments else 1:06d}"
        replace_file(self.folder / f"{segment}.bin", rows)
        replace_file(self.folder / f"{segment}.json", json.dumps(listed, ensure_ascii=False))
        self.manifest = replace(self.manifest, segments=(*others, segment))
        _write_manifest(self.folder, self.manifest)
        self._read(segment)

    def compact(self, living: set[str]) -> None:
        """Everything that counts of the ``living`` into one segment, where less than half of the rows do."""
        kept = {id: entry for id, entry in self.entries.items() if id in living}
        used = sum(entry.texts + entry.images for entry in kept.values()) * self.codec.row
        if used * 2 >= self.size and len(kept) * 2 >= len(self.entries):
            return
        old = self.manifest.segments
        rows = b"".join(
            self._rows[entry.segment][entry.start : entry.start + entry.texts + entry.images].tobytes()
            for entry in kept.values()
        )
        listed = {
            "ids": list(kept),
            "states": [entry.state for entry in kept.values()],
            "texts": [entry.texts for entry in kept.values()],
            "images": [entry.images for entry in kept.values()],
        }
        self.entries, self._rows = {}, {}
        self._add(rows, listed, ())
        for name in old:  # open readers keep what they have mapped
            (self.folder / f"{name}.bin").unlink(missing_ok=True)
            (self.folder / f"{name}.json").unlink(missing_ok=True)

    def publish(self) -> None:
        """Lets queries read this build, and removes the others."""
        home = self.folder.parent
        replace_file(home / CURRENT, self.folder.name)
        for other in _builds(home):
            if other != self.folder:
                shutil.rmtree(other)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    replace_file(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")


def _mapped(path: Path, rows: int, width: int) -> npt.NDArray[np.uint8]:
    """(rows, width) bytes of a file, which are read when they are asked for."""
    if path.stat().st_size != rows * width:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, and {rows * width:,} were written")
    if not rows:  # nothing can be mapped of an empty file
        return np.empty((0, width), np.uint8)
    return np.memmap(path, np.uint8, "r", shape=(rows, width))


def _builds(home: Path) -> Iterator[Path]:
    return (path for path in home.iterdir() if (path / MANIFEST).is_file())


def current_build(home: Path) -> Path | None:
    """The folder of the build that queries read; None where nothing names one."""
    try:
        name = (home / CURRENT).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return home / name if _NAME.fullmatch(name) else None


def remove_builds(home: Path) -> bool:
    """Removes all token vectors in ``home``, and whether there were any. What is not ours stays, and so does a folder
    that holds such. Raises OSError.
    """
    if not home.is_dir():
        return False
    ours = [path for path in home.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    (home / CURRENT).unlink(missing_ok=True)  # first: a query then finds none, and not half of them
    for path in ours:
        shutil.rmtree(path)
    (home / LOCK).unlink(missing_ok=True)
    for folder in (home, home.parent):
        if any(folder.iterdir()):
            break
        folder.rmdir()
    return bool(ours)


def read_manifest(folder: Path) -> Manifest:
    """Raises FusionError for one that is missing, damaged or of a newer version."""
    try:
        values = json.loads((folder / MANIFEST).read_bytes())
        manifest = Manifest(**values | {"segments": tuple(values["segments"])})
        newer = manifest.version > _VERSION
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FusionError(f"the token vectors in {str(folder)!r} are damaged: {error}") from error
    if newer:
        raise FusionError(f"the token vectors in {str(folder)!r} are of a newer version; upgrade mm-milvus")
    return manifest


def open_build(folder: Path) -> Build:
    """Raises FusionError for what is missing, damaged or of a newer version."""
    manifest = read_manifest(folder)
    projection, _ = load_projection(folder)
    return Build(folder, manifest, projection, load_codec(manifest.codec, projection.config.dim, folder))


def start_build(home: Path, manifest: Manifest, projection: Projection, codec: Codec) -> Build:
    """A build without tokens. The manifest is written last: without it a folder is nothing."""
    folder = home / manifest.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    projection.save(folder)
    codec.save(folder)
    _write_manifest(folder, manifest)
    return Build(folder, manifest, projection, codec)


def stamp_of(home: Path) -> tuple[Any, ...]:
    """Changes whenever there is something new to read."""
    folder = current_build(home)
    try:
        return (folder, os.stat(folder / MANIFEST).st_mtime_ns) if folder else ()
    except OSError:
        return ()
