"""A training from end to end: read, encode, train, save, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from mm_milvus.errors import FusionError
from mm_milvus.fusion import Head, HeadConfig, HeadKind, load_head
from mm_milvus.records import Rejected
from mm_milvus.training.advice import advised, free_collection
from mm_milvus.training.data import DEV, TEST, Labels, Products, Queries, read_products
from mm_milvus.training.folder import folder_of, save
from mm_milvus.training.measure import mean_of, ndcgs_of
from mm_milvus.training.report import Judgement, judged, judged_by, report_of
from mm_milvus.training.settings import DIM, LATE, Step, TrainReport, TrainSettings
from mm_milvus.training.source import (
    collection_encoder,
    encoded_queries,
    identity_of,
    pictures_of,
    read_labels,
)

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.encoders.base import EncoderSpec
    from mm_milvus.media import MediaReader
    from mm_milvus.search.cache import QueryEncoder
    from mm_milvus.store import Collection, Stamp
    from mm_milvus.training.loop import Outcome
    from mm_milvus.training.measure import Scores
    from mm_milvus.training.model import HeadModel, Inputs
    from mm_milvus.training.unfrozen import Unfreezing, Unfrozen

__all__ = ["train"]

Progress = Callable[[Step], None]
_HEADS = 8  # of attention


def train(
    settings: TrainSettings, shop: Settings | None = None, *, progress: Progress | None = None
) -> TrainReport:
    """Trains a fusion head for the products of a collection and saves it in ``settings.out``.

    ``shop`` says where the products are; without it ``mm-milvus.toml`` and ``MM_MILVUS_*`` count, as everywhere.
    A run that was interrupted goes on when it is called again with the same settings, and ends with the same weights.
    Raises ConfigError (settings, the file of pairs, nothing to train with: what was refused is in ``rejects.jsonl`` of
    that folder even then), FusionError (a collection or a head that does not fit), EncoderError, StampMismatch and
    StoreError.
    """
    from mm_milvus.config import load_settings
    from mm_milvus.training.late import train_late

    run = train_late if settings.fusion == LATE else _train_head
    shop = shop or load_settings()
    with folder_of(settings):
        return run(settings, shop, progress or (lambda _: None))


def _train_head(settings: TrainSettings, shop: Settings, told: Progress) -> TrainReport:
    from mm_milvus.media import MediaPolicy, MediaReader
    from mm_milvus.store import Store

    began = time.perf_counter()
    policy = MediaPolicy(allow_private_hosts=shop.allow_private_hosts)
    with Store(shop) as store, MediaReader(policy) as reader:
        collection = store.open(shop.collection)
        fused = free_collection(settings.out, shop, store.has)  # at once: a server may be away in the end
        task = _read(settings, collection, shop, reader, told)
    split = task.labels.judging
    before, start = mean_of(_scores(task, TEST)), _scores(task, split)
    if task.unfrozen is not None:
        before, start = task.unfrozen.report.test_ndcg_start, task.unfrozen.start
    outcome, bridges = _trained(settings, task, told)
    unfrozen = task.unfrozen.report if task.unfrozen else None
    report = report_of(
        settings, shop, task, outcome, (before, mean_of(_scores(task, TEST))),
        judged(start, _scores(task, split), split) if bridges is None else _judged_by_bridge(bridges["text"]),
        time.perf_counter() - began,
    )  # fmt: skip
    report = replace(report, bridge=bridges, unfrozen=unfrozen)
    if unfrozen:
        report = replace(report, ndcg_start=unfrozen.ndcg_start)
    return save(settings.out, task.model.to_head(), task.rejects, outcome, advised(report, shop, fused))


def _trained(
    settings: TrainSettings, task: _Task, told: Progress
) -> tuple[Outcome, dict[str, dict[str, Any]] | None]:
    """The model of ``task`` is trained afterwards; of the fusion ridge also what it chose."""
    from mm_milvus.training.loop import Outcome, Training

    if settings.fusion != "ridge":
        training = Training(
            settings, task.model, task.inputs, task.labels, task.twins, (task.queries.words, task.texts)
        )
        return training.run(settings.out, task.identity, lambda *how: told(Step("training", *how))), None
    from mm_milvus.training.ridge import build_bridges

    began, start = time.perf_counter(), mean_of(_scores(task, DEV))
    bridges = build_bridges(
        task.model, task.inputs, task.labels, settings.seed, lambda *how: told(Step("training", *how))
    )
    seconds = round(time.perf_counter() - began, 3)
    first = {"epoch": 0, "loss": None, "ndcg": start, "seconds": 0.0}
    last = {"epoch": 1, "loss": None, "ndcg": mean_of(_scores(task, DEV)), "seconds": seconds}
    chosen = {name: asdict(bridge) for name, bridge in bridges.items()}
    return Outcome([first, last], 1), chosen


@dataclass(eq=False)
class _Task:
    """Everything that the loop needs, and what is told of it afterwards."""

    model: HeadModel
    inputs: Inputs
    labels: Labels
    queries: Queries
    twins: Any
    texts: list[str]
    rejects: list[Rejected]
    unknown_products: int
    identity: str
    unfrozen: Unfrozen | None
    kind: str

    @property
    def config(self) -> HeadConfig:
        return self.model.config

    @property
    def shared(self) -> bool:
        return self.model.config.shared

    @property
    def products(self) -> int:
        return len(self.inputs)


# --- what is read ------------------------------------------------------------------------------------------


def _read(
    settings: TrainSettings, collection: Collection, shop: Settings, reader: MediaReader, told: Progress
) -> _Task:
    from mm_milvus.search.parts import query_mean
    from mm_milvus.training.model import HeadModel, Means, inputs_of

    encoder = collection_encoder(
        collection.stamp, shop.replace(dtype="float32") if settings.unfreeze else shop
    )
    spec, stamp = encoder.spec, collection.stamp
    initial, fingerprint = _initial(settings, spec)
    config = _config(settings, initial, spec, stamp)
    unfreezing = _unfreezing(settings, encoder, shop)

    def step(phase: str, done: int, total: int, note: str = "") -> None:
        told(Step(phase, done, total, note))

    products = read_products(
        collection,
        lambda done, total: step("reading products", done, total),
        rows=settings.from_catalog,
    )
    if unfreezing:
        unfreezing.read(products, pictures_of(collection, products.ids), reader, step)
    read = read_labels(settings, products, collection)
    unfrozen = unfreezing.train(products, read.labels, reader, step) if unfreezing else None
    means = Means(stamp.image_mean, stamp.text_mean, query_mean(stamp, spec))
    if unfrozen:
        encoder, spec, means = unfrozen.encoder, unfrozen.encoder.spec, unfrozen.means
        config = replace(config, encoder=spec.name, revision=spec.revision, source=unfrozen.name)
    queries = encoded_queries(settings, read, products, encoder, reader, step)
    identity = identity_of(settings, config, fingerprint, products, read.labels, queries)
    twins = products.twins()
    if initial is not None:
        means = Means(initial.image_mean, initial.text_mean, initial.query_text_mean)
    inputs = inputs_of(config, means, products, queries, spec.weights)
    weights = _weights(config, initial, products, spec)
    return _Task(
        HeadModel(config, weights, means), inputs, read.labels, queries, twins, products.texts,
        read.rejects, read.unknown_products, identity, unfrozen, settings.fusion or config.kind,
    )  # fmt: skip


def _unfreezing(settings: TrainSettings, encoder: QueryEncoder, shop: Settings) -> Unfreezing | None:
    if not settings.unfreeze:
        return None
    from mm_milvus.training.unfrozen import Unfreezing

    return Unfreezing(settings, encoder, shop.device)


# --- the head ----------------------------------------------------------------------------------------------


def _initial(settings: TrainSettings, spec: EncoderSpec) -> tuple[Head | None, str]:
    """The head to start from and its fingerprint."""
    if settings.init is None:
        return None, ""
    head, fingerprint = load_head(settings.init)
    head.check(spec)
    for name in ("kind", "dim", "shared"):
        asked = settings.fusion if name == "kind" else getattr(settings, name)
        if asked is not None and asked != getattr(head.config, name):
            raise FusionError(
                f"the head in {str(settings.init)!r} has {name} {getattr(head.config, name)}, not {asked}; a training "
                "that starts from it keeps that"
            )
    return head, fingerprint


def _config(settings: TrainSettings, initial: Head | None, spec: EncoderSpec, stamp: Stamp) -> HeadConfig:
    if initial is not None:
        return initial.config
    ridge = settings.fusion == "ridge"  # in both blocks: fewer dimensions would mix what it keeps apart
    kind: HeadKind = "linear"
    if settings.fusion is not None and settings.fusion != "ridge":
        kind = cast("HeadKind", settings.fusion)
    dim = settings.dim or (spec.image_dim + spec.text_dim if ridge else _dim(kind, spec))
    config = HeadConfig(
        kind, dim, spec.image_dim, spec.text_dim, bool(settings.shared), spec.name, spec.revision, _HEADS,
        stamp.source,
    )  # fmt: skip
    config.check()  # before anything is read
    return config


def _dim(kind: str, spec: EncoderSpec) -> int:
    if kind in ("sum", "product"):
        return spec.image_dim
    dim = min(DIM, spec.image_dim + spec.text_dim)
    return max(dim - dim % _HEADS, _HEADS) if kind == "attention" else dim


def _weights(
    config: HeadConfig, initial: Head | None, products: Products, spec: EncoderSpec
) -> dict[str, Any]:
    """By the names of ``Head.weights``; ``products`` are centred where the head takes such."""
    from mm_milvus.training.start import starting_head

    if initial is not None:
        return dict(initial.weights)
    return starting_head(config, products.image, products.text, products.present, spec)


# --- what is told ------------------------------------------------------------------------------------------


def _scores(task: _Task, split: int) -> Scores:
    return ndcgs_of(task.model, task.inputs, task.labels, split)


def _judged_by_bridge(words: dict[str, Any]) -> Judgement:
    """By what the bridge is for: words, where products lack their text."""
    if words["p"] is None:
        return Judgement()
    return judged_by(words["ndcg_with"] - words["ndcg_without"], words["p"], words["split"])
