"""Where the token vectors of a collection are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mm_milvus.config import where
from mm_milvus.errors import StoreError
from mm_milvus.late.store import current_build, remove_builds
from mm_milvus.store import is_server

if TYPE_CHECKING:
    from mm_milvus.config import Settings

__all__ = ["drop_tokens", "has_tokens", "home_of", "next_command"]


def home_of(settings: Settings) -> Path:
    """The folder of the collection in ``settings.token_vectors``; else in ``NAME.tokens`` beside the embedded database
    ``NAME``, and for a server in ``mm-milvus.tokens/HOST_PORT`` of the current folder.
    """
    parent = settings.token_vectors
    if parent is None and is_server(settings.uri):
        host = re.sub(r"[^A-Za-z0-9.]+", "_", urlsplit(settings.uri).netloc.rpartition("@")[2])
        parent = Path("mm-milvus.tokens") / host
    elif parent is None:
        database = Path(settings.uri).expanduser()
        parent = database.with_name(f"{database.name}.tokens")
    return Path(parent).expanduser() / settings.collection


def next_command(settings: Settings, *words: str) -> str:
    """``mm-milvus`` with these words, and the options that lead to the collection and its token vectors."""
    folder = ["--token-vectors", str(settings.token_vectors)] if settings.token_vectors is not None else []
    return shlex.join(["mm-milvus", *words, *where(settings), *folder])


def has_tokens(settings: Settings) -> bool:
    """Whether queries to the collection find token vectors."""
    return current_build(home_of(settings)) is not None


def drop_tokens(settings: Settings) -> None:
    """Removes the token vectors of a collection of an embedded database; those of a server may be those of others, too.

    Raises StoreError.
    """
    if is_server(settings.uri):
        return
    home = home_of(settings)
    try:
        remove_builds(home)
    except OSError as error:
        raise StoreError(
            f"cannot remove the token vectors in {str(home)!r}: {error.strerror or error}"
        ) from error
