"""Epochs of steps, until the dev split gets no better; the same weights whether or not a run was interrupted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mm_milvus.errors import ConfigError
from mm_milvus.files import replace_file
from mm_milvus.training.checkpoint import load_state, save_state
from mm_milvus.training.data import DEV, TRAIN
from mm_milvus.training.folder import CHECKPOINT
from mm_milvus.training.losses import PairLoss
from mm_milvus.training.measure import ndcg_of
from mm_milvus.training.mining import Known, by_words, draw, hard_negatives

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.training.data import Labels
    from mm_milvus.training.model import HeadModel, Inputs
    from mm_milvus.training.settings import TrainSettings

    Ints = npt.NDArray[np.int64]

__all__ = ["Outcome", "Training"]

LOG = "log.jsonl"
_CLIP = 1.0  # the most that the norm of all gradients may be
_REFRESH = 3  # epochs after which hard negatives are looked for again, unless told otherwise
_WARM = 0.05  # share of the steps in which the learning rate rises


@dataclass(eq=False)
class Outcome:
    """What came of a training. ``history`` has a dict per epoch, that of the start first."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    resumed_from: int = 0

    def at(self, epoch: int) -> float | None:
        """nDCG@10 of the dev split after an epoch."""
        found: float | None = self.history[epoch]["ndcg"]
        return found


