"""One way to the bytes of a picture, wherever the reference points."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mm_milvus.errors import MediaError
from mm_milvus.media.cache import PictureCache
from mm_milvus.media.files import read_local
from mm_milvus.media.policy import MediaPolicy
from mm_milvus.media.references import Fetched, classify, read_data_uri, without_credentials

if TYPE_CHECKING:
    from mm_milvus.media.download import Downloader

__all__ = ["MediaReader"]


class MediaReader:
    """Reads encoded pictures within the limits of ``policy``; safe for use by several threads at once.

    Connections are opened when the first URL is read and closed with the reader:

        with MediaReader(MediaPolicy(roots=(folder,))) as reader:
            data = reader.read("images/shoe.jpg", base=folder)
    """

    def __init__(self, policy: MediaPolicy | None = None) -> None:
        """Raises ConfigError where the folder that keeps pictures cannot be written."""
        self.policy = policy or MediaPolicy()
        self._roots = tuple(Path(os.path.realpath(root)) for root in self.policy.roots)
        # The folder is opened at once, so that one that cannot be used is found before the first picture.
        self._cache = None if self.policy.cache is None else PictureCache(self.policy.cache)
        self._lock = threading.Lock()
        self._downloader: Downloader | None = None

    def __enter__(self) -> MediaReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Downloads that run in other threads fail with MediaError within about a second;
        a later read of a URL opens new connections."""
        with self._lock:
            downloader, self._downloader = self._downloader, None
        if downloader is not None:
            downloader.close()

    def read(self, reference: str | bytes | os.PathLike[str], *, base: Path | None = None) -> bytes:
        """The encoded picture behind a path (relative to ``base``), an http(s) URL, a data URI, or as given.

        Raises MediaError with stage ``"fetch"`` and one line that names the reference.
        """
        return self.fetch(reference, base=base).data

    def fetch(self, reference: str | bytes | os.PathLike[str], *, base: Path | None = None) -> Fetched:
        """As ``read``, with the validator that the host of a URL gave; "" for everything that is no URL."""
        if isinstance(reference, bytes | bytearray | memoryview):
            return Fetched(self._given(bytes(reference)), "")
        found = classify(reference)
        if found.kind == "url":
            return self._open_downloader().fetch(found.text)
        if found.kind == "data":
            return Fetched(read_data_uri(found.text, max_bytes=self.policy.max_bytes), "")
        data = read_local(found.text, base=base, roots=self._roots, max_bytes=self.policy.max_bytes)
        return Fetched(data, "")

    def validator(self, reference: str | bytes | os.PathLike[str]) -> str:
        """The validator that the host of a URL gives now, without the picture; "" where there is none.

        It equals the one of ``fetch`` as long as the content behind the URL is the same. Raises MediaError
        with stage ``"fetch"`` where the host cannot be asked.
        """
        if isinstance(reference, bytes | bytearray | memoryview):
            return ""
        found = classify(reference)
        return self._open_downloader().validator(found.text) if found.kind == "url" else ""

    def locate(self, reference: str | bytes | os.PathLike[str], *, base: Path | None = None) -> str:
        """Where the picture is, for display: an absolute path or a URL, "" for data URIs and bytes.

        Nothing is opened; a reference that cannot be read gives "" as well.
        """
        if isinstance(reference, bytes | bytearray | memoryview):
            return ""
        try:
            found = classify(reference)
        except MediaError:
            return ""  # read() says why
        if found.kind == "url":
            return without_credentials(found.text)
        if found.kind == "data":
            return ""
        path = os.path.abspath(os.path.join(base or "", found.text))
        return path.encode("utf-8", "replace").decode("utf-8")  # names that are not UTF-8 cannot be stored

    def _given(self, data: bytes) -> bytes:
        if not data:
            raise MediaError("the picture is empty (0 bytes)", stage="fetch")
        if len(data) > self.policy.max_bytes:
            raise MediaError(f"{len(data)} bytes, larger than {self.policy.max_bytes}", stage="fetch")
        return data

    def _open_downloader(self) -> Downloader:
        with self._lock:
            if self._downloader is None:
                from mm_milvus.media.download import Downloader

                self._downloader = Downloader(self.policy, self._cache)
            return self._downloader
