"""Pictures on the local disk: only regular files, only inside the allowed folders, only up to a size."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from mm_milvus.errors import MediaError
from mm_milvus.media.references import show

__all__ = ["read_local"]

# A FIFO must not block the open, and a link must not be swapped in after the check; Windows has neither.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def read_local(name: str, *, base: Path | None, roots: Sequence[Path], max_bytes: int) -> bytes:
    """The bytes of the file ``name``, which is relative to ``base`` (default: the working directory).

    ``roots`` are real paths (without links). Raises MediaError with the name as it was written.
    """
    if "\0" in name:
        raise MediaError(f"the path contains a NUL character: {show(name)}", stage="fetch")
    path = os.path.join(base or "", name)
    try:
        real = Path(os.path.realpath(path))
        # First the folder, then the file: a path outside must not tell whether something is there.
        if roots and not any(real.is_relative_to(root) for root in roots):
            raise MediaError(f"leaves the catalog's folder; use --allow-root: {show(name)}", stage="fetch")
        return _read_regular(real, name, max_bytes)
    except (OSError, UnicodeError) as error:
        raise MediaError(_reason(error, name), stage="fetch") from error


def _read_regular(path: Path, name: str, max_bytes: int) -> bytes:
    _check(os.stat(path), name, max_bytes)  # before the open, which alone can already act on a device
    descriptor = os.open(path, _OPEN_FLAGS)
    with open(descriptor, "rb", buffering=0) as file:
        _check(os.fstat(descriptor), name, max_bytes)
        data = _read_all(file.fileno(), max_bytes)
    if len(data) > max_bytes:
        raise MediaError(f"larger than {max_bytes} bytes: {show(name)}", stage="fetch")
    if not data:
        raise MediaError(f"the file is empty: {show(name)}", stage="fetch")
    return data


def _read_all(descriptor: int, max_bytes: int) -> bytes:
    """At most one byte more than allowed, also where the size on record was wrong."""
    data = bytearray()
    while len(data) <= max_bytes and (block := os.read(descriptor, min(1 << 20, max_bytes + 1 - len(data)))):
        data += block
    return bytes(data)


def _check(status: os.stat_result, name: str, max_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(f"is a folder, not a file: {show(name)}", stage="fetch")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"is not a regular file: {show(name)}", stage="fetch")
    if status.st_size > max_bytes:
        raise MediaError(f"{status.st_size} bytes, larger than {max_bytes}: {show(name)}", stage="fetch")


def _reason(error: OSError | UnicodeError, name: str) -> str:
    if isinstance(error, (FileNotFoundError, NotADirectoryError, UnicodeError)):
        return f"no such file: {show(name)}"
    if isinstance(error, PermissionError):
        return f"no permission to read the file: {show(name)}"
    return f"cannot read the file ({(error.strerror or 'unknown error').lower()}): {show(name)}"
