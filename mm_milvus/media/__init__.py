"""References to pictures -> encoded bytes -> upright RGB images, with limits on where, how much and how long."""

from mm_milvus.media.decode import decode_image, load_image
from mm_milvus.media.pixels import decode_pixels, load_pixels
from mm_milvus.media.policy import MediaPolicy
from mm_milvus.media.reader import MediaReader
from mm_milvus.media.references import Fetched

__all__ = [
    "Fetched",
    "MediaPolicy",
    "MediaReader",
    "decode_image",
    "decode_pixels",
    "load_image",
    "load_pixels",
]
