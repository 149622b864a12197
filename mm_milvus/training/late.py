"""A training of late interaction from end to end, on the same pairs and with the same loop as that of a fusion.

The encoder is frozen. What is trained reorders the products nearest by the collection's own vectors, so these are what
it is measured by, and where its hard negatives come from.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.fusion import HeadConfig
from mm_milvus.late import DIM, KIND, ProjectionConfig, load_projection
from mm_milvus.training.advice import advised
from mm_milvus.training.data import DEV, TEST, TRAIN, Labels, read_products
from mm_milvus.training.folder import CACHE, CHECKPOINT, save
from mm_milvus.training.measure import grades_of, mean_of, ndcgs
from mm_milvus.training.report import judged, report_of
from mm_milvus.training.settings import Step, TrainReport, TrainSettings
from mm_milvus.training.source import collection_encoder, encoded_queries, identity_of, read_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mm_milvus.config import Settings
    from mm_milvus.encoders import EncoderSpec, TokenEncoder
    from mm_milvus.late import Projection
    from mm_milvus.media import MediaReader
    from mm_milvus.records import Rejected
    from mm_milvus.store import Collection
    from mm_milvus.training.data import Products, Queries
    from mm_milvus.training.late_model import LateModel
    from mm_milvus.training.late_tokens import LateInputs
    from mm_milvus.training.measure import Scores

    Ints = npt.NDArray[np.int64]
    Progress = Callable[[Step], None]

__all__ = ["CANDIDATES", "train_late"]

CANDIDATES = 100  # what a query reranks by default


@dataclass(eq=False)
class _LateTask:
    """What the loop needs, and what is told of it afterwards."""

    model: LateModel
    inputs: LateInputs
    labels: Labels
    near: Ints  # (Q, CANDIDATES)
    pool: Ints | None
    twins: Ints
    products: int
    rejects: list[Rejected]
    unknown_products: int
    identity: str
    kind: str = KIND
    shared: bool = True

    @property
    def config(self) -> ProjectionConfig:
        return self.model.config


def train_late(settings: TrainSettings, shop: Settings, told: Progress) -> TrainReport:
    """See ``train``. Raises NotSupported for an encoder without token vectors."""
    from mm_milvus.media import MediaPolicy, MediaReader
    from mm_milvus.store import Store

    began = time.perf_counter()
    with (
        Store(shop) as store,
        MediaReader(MediaPolicy(allow_private_hosts=shop.allow_private_hosts)) as reader,
    ):
        task = _read(settings, store.open(shop.collection), shop, reader, told)
    from mm_milvus.training.late_model import LateTraining, late_ndcgs

    def scores(split: int) -> Scores:
        return late_ndcgs(task.model, task.inputs, task.labels, task.near, split)

    training = LateTraining(settings, task.model, task.inputs, task.labels, task.twins, task.near, task.pool)
    split = task.labels.judging
    before, start = mean_of(scores(TEST)), scores(split)
    outcome = training.run(
        settings.out, task.identity, lambda done, total, note: told(Step("training", done, total, note))
    )
    others = start, _first_ndcgs(task, split)
    report = report_of(
        settings, shop, task, outcome, (before, mean_of(scores(TEST))),
        judged(max(others, key=lambda found: mean_of(found) or 0.0), scores(split), split),
        time.perf_counter() - began,
    )  # fmt: skip
    report = replace(
        report,
        ndcg_first=mean_of(_first_ndcgs(task, DEV)),
        test_ndcg_first=mean_of(_first_ndcgs(task, TEST)),
        unread_pictures=task.inputs.unread,
    )
    return save(
        settings.out, task.model.to_head(), task.rejects, outcome, advised(report, shop, shop.collection)
    )


def _read(
    settings: TrainSettings, collection: Collection, shop: Settings, reader: MediaReader, told: Progress
) -> _LateTask:
    from mm_milvus.encoders import token_encoder
    from mm_milvus.training.late_model import LateModel, start_projection
    from mm_milvus.training.late_tokens import Sources, late_inputs

    def step(phase: str, done: int, total: int) -> None:
        told(Step(phase, done, total))

    encoder = collection_encoder(collection.stamp, shop)
    tokens = token_encoder(encoder.encoder)
    config = _config(settings, tokens, collection)
    initial, fingerprint = _initial(settings, tokens)
    products = read_products(
        collection,
        lambda done, total: told(Step("reading products", done, total)),
        rows=settings.from_catalog,
    )
    read = read_labels(settings, products, collection)
    queries = encoded_queries(settings, read, products, encoder, reader, step)
    labels = read.labels
    identity = identity_of(settings, _first_config(encoder.spec), fingerprint, products, labels, queries)
    twins, weights = products.twins(), queries.weights(encoder.spec.weights)
    kept = products.copied()
    near, pool = _first_stage(settings, collection, encoder.spec, kept, labels, queries, twins)
    met = _met(labels, near, pool)
    sources = Sources(
        tokens, collection, reader, settings.base, settings.out / CACHE, step,
        goes_on=(settings.out / CHECKPOINT).exists(),
    )  # fmt: skip
    inputs = late_inputs(sources, products, met, labels, weights)
    projection = initial or start_projection(config, inputs, joint=tokens.token_spec.joint)
    return _LateTask(
        LateModel(projection), inputs, labels, near, pool, twins, len(products),
        read.rejects, read.unknown_products, f"{KIND} {projection.config!r} {identity}",
    )  # fmt: skip


def _config(settings: TrainSettings, encoder: TokenEncoder, collection: Collection) -> ProjectionConfig:
    spec, tokens = encoder.spec, encoder.token_spec
    dim = settings.dim or min(DIM, tokens.text_dim + tokens.image_dim)
    return ProjectionConfig(
        dim, tokens.text_dim, tokens.image_dim, spec.name, spec.revision, tokens.recipe,
        collection.stamp.source,
    )  # fmt: skip


def _initial(settings: TrainSettings, encoder: TokenEncoder) -> tuple[Projection | None, str]:
    """The projection to start from and its fingerprint."""
    if settings.init is None:
        return None, ""
    projection, fingerprint = load_projection(settings.init)
    projection.check(encoder)
    if settings.dim not in (None, projection.config.dim):
        raise ConfigError(
            f"the projection in {str(settings.init)!r} has dim {projection.config.dim}, not {settings.dim}; a training "
            "that starts from it keeps that"
        )
    return projection, fingerprint


# --- the ranking that is reordered -------------------------------------------------------------------------


def _first_config(spec: EncoderSpec) -> HeadConfig:
    """An untrained head that ranks as the collection's blocks do, centred: in a joint space words meet pictures."""
    joint = spec.joint and spec.image_dim == spec.text_dim
    dim = spec.image_dim if joint else spec.image_dim + spec.text_dim
    return HeadConfig(
        "sum" if joint else "linear", dim, spec.image_dim, spec.text_dim, True, spec.name, spec.revision
    )


