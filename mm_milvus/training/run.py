"""A training from end to end: read, encode, train, save, report."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError, FusionError
from mm_milvus.fusion import Head, HeadConfig, HeadKind, load_head
from mm_milvus.records import Rejected
from mm_milvus.training.data import DEV, TEST, TRAIN, Labels, Products, Queries, read_products
from mm_milvus.training.settings import DIM, Step, TrainReport, TrainSettings

if TYPE_CHECKING:
    from mm_milvus.config import Settings
    from mm_milvus.encoders.base import EncoderSpec
    from mm_milvus.media import MediaReader
    from mm_milvus.search.cache import QueryEncoder
    from mm_milvus.store import Collection, Stamp
    from mm_milvus.training.loop import Outcome
    from mm_milvus.training.model import HeadModel, Inputs

__all__ = ["train"]

Progress = Callable[[Step], None]
REPORT, REJECTS, CURVES, CACHE = "report.json", "rejects.jsonl", "curves.png", "cache"
_MARKS = {CACHE, "checkpoint.pt", "head.safetensors"}  # one of them is in every folder of a training
_HEADS = 8  # of attention
_PAGE = 1_000


def train(
    settings: TrainSettings, shop: Settings | None = None, *, progress: Progress | None = None
) -> TrainReport:
    """Trains a fusion head for the products of a collection and saves it in ``settings.out``.

    ``shop`` says where the products are; without it ``mm-milvus.toml`` and ``MM_MILVUS_*`` count, as everywhere.
    A run that was interrupted goes on when it is called again with the same settings, and ends with the same weights.
    Raises ConfigError (settings, the file of pairs, nothing to train with), FusionError (a collection or a head that
    does not fit), EncoderError, StampMismatch and StoreError.
    """
    from mm_milvus.config import load_settings
    from mm_milvus.media import MediaPolicy, MediaReader
    from mm_milvus.store import Store

    began = time.perf_counter()
    shop = shop or load_settings()
    _check_out(settings)
    told = progress or (lambda _: None)
    policy = MediaPolicy(allow_private_hosts=shop.allow_private_hosts)
    with Store(shop) as store, MediaReader(policy) as reader:
        collection = store.open(shop.collection)
        task = _read(settings, collection, shop, reader, told)
    before, start = _score(task, TEST), _scores(task, DEV)
    outcome, bridges = _trained(settings, task, told)
    report = _reported(settings, shop, task, outcome, (before, _score(task, TEST)))
    won, p = _judged(start, _scores(task, DEV), bridges)
    report = replace(report, seconds=round(time.perf_counter() - began, 1), bridge=bridges, won=won, p=p)
    return _save(settings.out, task, outcome, report)


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

    began, start = time.perf_counter(), _score(task, DEV)
    bridges = build_bridges(
        task.model, task.inputs, task.labels, settings.seed, lambda *how: told(Step("training", *how))
    )
    seconds = round(time.perf_counter() - began, 3)
    first = {"epoch": 0, "loss": None, "ndcg": start, "seconds": 0.0}
    last = {"epoch": 1, "loss": None, "ndcg": _score(task, DEV), "seconds": seconds}
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
    spec: EncoderSpec
    rejects: list[Rejected]
    unknown_products: int
    identity: str


def _check_out(settings: TrainSettings) -> None:
    """Raises ConfigError for a folder with a head that is not to be replaced."""
    from mm_milvus.fusion.head import WEIGHTS_FILE

    unfinished = settings.out / "checkpoint.pt"
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in settings.out.iterdir()}
        (settings.out / CACHE).mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to the folder {str(settings.out)!r}: {error.strerror}") from error
    if names and not names & _MARKS:
        (settings.out / CACHE).rmdir()
        raise ConfigError(
            f"{str(settings.out)!r} holds {min(names)!r} and no training: take a folder that is new or empty"
        )
    if settings.overwrite:
        unfinished.unlink(missing_ok=True)
    elif (settings.out / WEIGHTS_FILE).exists() and not unfinished.exists():
        raise ConfigError(
            f"there is a trained head in {str(settings.out)!r}, and collections may depend on it; take another "
            "folder, or replace it with --overwrite"
        )


# --- what is read ------------------------------------------------------------------------------------------


def _read(
    settings: TrainSettings, collection: Collection, shop: Settings, reader: MediaReader, told: Progress
) -> _Task:
    from mm_milvus.search.parts import query_mean
    from mm_milvus.training.encode import encode_queries
    from mm_milvus.training.model import HeadModel, Means, inputs_of

    encoder = _encoder(collection.stamp, shop)
    spec, stamp = encoder.spec, collection.stamp
    initial = _initial(settings, spec)
    config = _config(settings, initial, spec, stamp)
    products = read_products(
        collection,
        lambda done, total: told(Step("reading products", done, total)),
        rows=settings.from_catalog,
    )
    labels, rejects, lines, unknown = _labels(settings, products, collection)
    encoded = encode_queries(
        labels, products, encoder, reader,
        base=settings.pairs.parent if settings.pairs else None,
        cache=settings.out / CACHE,
        progress=lambda phase, done, total: told(Step(phase, done, total)),
    )  # fmt: skip
    rejects += [Rejected(lines[query], None, "encode", why) for query, why in encoded.failed.items() if lines]
    if not len(encoded.labels.queries_of(TRAIN)):
        raise ConfigError("none of the queries to train with could be encoded")
    identity = _identity(settings, config, products, encoded.labels, encoded.queries)
    twins = products.twins()
    means = Means(stamp.image_mean, stamp.text_mean, query_mean(stamp, spec))
    if initial is not None:
        means = Means(initial.image_mean, initial.text_mean, initial.query_text_mean)
    inputs = inputs_of(config, means, products, encoded.queries, spec.weights)
    weights = _weights(config, initial, products)
    return _Task(
        HeadModel(config, weights, means), inputs, encoded.labels, encoded.queries, twins, products.texts,
        spec, rejects, unknown, identity,
    )  # fmt: skip


def _encoder(stamp: Stamp, shop: Settings) -> QueryEncoder:
    """The collection's own; its texts without torch where that can be."""
    from mm_milvus.encoders import load_encoder, load_query_texts
    from mm_milvus.search.cache import QueryEncoder

    name = stamp.encoder_name(shop.encoder, shop.collection)
    encoder = QueryEncoder(
        lambda: load_encoder(name, device=shop.device, dtype=shop.dtype, compile=shop.compile),
        load_query_texts(name),
    )
    stamp.check_encoder(encoder.spec, shop.collection)
    return encoder


