"""Texts and pictures -> unit vectors. Importing this package loads no torch; an encoder does when it is made."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mm_milvus.encoders.base import DefaultWeights, Encoder, EncoderSpec, Prepared, QueryTexts
from mm_milvus.encoders.batches import finite
from mm_milvus.encoders.registry import (
    EncoderFamily,
    describe_encoders,
    load_encoder,
    load_query_texts,
    load_replicas,
)
from mm_milvus.encoders.tokens import TokenEncoder, TokenSpec, token_encoder

if TYPE_CHECKING:
    from mm_milvus.encoders.dual import DualEncoder
    from mm_milvus.encoders.offline import OfflineEncoder
    from mm_milvus.encoders.towers import TowersEncoder

__all__ = [
    "DefaultWeights",
    "DualEncoder",
    "Encoder",
    "EncoderFamily",
    "EncoderSpec",
    "OfflineEncoder",
    "Prepared",
    "QueryTexts",
    "TokenEncoder",
    "TokenSpec",
    "TowersEncoder",
    "describe_encoders",
    "finite",
    "load_encoder",
    "load_query_texts",
    "load_replicas",
    "token_encoder",
]

_LAZY = {"DualEncoder": "dual", "OfflineEncoder": "offline", "TowersEncoder": "towers"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