class Training:
    """One training of ``model``, whose weights become those of the best epoch."""

    checkpoint, log = CHECKPOINT, LOG  # names of files
    rate_option = "--lr"

    def __init__(
        self,
        settings: TrainSettings,
        model: HeadModel,
        inputs: Inputs,
        labels: Labels,
        twins: Ints,
        words: tuple[list[str], list[str]],
        trained: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        """``twins`` as ``Products.twins`` gives them; ``words`` of the queries and of the products.

        ``trained`` is what a step changes, by name; None: all of ``model``.
        """
        self._settings = settings
        self._model = model
        self._inputs = inputs
        self._labels = labels
        self._loss = PairLoss(settings.loss)
        self._trained = dict(model.named_parameters() if trained is None else trained)
        self._start = self._weights()
        self._lr = settings.rate_of(model.config.kind)
        parameters = [*self._trained.values(), *self._loss.parameters()]
        self._optimiser = torch.optim.AdamW(parameters, lr=self._lr, weight_decay=0.0)
        self._pairs = labels.learned
        self._known = Known(labels, twins)
        self._asking = labels.queries_of(TRAIN)
        self._row = np.full(len(labels.asked), -1, np.int64)  # of a query among those that train
        self._row[self._asking] = np.arange(len(self._asking))
        self._words = words
        # A picture with words asks for a change: the product shown is what the answer must not be.
        self._anchor = np.array([one.picture_of if one.text else -1 for one in labels.asked], np.int64)
        self._by_words: Ints | None = None
        self._pool: Ints | None = None
        self._steps = -(-len(self._pairs) // settings.pairs_per_step)
        self._best: dict[str, Any] = {}

    def run(
        self, folder: Path, identity: str, progress: Callable[[int, int, str], None] = lambda *_: None
    ) -> Outcome:
        """Trains, goes on with what ``folder`` holds of the same ``identity``, and keeps the best weights.

        ``progress`` is called with steps done, steps in all, and how it goes.
        """
        outcome = self._restored(load_state(folder / self.checkpoint, identity))
        if not outcome.history:
            outcome.history.append({"epoch": 0, "loss": None, "ndcg": self._measured(), "seconds": 0.0})
        while not self._over(outcome):
            epoch = len(outcome.history)
            began = time.perf_counter()
            loss = self._epoch(epoch, lambda done: progress(done, self._total, _told(outcome)))
            score = self._measured()
            seconds = round(time.perf_counter() - began, 3)
            outcome.history.append({"epoch": epoch, "loss": loss, "ndcg": score, "seconds": seconds})
            if score is None or not outcome.best_epoch or score > (outcome.at(outcome.best_epoch) or 0.0):
                outcome.best_epoch = epoch
                self._best = self._weights()
            self._save(folder, identity, outcome)
        self._put(self._best)
        return outcome

    @property
    def _total(self) -> int:
        return self._steps * self._settings.epochs

    def _measured(self) -> float | None:
        return ndcg_of(self._model, self._inputs, self._labels, DEV)

    def _over(self, outcome: Outcome) -> bool:
        done = len(outcome.history) - 1
        waited = done - outcome.best_epoch if outcome.best_epoch else 0
        return done >= self._settings.epochs or waited >= self._settings.patience

    # --- an epoch ------------------------------------------------------------------------------------------

    def _epoch(self, epoch: int, progress: Callable[[int], None]) -> float:
        """All pairs once, in an order of this epoch's own. Returns the mean loss."""
        self._mine(epoch)
        # Everything random is drawn from the seed and the epoch: there is no state that a checkpoint could miss.
        rng = np.random.default_rng([self._settings.seed, 3, epoch])
        order = rng.permutation(self._pairs)
        total = 0.0
        for step in range(self._steps):
            at = step * self._settings.pairs_per_step
            total += self._step(order[at : at + self._settings.pairs_per_step], rng, epoch, step)
            progress((epoch - 1) * self._steps + step + 1)
        return round(total / self._steps, 6)

    def _mine(self, epoch: int) -> None:
        settings = self._settings
        every = settings.refresh or _REFRESH
        if not settings.negatives or (self._pool is not None and (epoch - 1) % every):
            return
        if self._by_words is None:
            words, texts = self._words
            self._by_words = by_words([words[query] for query in self._asking], texts)
        self._pool = hard_negatives(
            self._model, self._inputs, self._asking, self._by_words, self._known, settings.skip_top
        )

    def _step(self, pairs: Ints, rng: np.random.Generator, epoch: int, step: int) -> float:
        labels = self._labels
        queries, wanted = labels.query[pairs], labels.product[pairs]
        candidates = np.unique(wanted)
        if self._pool is not None:
            negatives = draw(self._pool[self._row[queries]], self._settings.negatives, rng)
            anchors = self._anchor[queries]
            candidates = np.unique(np.concatenate([candidates, negatives, anchors[anchors >= 0]]))
        column = np.searchsorted(candidates, wanted)
        hidden = self._known.hidden(queries, candidates)
        hidden[np.arange(len(pairs)), column] = False
        loss = self._loss(
            *self._vectors(queries, candidates, self._dropped(candidates, rng)),
            torch.from_numpy(column),
            torch.from_numpy(hidden),
            torch.from_numpy(labels.grade[pairs]),
        )
        self._optimiser.zero_grad()
        self._backward(loss)
        self._move((epoch - 1) * self._steps + step)
        return float(loss.detach())

    def _vectors(
        self, queries: Ints, candidates: Ints, dropped: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, dim) of queries and (C, dim) of products, from their places; ``dropped`` as ``_dropped`` gives it."""
        return (
            self._model.queries(self._inputs, torch.from_numpy(queries)),
            self._model.products(self._inputs, torch.from_numpy(candidates), dropped),
        )

    def _backward(self, loss: torch.Tensor) -> None:
        """Raises ConfigError where the loss is no number any more."""
        if not loss.isfinite():
            raise ConfigError(f"the loss is not finite any more: a smaller {self.rate_option} may help")
        loss.backward()  # type: ignore[no-untyped-call]

    def _dropped(self, candidates: Ints, rng: np.random.Generator) -> torch.Tensor | None:
        """(C, 2) bool: a product with both loses one of them now and then."""
        if not self._settings.dropout:
            return None
        both = self._inputs.present[torch.from_numpy(candidates)].all(dim=1).numpy()
        loses = both & (rng.random(len(candidates)) < self._settings.dropout)
        which = rng.integers(0, 2, len(candidates))
        return torch.from_numpy(loses[:, None] & (which[:, None] == np.arange(2)))

    @torch.no_grad()
    def _move(self, step: int) -> None:
        rate = self._rate(step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group.get("times", 1.0)
            torch.nn.utils.clip_grad_norm_(group["params"], _CLIP)
        self._optimiser.step()
        # Decay towards the start (L2-SP, Li et al. 2018), decoupled from the gradient as in AdamW.
        for name, value in self._trained.items():
            value.lerp_(self._start[name], min(rate * self._settings.decay, 1.0))

    def _rate(self, step: int) -> float:
        """The learning rate: a short rise, then half a cosine down to 0, or what was asked for all the time."""
        if self._settings.schedule == "constant":
            return self._lr
        warm = max(int(self._total * _WARM), 1)
        if step < warm:
            return self._lr * (step + 1) / warm
        done = (step - warm) / max(self._total - warm, 1)
        return self._lr * 0.5 * (1 + math.cos(math.pi * done))

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self._trained.items()}

    @torch.no_grad()
    def _put(self, weights: Mapping[str, torch.Tensor]) -> None:
        for name, value in self._trained.items():
            value.copy_(weights[name])

    # --- going on ------------------------------------------------------------------------------------------

    def _restored(self, state: dict[str, Any] | None) -> Outcome:
        if state is None:
            return Outcome()
        self._put(state["model"])
        self._loss.load_state_dict(state["loss"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._best = state["best"]
        self._pool = None if state["pool"] is None else state["pool"].numpy()
        history = state["history"]
        return Outcome(history, state["best_epoch"], resumed_from=len(history) - 1)

    def _save(self, folder: Path, identity: str, outcome: Outcome) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "identity": identity,
            "model": self._weights(),
            "loss": self._loss.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "best": self._best,
            "best_epoch": outcome.best_epoch,
            "history": outcome.history,
            "pool": None if self._pool is None else torch.from_numpy(self._pool),
        }
        save_state(folder / self.checkpoint, state)
        replace_file(folder / self.log, "".join(json.dumps(one) + "\n" for one in outcome.history))


def _told(outcome: Outcome) -> str:
    last = outcome.history[-1]["ndcg"]
    return "" if last is None else f"nDCG@10 {outcome.at(0):.3f} -> {last:.3f}"
