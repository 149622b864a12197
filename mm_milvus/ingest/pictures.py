"""Pictures of one catalog: where they may come from, their bytes, and what becomes of them before the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from mm_milvus.errors import MediaError
from mm_milvus.media import Fetched, MediaPolicy, MediaReader

if TYPE_CHECKING:
    from types import TracebackType

    from mm_milvus.config import Settings

__all__ = ["Pictures", "host_of", "is_url"]


def is_url(reference: str) -> bool:
    return reference.lstrip()[:8].lower().startswith(("http://", "https://"))


def host_of(url: str) -> str:
    """The name of the host, "" where there is no telling: then the download itself says what is wrong."""
    try:
        return (urlsplit(url.strip()).hostname or "").rstrip(".")
    except ValueError:
        return ""


class Pictures:
    """Reads the pictures that a catalog names. Its methods may be called by several threads."""

    def __init__(self, root: Path, settings: Settings) -> None:
        root = root if settings.image_root is None else settings.image_root.expanduser().resolve()
        self._root = root
        roots = (root, *(folder.expanduser() for folder in settings.allow_root))
        policy = MediaPolicy(
            roots=roots,
            allow_private_hosts=settings.allow_private_hosts,
            timeout=settings.url_timeout,
            deadline=settings.url_deadline,
            per_host=settings.per_host,
            cache=settings.picture_cache,
            anew=settings.refetch == "always",
        )
        self._reader = MediaReader(policy)
        self._closed = False

    def __enter__(self) -> Self:
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the downloads that are under way; they fail, and so do later ones."""
        self._closed = True
        self._reader.close()

    def fetch(self, reference: str) -> Fetched:
        """The encoded bytes and, of a URL, the version. Raises MediaError(stage="fetch")."""
        if is_url(reference):
            self._check_open()
        return self._reader.fetch(reference, base=self._root)

    def validator(self, url: str) -> str:
        """What the host says of the version behind a URL, "" for nothing. Raises MediaError when it cannot be asked."""
        self._check_open()
        return self._reader.validator(url)

    def _check_open(self) -> None:
        """The reader would open new connections."""
        if self._closed:
            raise MediaError("the ingest was stopped", stage="fetch")

    def locate(self, reference: str) -> str:
        """Absolute path or URL for display; "" for a data URI."""
        return self._reader.locate(reference, base=self._root)