def _first_stage(
    settings: TrainSettings,
    collection: Collection,
    spec: EncoderSpec,
    products: Products,
    labels: Labels,
    queries: Queries,
    twins: Ints,
) -> tuple[Ints, Ints | None]:
    """Candidates of the queries that are held out, exactly; hard negatives of the others. Changes the vectors."""
    from mm_milvus.search.parts import query_mean
    from mm_milvus.training.mining import Known, by_words, hard_negatives
    from mm_milvus.training.model import HeadModel, Means, inputs_of
    from mm_milvus.training.nearest import nearest
    from mm_milvus.training.start import starting_head

    stamp, config = collection.stamp, _first_config(spec)
    means = Means(stamp.image_mean, stamp.text_mean, query_mean(stamp, spec))
    inputs = inputs_of(config, means, products, queries, spec.weights)
    model = HeadModel(
        config, starting_head(config, products.image, products.text, products.present, spec), means
    )
    near = np.full((len(labels.asked), CANDIDATES), -1, np.int64)
    for split in (DEV, TEST):
        held = labels.queries_of(split)
        if len(held):
            found = nearest(model, inputs, held, min(CANDIDATES, len(products)))
            near[held, : found.shape[1]] = found
    if not settings.negatives:
        return near, None
    asking = labels.queries_of(TRAIN)
    words = by_words([queries.words[query] for query in asking], products.texts)
    return near, hard_negatives(model, inputs, asking, words, Known(labels, twins), settings.skip_top)


def _met(labels: Labels, near: Ints, pool: Ints | None) -> Ints:
    """The places of all products whose tokens are needed."""
    asked = [place for one in labels.asked for place in (one.product, one.picture_of)]
    places = [labels.product, near.ravel(), np.array(asked, np.int64)]
    found = np.unique(np.concatenate([*places, *([] if pool is None else [pool.ravel()])]))
    return found[found >= 0]


# --- what is told ------------------------------------------------------------------------------------------


def _first_ndcgs(task: _LateTask, split: int) -> Scores:
    """(Q,) those of the ranking before it is reordered."""
    return ndcgs(task.near[task.labels.queries_of(split)], grades_of(task.labels, split))
