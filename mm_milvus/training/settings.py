"""What a user decides about a training, and what the training tells afterwards."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mm_milvus.errors import ConfigError
from mm_milvus.late import KIND as LATE

if TYPE_CHECKING:
    from mm_milvus.fusion import HeadKind

__all__ = [
    "DIM",
    "LATE",
    "FusionKind",
    "LossName",
    "Schedule",
    "Step",
    "TrainReport",
    "TrainSettings",
    "UnfrozenReport",
]

MOST_DIM = 32_768
DIM = 512  # of the fused vector, where nobody says otherwise
FusionKind = Literal[
    "linear", "attention", "gated", "sum", "product", "ridge"
]  # ridge: a linear one, without steps
LossName = Literal["softmax", "sigmoid"]
Schedule = Literal["cosine", "constant"]
KINDS = (*get_args(FusionKind), LATE)
_OF_STEPS = (
    "loss", "epochs", "pairs_per_step", "lr", "schedule", "decay", "negatives", "refresh", "skip_top", "dropout",
    "patience",
)  # fmt: skip
_ENCODER_RATE = 1e-5
_STEP, _LATE_STEP = (
    256,
    32,
)  # pairs: late interaction compares each token of a query with each of all products


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a head is trained. Raises ConfigError for what makes no sense.

    Either ``pairs`` (a JSONL file) or ``from_catalog`` says what belongs together. ``fusion``, ``dim`` and ``shared``
    that are None are those of ``init``, a trained head to start from, else linear, 512 and own weights per side.
    """

    out: Path  # the folder of the trained head
    pairs: Path | None = None
    from_catalog: bool = False
    fusion: FusionKind | Literal["late-interaction"] | None = None
    dim: int | None = None
    shared: bool | None = None  # queries and products go through the same weights
    init: Path | None = None
    loss: LossName = "softmax"
    epochs: int = 20
    pairs_per_step: int = 0  # 0: 256, of late interaction 32
    lr: float | None = None  # None: that of the kind, see ``rate_of``
    schedule: Schedule = "cosine"
    decay: float = 0.1  # towards the weights of the start, as AdamW decays towards 0
    negatives: int = 1  # hard ones, per pair
    refresh: int | None = None  # epochs after which they are looked for again: 3; late interaction never does
    skip_top: int = 0  # of the nearest products, which may be right without a label
    dropout: float = 0.1  # how often a product with both loses its picture or its text
    dev_share: float = 0.1  # of the queries, where the file names no dev split
    patience: int = 5  # epochs without a better nDCG@10
    crops: int = 0  # further views of each product's picture as queries, of ``from_catalog``
    seed: int = 0
    overwrite: bool = False
    unfreeze: int = 0  # layers of the encoder, from the last, that are trained before the head
    encoder_lr: float | None = None  # their learning rate: 1e-5

    def __post_init__(self) -> None:
        for name in ("out", "pairs", "init"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(value).expanduser())
        _check_together(self)
        if self.pairs_per_step == 0:
            object.__setattr__(self, "pairs_per_step", _LATE_STEP if self.fusion == LATE else _STEP)
        for name, choices in (("loss", get_args(LossName)), ("schedule", get_args(Schedule))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"the {name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        _whole(self, "epochs", "pairs_per_step", "patience", least=1)
        _whole(self, "negatives", "skip_top", "crops", "seed", "unfreeze", least=0)
        if self.refresh is not None:
            _whole(self, "refresh", least=1)
        if self.dim is not None:
            _whole(self, "dim", least=1)
            if self.dim > MOST_DIM:
                raise ConfigError(
                    f"Milvus stores vectors of at most {MOST_DIM:,} dimensions, got {self.dim:,}"
                )
        if self.lr is not None:
            _between(self, "lr", 0.0, 1.0, open_below=True)
        if self.encoder_lr is not None:
            _between(self, "encoder_lr", 0.0, 1.0, open_below=True)
        _between(self, "decay", 0.0, 1e6)
        _between(self, "dropout", 0.0, 0.9)
        _between(self, "dev_share", 0.0, 0.9)

    @property
    def base(self) -> Path | None:
        """The folder that paths of query pictures start from."""
        return self.pairs.parent if self.pairs else None

    def rate_of(self, kind: HeadKind) -> float:
        """The learning rate, unless one is given: chosen on dev splits (benchmarks/training.py --only rates).

        nDCG@10 of the dev split at 1e-4, 3e-4, 1e-3 and 3e-3, one seed. Of groceries' descriptions: linear .603, .854,
        .963, .967, attention .822, .952, .959, .960; of those of fewer classes: linear .720, .862, .963, .966,
        attention .700, .965, .954, .962. Where a higher one is hardly better, the lower one stays nearer to the start.
        """
        return self.lr if self.lr is not None else 3e-4 if kind == "attention" else 1e-3

    @property
    def encoder_rate(self) -> float:
        """The learning rate of the layers of ``unfreeze``."""
        return _ENCODER_RATE if self.encoder_lr is None else self.encoder_lr

    def identity(self) -> dict[str, Any]:
        """Everything that the trained weights depend on, in JSON's types."""
        apart = ("out", "overwrite")
        values = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in apart}
        return values | {"encoder_lr": self.encoder_rate}


