"""Where the token vectors of a collection are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mm_milvus.store import is_server

if TYPE_CHECKING:
    from mm_milvus.config import Settings

__all__ = ["home_of"]


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