def _labels(
    settings: TrainSettings, products: Products, collection: Collection
) -> tuple[Labels, list[Rejected], list[int], int]:
    """Labels, refused lines, the line of each query, and how many products are unknown."""
    from mm_milvus.training.catalog import labels_from_catalog
    from mm_milvus.training.pairs import read_pairs

    if settings.pairs is None:
        labels = labels_from_catalog(
            products,
            dev_share=settings.dev_share,
            seed=settings.seed,
            crops=settings.crops,
            pictures=lambda ids: _pictures(collection, ids),
        )
        return labels, [], [], 0
    places = {id: place for place, id in enumerate(products.ids)}
    found = read_pairs(settings.pairs, places, dev_share=settings.dev_share, seed=settings.seed)
    return found.labels, found.rejects, found.lines, found.unknown_products


def _pictures(collection: Collection, ids: list[str]) -> dict[str, str]:
    """id -> where its first picture is."""
    pages = (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))
    return {hit.id: hit.image for page in pages for hit in collection.get(page) if hit.image}


# --- the head ----------------------------------------------------------------------------------------------


def _initial(settings: TrainSettings, spec: EncoderSpec) -> Head | None:
    if settings.init is None:
        return None
    head, _ = load_head(settings.init)
    head.check(spec)
    for name in ("kind", "dim", "shared"):
        asked = settings.fusion if name == "kind" else getattr(settings, name)
        if asked is not None and asked != getattr(head.config, name):
            raise FusionError(
                f"the head in {str(settings.init)!r} has {name} {getattr(head.config, name)}, not {asked}; a training "
                "that starts from it keeps that"
            )
    return head


def _config(settings: TrainSettings, initial: Head | None, spec: EncoderSpec, stamp: Stamp) -> HeadConfig:
    if initial is not None:
        return initial.config
    ridge = settings.fusion == "ridge"  # in both blocks: fewer dimensions would mix what it keeps apart
    kind: HeadKind = "linear"
    if settings.fusion is not None and settings.fusion != "ridge":
        kind = settings.fusion
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


