"""What a training does in its steps and epochs, on products and queries that are drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mm_milvus.errors import ConfigError
from mm_milvus.fusion import normalise
from mm_milvus.training import TrainSettings, loop
from mm_milvus.training.data import DEV, TRAIN, Asked, Labels, Queries
from mm_milvus.training.loop import Training
from mm_milvus.training.losses import softmax_loss
from tests.training import worlds

COUNT = 60
ALL: dict[str, Any] = {"pairs_per_step": 1_000, "negatives": 0, "dropout": 0.0, "schedule": "constant"}


def training(
    tmp_path: Path, *, dim: int = 6, complete: bool = True, kind: type[Training] = Training, **options: Any
) -> Training:
    """Each product is asked for by a text near its own; every fifth query is held out."""
    rng = np.random.default_rng(0)
    products = worlds.products(COUNT, complete=complete)
    nothing = np.full(COUNT, -1)
    texts = normalise(products.text + 0.5 * worlds.unit(rng, COUNT, worlds.TEXT))
    empty = np.empty((0, worlds.IMAGE), np.float32)
    queries = Queries(empty, texts, nothing, np.arange(COUNT), nothing, [""] * COUNT)
    model, inputs = worlds.started(worlds.config("linear", dim), worlds.means(), products, queries)
    split = np.where(np.arange(COUNT) % 5 == 0, DEV, TRAIN).astype(np.int8)
    labels = Labels(
        [Asked(f"q{n}") for n in range(COUNT)], np.arange(COUNT), np.arange(COUNT),
        np.ones(COUNT, np.float32), split,
    )  # fmt: skip
    settings = TrainSettings(out=tmp_path, from_catalog=True, **options)
    return kind(settings, model, inputs, labels, np.arange(COUNT), ([""] * COUNT, [""] * COUNT))


def step(training: Training) -> float:
    """The first one, with all pairs; returns its loss."""
    return training._step(training._pairs, np.random.default_rng(0), 1, 0)


# --- what a step does --------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    made = training(tmp_path)
    made._labels.grade[3] = np.inf
    with pytest.raises(ConfigError, match=r"the loss is not finite any more: a smaller --lr may help"):
        made.run(tmp_path, "id")


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_the_scale_of_cosines_follows_its_gradient(tmp_path: Path, loss: Any) -> None:
    """One step changes it by the learning rate, the way in which the loss gets less."""
    losses = []
    for shift in (-0.01, 0.01):
        made = training(tmp_path, loss=loss, **ALL)
        made._loss.log_scale.data += shift
        losses.append(step(made))
    made = training(tmp_path, loss=loss, lr=1e-3, **ALL)
    before = {name: float(value.detach()) for name, value in made._loss.named_parameters()}
    step(made)
    moved = {name: float(value.detach()) - before[name] for name, value in made._loss.named_parameters()}
    assert moved["log_scale"] == pytest.approx(-1e-3 * np.sign(losses[1] - losses[0]), rel=1e-2)
    assert set(moved) == ({"log_scale"} if loss == "softmax" else {"log_scale", "bias"})
    assert all(moved.values())


def test_grades_weigh_the_pairs_of_a_step(tmp_path: Path) -> None:
    made = training(tmp_path, **ALL)
    made._labels.grade[:] = np.random.default_rng(1).uniform(0.1, 5, COUNT)
    with torch.no_grad():
        places = torch.from_numpy(made._pairs)
        queries = torch.nn.functional.normalize(made._model.queries(made._inputs, places), dim=-1)
        cosines = queries @ made._model.products(made._inputs, places).T
        own = torch.arange(len(places))
        expected = softmax_loss(
            cosines / 0.07, own, torch.zeros_like(cosines, dtype=torch.bool),
            torch.from_numpy(made._labels.grade[made._pairs]),
        )  # fmt: skip
    assert step(made) == pytest.approx(float(expected), rel=1e-5)
    assert step(training(tmp_path, **ALL)) != pytest.approx(float(expected), rel=1e-3)


def test_products_lose_a_part_in_steps_and_never_in_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = training(tmp_path, complete=False, epochs=2, dropout=0.4, negatives=1, pairs_per_step=16)
    both = made._inputs.present.all(dim=1)
    seen: list[tuple[bool, torch.Tensor | None]] = []
    products = made._model.products
    counted = [0, 0]

    def looked(inputs: Any, places: torch.Tensor, dropped: torch.Tensor | None = None) -> torch.Tensor:
        seen.append((torch.is_grad_enabled(), dropped))
        if dropped is not None:
            assert not dropped[~both[places]].any(), "who has one thing keeps it"
            assert not dropped.all(dim=1).any(), "nobody loses both"
            counted[0] += int(dropped.any(dim=1).sum())
            counted[1] += int(both[places].sum())
        return products(inputs, places, dropped)

    monkeypatch.setattr(made._model, "products", looked)
    made.run(tmp_path, "id")
    assert {dropped is not None for learns, dropped in seen if learns} == {True}
    assert {dropped is not None for learns, dropped in seen if not learns} == {False}
    assert 0.3 < counted[0] / counted[1] < 0.5
    none = training(tmp_path, dropout=0.0)
    assert none._dropped(np.arange(COUNT), np.random.default_rng(0)) is None


def test_the_product_shown_is_a_negative_of_a_change(tmp_path: Path) -> None:
    """A picture with another value: what is shown must be farther than what is wanted, unless it is wanted itself."""
    made = training(tmp_path, **ALL | {"negatives": 1})
    labels = made._labels
    labels.asked = [Asked("blue", picture_of=50), Asked("red", picture_of=2), Asked(picture_of=51)]
    labels.query, labels.product = np.array([0, 1, 1, 2]), np.array([1, 2, 3, 4])
    labels.split, labels.held_out = np.full(3, TRAIN, np.int8), np.zeros(4, np.bool_)
    labels.grade = np.ones(4, np.float32)
    inputs = replace(made._inputs, **{
        name: getattr(made._inputs, name)[:3] for name in ("image_at", "text_at", "product_at", "weights")
    })  # fmt: skip
    made = Training(
        made._settings, made._model, inputs, labels, np.arange(COUNT), ([""] * COUNT, [""] * COUNT)
    )
    made._pool = np.full((3, 1), -1)
    asked: list[tuple[np.ndarray, np.ndarray]] = []
    hidden = made._known.hidden

    def seen(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        asked.append((candidates, hidden(queries, candidates)))
        return asked[-1][1].copy()

    made._known.hidden = seen  # type: ignore[method-assign]
    made._step(np.array([0, 2, 3]), np.random.default_rng(0), 1, 0)
    ((candidates, out),) = asked
    assert candidates.tolist() == [1, 2, 3, 4, 50]
    assert not out[0, 4], "50 is a negative of the query that shows it"
    assert out[1, 1], "2 is wanted itself by the query that shows it"


# --- epochs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("patience", "epochs", "best"), [(3, 5, 2), (4, 9, 6), (1, 3, 2)])
def test_a_training_ends_after_so_many_epochs_without_a_rise(
    tmp_path: Path, patience: int, epochs: int, best: int
) -> None:
    told = iter([0.1, 0.2, 0.3, 0.3, 0.25, 0.29, 0.31, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    weights: list[torch.Tensor] = []

    class Told(Training):
        def _measured(self) -> float | None:
            weights.append(next(iter(self._weights().values())))
            return next(told)

    made = training(tmp_path, kind=Told, epochs=9, patience=patience, **ALL)
    outcome = made.run(tmp_path, "id")
    assert (len(outcome.history) - 1, outcome.best_epoch) == (epochs, best)
    kept = next(iter(made._weights().values()))
    assert [torch.equal(kept, one) for one in weights].index(True) == best


@pytest.mark.parametrize(
    ("refresh", "expected"), [(None, [1, 4, 7]), (1, [1, 2, 3, 4, 5, 6, 7]), (5, [1, 6])]
)
def test_hard_negatives_are_looked_for_again_by_the_head_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refresh: int | None, expected: list[int]
) -> None:
    made = training(tmp_path, epochs=7, patience=7, refresh=refresh, lr=0.02)
    mined: list[int] = []
    pools: list[np.ndarray] = []

    def counted(*args: Any) -> np.ndarray:
        pools.append(hard_negatives(*args))
        return pools[-1]

    hard_negatives, epoch_of = loop.hard_negatives, made._epoch

    def epoch(number: int, progress: Any) -> float:
        before = len(pools)
        loss = epoch_of(number, progress)
        mined.extend([number] * (len(pools) - before))
        return loss

    monkeypatch.setattr(loop, "hard_negatives", counted)
    monkeypatch.setattr(made, "_epoch", epoch)
    made.run(tmp_path, "id")
    assert mined == expected
    assert not np.array_equal(pools[0], pools[-1])
    assert made._pool is pools[-1]
