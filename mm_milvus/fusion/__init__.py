"""Fusion: image and text vectors of a product become the one vector that is searched."""

from mm_milvus.fusion.base import Fusion, FusionName
from mm_milvus.fusion.functions import blocks, fill_missing, hadamard, normalise, slerp, weighted_sum
from mm_milvus.fusion.head import Head, HeadConfig, HeadKind, is_head, load_head

__all__ = [
    "Fusion",
    "FusionName",
    "Head",
    "HeadConfig",
    "HeadKind",
    "blocks",
    "fill_missing",
    "hadamard",
    "is_head",
    "load_head",
    "normalise",
    "slerp",
    "weighted_sum",
]