def _check_together(settings: TrainSettings) -> None:
    """What goes with what."""
    if (settings.pairs is None) is not settings.from_catalog:
        both = "not both a file of pairs and" if settings.from_catalog else "a file of pairs, or"
        raise ConfigError(f"give {both} --from-catalog")
    if settings.fusion is not None and settings.fusion not in KINDS:
        raise ConfigError(f"the fusion to train is one of {', '.join(KINDS)}, not {settings.fusion!r}")
    if settings.fusion == "ridge":
        _check_ridge(settings)
    if settings.fusion == LATE and settings.shared is False:
        raise ConfigError("in late interaction queries and products share their weights")
    if settings.fusion == LATE and settings.unfreeze:
        raise ConfigError("late interaction is trained over a frozen encoder: leave out --unfreeze")
    if settings.fusion == LATE and settings.refresh is not None:
        raise ConfigError(
            "hard negatives of late interaction are those of the ranking that it reorders: leave out --refresh"
        )
    if settings.crops and not settings.from_catalog:
        raise ConfigError("crops are made of the products' own pictures: they go with --from-catalog")
    if settings.encoder_lr is not None and not settings.unfreeze:
        raise ConfigError("--encoder-lr is the learning rate of the layers that --unfreeze trains: give both")
    if settings.unfreeze and settings.init is not None:
        raise ConfigError("a head of --init knows another encoder than the one that --unfreeze makes")


def _check_ridge(settings: TrainSettings) -> None:
    """It takes no steps; those of --unfreeze are others."""
    refused = ("init", "shared", *(_OF_STEPS if not settings.unfreeze else ()))
    usual = {one.name: one.default for one in fields(settings)}
    given = [name for name in refused if getattr(settings, name) not in (None, False, usual[name])]
    if given:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(
            f"the fusion ridge is calculated, without steps and with sides of their own: leave out {options}"
        )


def _plain(value: Any) -> Any:
    return str(value.absolute()) if isinstance(value, Path) else value


def _whole(settings: TrainSettings, *names: str, least: int) -> None:
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _between(
    settings: TrainSettings, name: str, low: float, high: float, *, open_below: bool = False
) -> None:
    value = getattr(settings, name)
    fits = isinstance(value, int | float) and math.isfinite(value) and low <= value <= high
    if not fits or (open_below and value == low):
        raise ConfigError(
            f"{name} must be a number {'above' if open_below else 'of at least'} {low:g} and at most {high:g}, "
            f"got {value!r}"
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What a training is doing, for a progress bar: ``done`` of ``total`` in ``phase``."""

    phase: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class UnfrozenReport:
    """What came of the layers of the encoder. nDCG@10 is that of untrained, centred vectors, as of TrainReport."""

    layers: int  # of each of the two models
    parameters: int  # that were trained
    encoder: str  # what loads the trained encoder
    unread_pictures: int  # products that went on without the picture that they have
    ndcg_start: float | None  # of the dev split by the encoder as it was
    ndcg: float | None  # and with the layers that were kept
    test_ndcg_start: float | None
    test_ndcg: float | None
    won: bool | None  # as of TrainReport: against frozen layers
    p: float | None
    epochs: int
    best_epoch: int
    resumed_from: int


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What was read, what came of it, and what to type next. nDCG@10 is None where there is no such split."""

    out: str
    fusion: str
    dim: int
    shared: bool
    encoder: str
    collection: str
    products: int
    queries: dict[str, int]  # by split: train, dev, test
    pairs: dict[str, int]
    rejected: int
    unknown_products: int
    ndcg_start: float | None  # of the dev split before the first step, of unfrozen layers too
    ndcg: float | None  # and of the weights that were kept
    test_ndcg_start: float | None
    test_ndcg: float | None
    won: bool | None  # whether the head beats its own start; None where that may be chance
    p: float | None  # how often chance alone makes as large a difference; None where no queries are held out
    judged_by: str | None  # the split whose queries say so: test where there is one, else dev
    epochs: int
    best_epoch: int
    resumed_from: int  # epochs that an earlier run had done
    seconds: float
    next: str | None = None  # the command that puts it to use; None where it is no better
    then: str | None = None  # and the one after that, which tells how it does
    bridge: dict[str, dict[str, Any]] | None = (
        None  # of ridge, what was chosen, by what is asked with: text, image
    )
    ndcg_first: float | None = None  # of late interaction: the dev split before it is reordered
    test_ndcg_first: float | None = None
    unread_pictures: int = 0  # of products whose tokens were needed
    too_broad: int = 0  # queries that a catalog would have made, of words that fit too many of its products
    unfrozen: UnfrozenReport | None = None  # the layers that were trained before the head

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
