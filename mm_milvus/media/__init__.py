"""References to pictures -> encoded bytes -> upright RGB images, with limits on where, how much and how long."""

from mm_milvus.media.decode import decode_image, load_image
from mm_milvus.media.policy import MediaPolicy
from mm_milvus.media.reader import MediaReader

__all__ = ["MediaPolicy", "MediaReader", "decode_image", "load_image"]
