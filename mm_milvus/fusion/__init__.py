"""Fusion: image and text vectors of a product become the one vector that is searched."""

from mm_milvus.fusion.base import UNTRAINED, Fusion, FusionName
from mm_milvus.fusion.functions import blocks, fill_missing, hadamard, normalise, slerp, weighted_sum
from mm_milvus.fusion.head import Head, HeadConfig, HeadKind, load_head

__all__ = [
    "UNTRAINED",
    "Fusion",
    "FusionName",
    "Head",
    "HeadConfig",
    "HeadKind",
    "blocks",
    "fill_missing",
    "hadamard",
    "load_head",
    "normalise",
    "slerp",
    "weighted_sum",
]
