"""The query layer: signals -> candidates of each route -> one order -> a page of hits.

check                   what a query may ask
cache, compose, bridge  signals -> the query vector
words, indexes          BM25 and counts in this process, for what Milvus cannot do
routes                  by vector, by words, or both: candidates and their scores
relevance               which of them are near enough
boost, order, facets    what a shop knows of its products; sorting, groups, pages; counts of values
cursor                  where a page ended
run                     all of it behind ``Searcher``
"""

from mm_milvus.search.compose import compose, weigh
from mm_milvus.search.run import Searcher
from mm_milvus.search.words import WordIndex

__all__ = ["Searcher", "WordIndex", "compose", "weigh"]
