"""Fusion: image and text vectors of a product become the one vector that is searched."""

from mm_milvus.fusion.base import Fusion, FusionName
from mm_milvus.fusion.functions import blocks, fill_missing, hadamard, normalise, slerp, weighted_sum

__all__ = ["Fusion", "FusionName", "blocks", "fill_missing", "hadamard", "normalise", "slerp", "weighted_sum"]
