"""Late interaction (ColBERT) as a reranker: token vectors through a trained projection, compared exactly.

maxsim       the formula
projection   token vectors of an encoder -> short ones; trained, kept in a folder
codec        as bytes: half precision, or 2 bits a dimension
lists        the same as embedding lists of a server
store        the tokens of a collection's products in a folder
place        where that folder is
build        makes and refreshes it
rerank       the best products of a query, once more

Importing it loads no torch.
"""

from mm_milvus.late.build import BuildOptions, TokensReport, build_tokens, make_tokens, product_tokens
from mm_milvus.late.codec import CODECS, CodecName
from mm_milvus.late.maxsim import QueryTokens, joined, maxsim, maxsim_of
from mm_milvus.late.place import drop_tokens, has_tokens, home_of, next_command
from mm_milvus.late.projection import (
    DIM,
    KIND,
    WEIGHTS_FILE,
    Projection,
    ProjectionConfig,
    load_projection,
)
from mm_milvus.late.rerank import LateInteraction, reranker_of

__all__ = [
    "CODECS",
    "DIM",
    "KIND",
    "WEIGHTS_FILE",
    "BuildOptions",
    "CodecName",
    "LateInteraction",
    "Projection",
    "ProjectionConfig",
    "QueryTokens",
    "TokensReport",
    "build_tokens",
    "drop_tokens",
    "has_tokens",
    "home_of",
    "joined",
    "load_projection",
    "make_tokens",
    "maxsim",
    "maxsim_of",
    "next_command",
    "product_tokens",
    "reranker_of",
]
