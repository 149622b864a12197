"""How well the products are found: queries with their relevant products, metrics, comparisons, tuning.

queries        a file -> questions, and what of it cannot be used
variants       "hybrid", "alpha=.3", "collection=NAME" -> a way to ask
run            questions and variants -> ranked ids and times
measures       ranked ids -> metrics, by ir-measures
slices         the same for parts of the queries
evaluate       all of it behind ``evaluate``
tune           alpha and weights for a shop's own queries
"""

from mm_milvus.evaluation.evaluate import evaluate
from mm_milvus.evaluation.measures import DEFAULT_METRICS
from mm_milvus.evaluation.queries import load_queries
from mm_milvus.evaluation.records import (
    Evaluation,
    Judged,
    Question,
    Questions,
    Score,
    Slice,
    Tuned,
    Tuning,
    VariantResult,
)
from mm_milvus.evaluation.tune import tune
from mm_milvus.evaluation.variants import Variant, parse_variant

__all__ = [
    "DEFAULT_METRICS",
    "Evaluation",
    "Judged",
    "Question",
    "Questions",
    "Score",
    "Slice",
    "Tuned",
    "Tuning",
    "Variant",
    "VariantResult",
    "evaluate",
    "load_queries",
    "parse_variant",
    "tune",
]
