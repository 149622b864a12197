"""Pictures as a model takes them, decoded once and kept in one file: a training looks at each of them many times."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError, MediaError
from mm_milvus.files import being_replaced, replace_file
from mm_milvus.training.data import View
from mm_milvus.training.encode import version
from mm_milvus.training.views import view_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders import Encoder, Prepared
    from mm_milvus.media import MediaReader

    Ints = npt.NDArray[np.int64]

__all__ = ["PictureFile", "read_pictures"]

_AT_ONCE = 64  # pictures that are in memory while they are read
_ALONE = "picture"  # name of a picture that is one tensor


class PictureFile:
    """Prepared pictures by their place. A place of size 0 is a picture that cannot be read."""

    def __init__(self, path: Path, sizes: Sequence[int]) -> None:
        self.path = path
        self._sizes = np.asarray(sizes, np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """(N,) which pictures there are."""
        return self._sizes > 0

    def load(self, places: Ints) -> list[Prepared]:
        """The pictures at ``places``, which have to be readable. Raises ConfigError for a damaged file."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            with self.path.open("rb") as file:
                found = [load(self._bytes(file.fileno(), int(place))) for place in places]
        except SafetensorError as error:
            raise ConfigError(
                f"the pictures in {str(self.path)!r} are damaged ({error}); delete that file"
            ) from error
        return [one[_ALONE] if set(one) == {_ALONE} else one for one in found]

    def _bytes(self, file: int, place: int) -> bytes:
        return os.pread(file, int(self._sizes[place]), int(self._starts[place]))


def read_pictures(
    views: Sequence[View],
    encoder: Encoder,
    compact: Callable[[Prepared], Prepared],
    reader: MediaReader,
    *,
    base: Path | None,
    cache: Path,
    progress: Callable[[int, int], None],
) -> PictureFile:
    """All ``views`` in a file in the folder ``cache``, or those of the run before; paths are relative to ``base``.

    No more than a few pictures are in memory. ``compact`` as ``encoders.trainable`` gives it.
    """
    spec = encoder.spec
    key = json.dumps([spec.preprocessing, [[*view, version(view[0], base)] for view in views]])
    path = cache / f"pictures-{hashlib.sha256(key.encode()).hexdigest()[:24]}.bin"
    index = path.with_suffix(".json")
    if (kept := _sizes(path, index, len(views))) is not None:
        return PictureFile(path, kept)

    def prepared(view: View) -> bytes:
        try:
            return _packed(compact(encoder.prepare(view_of(*view, reader, base, encoder.smallest_side))))
        except MediaError:
            return b""

    sizes: list[int] = []
    with being_replaced(path) as file, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for part in _parts(views):
            for content in pool.map(prepared, part):
                file.write(content)
                sizes.append(len(content))
            progress(len(sizes), len(views))
    replace_file(index, json.dumps(sizes))
    return PictureFile(path, sizes)


def _sizes(path: Path, index: Path, count: int) -> list[int] | None:
    """Of ``count`` pictures in the file at ``path``; None where one of both files is not there, or damaged."""
    try:
        sizes = json.loads(index.read_text())
        fits = len(sizes) == count and all(type(size) is int and size >= 0 for size in sizes)
        return sizes if fits and path.stat().st_size == sum(sizes) else None
    except (OSError, ValueError, TypeError):
        return None


def _parts(views: Sequence[View]) -> Iterable[Sequence[View]]:
    return (views[start : start + _AT_ONCE] for start in range(0, len(views), _AT_ONCE))


def _packed(picture: Prepared) -> bytes:
    from safetensors.torch import save

    tensors: dict[str, Any] = {_ALONE: picture} if not hasattr(picture, "items") else dict(picture)
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})
