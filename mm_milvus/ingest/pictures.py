"""Pictures of one catalog: where they may come from, and how much of a huge one is worth keeping in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from mm_milvus.media import MediaPolicy, MediaReader, decode_image

if TYPE_CHECKING:
    from types import TracebackType

    from PIL.Image import Image

    from mm_milvus.config import Settings

__all__ = ["Pictures", "is_url"]

_ENOUGH = 1_024  # pixels of the short side; encoders look at 224 to 512


def is_url(reference: str) -> bool:
    return reference[:8].lower().startswith(("http://", "https://"))


class Pictures:
    """Reads and decodes the pictures that a catalog names. Its methods may be called by several threads."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._root = root
        roots = (root, *(folder.expanduser() for folder in settings.allow_root))
        self._reader = MediaReader(MediaPolicy(roots=roots, allow_private_hosts=settings.allow_private_hosts))

    def __enter__(self) -> Self:
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def read(self, reference: str) -> bytes:
        """The encoded bytes. Raises MediaError(stage="fetch")."""
        return self._reader.read(reference, base=self._root)

    def locate(self, reference: str) -> str:
        """Absolute path or URL for display; "" for a data URI."""
        return self._reader.locate(reference, base=self._root)

    @staticmethod
    def decode(data: bytes) -> Image:
        """An RGB picture; a huge one is reduced by a whole factor, so that a batch has a bounded size.

        Raises MediaError(stage="decode").
        """
        image = decode_image(data)
        factor = min(image.size) // _ENOUGH
        return image.reduce(factor) if factor > 1 else image