def _weights(config: HeadConfig, initial: Head | None, products: Products) -> dict[str, Any]:
    """By the names of ``Head.weights``; ``products`` are centred where the head takes such."""
    from mm_milvus.training.start import start_weights

    if initial is not None:
        return dict(initial.weights)
    one = start_weights(config, products.image, products.text, products.present)
    sides = ("product",) if config.shared else ("product", "query")
    return {f"{side}.{name}": value for side in sides for name, value in one.items()}


def _identity(
    settings: TrainSettings, config: HeadConfig, products: Products, labels: Labels, queries: Queries
) -> str:
    """A digest of all that the trained weights depend on."""
    digest = hashlib.sha256(json.dumps([settings.identity(), repr(config)]).encode())
    arrays = (
        products.image, products.text, products.present,
        labels.query, labels.product, labels.grade, labels.split, labels.held_out,
        queries.images, queries.texts, queries.image_at, queries.text_at, queries.product_at,
    )  # fmt: skip
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


# --- what is told ------------------------------------------------------------------------------------------


def _score(task: _Task, split: int) -> float | None:
    from mm_milvus.training.measure import ndcg_of

    return ndcg_of(task.model, task.inputs, task.labels, split)


def _scores(task: _Task, split: int) -> Any:
    from mm_milvus.training.measure import ndcgs_of

    return ndcgs_of(task.model, task.inputs, task.labels, split)


def _judged(
    start: Any, end: Any, bridges: dict[str, dict[str, Any]] | None
) -> tuple[bool | None, float | None]:
    """Whether the head is better than its start, and the p of that; of ridge where products lack their text."""
    from mm_milvus.training.significance import is_gain, paired_p

    if bridges is None:
        if not len(start):
            return None, None
        gain, p = float(np.mean(end) - np.mean(start)), paired_p(end, start)
    else:
        words = bridges["text"]
        if words["p"] is None:
            return None, None
        gain, p = words["ndcg_with"] - words["ndcg_without"], words["p"]
    return is_gain(gain, p), round(p, 6)


def _reported(
    settings: TrainSettings,
    shop: Settings,
    task: _Task,
    outcome: Outcome,
    test: tuple[float | None, float | None],
) -> TrainReport:
    queries, pairs = task.labels.counts()
    start, best = outcome.at(0), outcome.at(outcome.best_epoch)
    config = task.model.config
    return TrainReport(
        out=str(settings.out),
        fusion=settings.fusion or config.kind,
        dim=config.dim,
        shared=config.shared,
        encoder=config.encoder,
        collection=shop.collection,
        products=len(task.inputs),
        queries=queries,
        pairs=pairs,
        rejected=len(task.rejects),
        unknown_products=task.unknown_products,
        ndcg_start=start,
        ndcg=best,
        test_ndcg_start=test[0],
        test_ndcg=test[1],
        won=None,
        p=None,
        epochs=len(outcome.history) - 1,
        best_epoch=outcome.best_epoch,
        resumed_from=outcome.resumed_from,
        seconds=0.0,
        bridge=None,
        next=_next(settings.out, shop),
    )


def _next(out: Path, shop: Settings) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", f"{shop.collection}_{out.name}")
    fusion = str(out) if len(out.parts) > 1 else f"./{out}"
    words = ["mm-milvus", "ingest", "CATALOG", "--fusion", fusion, "--collection", name]
    if shop.uri != type(shop).model_fields["uri"].default:
        words += ["--uri", shop.uri]
    return shlex.join(words)


def _save(out: Path, task: _Task, outcome: Outcome, report: TrainReport) -> TrainReport:
    """The head last but for the checkpoint: while there is one, the run counts as unfinished."""
    from mm_milvus.catalog.rejects import RejectsFile
    from mm_milvus.training.checkpoint import replace_file
    from mm_milvus.training.curves import draw_curves
    from mm_milvus.training.loop import CHECKPOINT

    (out / REJECTS).unlink(missing_ok=True)
    with RejectsFile(out / REJECTS) as rejects:
        for one in task.rejects:
            rejects.write(one)
    replace_file(out / REPORT, json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n")
    if report.bridge is None:
        replace_file(out / CURVES, draw_curves(outcome.history, outcome.best_epoch))
    else:
        (out / CURVES).unlink(missing_ok=True)
    task.model.to_head().save(out)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return report
