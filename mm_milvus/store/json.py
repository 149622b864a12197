"""Values as the JSON that Milvus stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["dump_json", "without_nulls"]


def dump_json(value: Any) -> bytes:
    """UTF-8 without blanks, as pymilvus writes it. Raises TypeError for what JSON cannot hold."""
    import orjson  # comes with pymilvus, which writes its JSON with it

    return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def without_nulls(value: Any) -> Any:
    """JSON without the keys that are null: to some servers such a key exists, to others it is missing."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
