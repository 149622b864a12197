"""Downloaded pictures, kept in a folder by their URL. The folder may be deleted at any time; nothing is evicted.

One file per URL, in 256 sub-folders: a line of JSON (the URL, what the host said about it, length and SHA-256 of
the picture), then the picture. Files are written beside their place and renamed, so that several processes can
share the folder; a file that is damaged counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mm_milvus.errors import ConfigError

__all__ = ["Kept", "PictureCache"]

_LONGEST_HEAD = 65_536  # bytes of the first line

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture in the cache. ``final`` is the URL that it came from after redirects; times are Unix times."""

    final: str
    validator: str
    etag: str
    modified: str
    fresh_until: float
    data: bytes

    def fresh(self) -> bool:
        """True if it may be used without asking the host: only where the host has nothing to compare with."""
        return not (self.etag or self.modified) and time.time() < self.fresh_until


class PictureCache:
    """Safe for use by several threads and processes at once. Raises ConfigError where the folder is of no use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise ConfigError(f"cannot write to the folder for pictures {folder}: {reason}") from error

    def load(self, url: str, *, max_bytes: int) -> Kept | None:
        """The picture of ``url``, None where there is none that is whole and not larger than ``max_bytes``."""
        try:
            with open(self._path(url), "rb") as file:
                head = file.readline(_LONGEST_HEAD)
                data = file.read(max_bytes + 1)
        except OSError:
            return None  # not there, or not ours to read: it is downloaded
        return _checked(head, data, url) if len(data) <= max_bytes else None

    def store(self, url: str, kept: Kept) -> None:
        """Keeps a picture. A folder that cannot be written any more costs a warning, once, and nothing else."""
        head = asdict(kept) | {
            "url": url,
            "data": len(kept.data),
            "sha256": hashlib.sha256(kept.data).hexdigest(),
        }
        try:
            _write(self._path(url), json.dumps(head).encode() + b"\n" + kept.data)
        except OSError as error:
            if not self._warned:
                self._warned = True
                _log.warning("pictures are no longer kept in %s: %s", self._folder, error.strerror)

    def _path(self, url: str) -> Path:
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / name[:2] / name[2:]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)  # also after somebody deleted the folder
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _checked(head: bytes, data: bytes, url: str) -> Kept | None:
    try:
        said: Any = json.loads(head)
        if (said["url"], said["data"]) != (url, len(data)):
            return None
        if said["sha256"] != hashlib.sha256(data).hexdigest():
            return None
        words = {name: str(said[name]) for name in ("final", "validator", "etag", "modified")}
        if re.search(r"[^\x20-\x7e\x80-\xff]", "".join(words.values())):
            return None  # no such thing can stand in a header
        return Kept(**words, fresh_until=float(said["fresh_until"]), data=data)
    except (ValueError, KeyError, TypeError):
        return None
