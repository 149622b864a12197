from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from mm_milvus.training.losses import PairLoss, sigmoid_loss, softmax_loss

HIDDEN = [[False, False, True], [False, False, False]]


def test_softmax_is_written_out() -> None:
    """Two pairs of grades 3 and 1; the third candidate is no negative of the first query."""
    logits = torch.tensor([[2.0, 1.0, 5.0], [0.5, -1.0, 0.0]])
    found = softmax_loss(logits, torch.tensor([0, 1]), torch.tensor(HIDDEN), torch.tensor([3.0, 1.0]))
    first = -math.log(math.e**2 / (math.e**2 + math.e))
    second = -math.log(math.e**-1 / (math.e**0.5 + math.e**-1 + 1))
    assert float(found) == pytest.approx((3 * first + second) / 4, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_softmax_with_one_grade_and_nothing_hidden_is_cross_entropy(seed: int) -> None:
    torch.manual_seed(seed)
    logits, wanted = torch.randn(7, 9) * 10, torch.randint(0, 9, (7,))
    found = softmax_loss(logits, wanted, torch.zeros(7, 9, dtype=torch.bool), torch.full((7,), 2.0))
    torch.testing.assert_close(found, cross_entropy(logits, wanted))


def test_sigmoid_is_written_out() -> None:
    logits = np.array([[2.0, 1.0, 5.0], [0.5, -1.0, 0.0]])
    found = sigmoid_loss(
        torch.tensor(logits), torch.tensor([0, 1]), torch.tensor(HIDDEN), torch.tensor([3.0, 1.0])
    )

    def miss(value: float) -> float:
        return math.log(1 + math.exp(-value))

    first = miss(2.0) + miss(-1.0)
    second = miss(-0.5) + miss(-1.0) + miss(-0.0)
    assert float(found) == pytest.approx((3 * first + second) / 4, abs=1e-6)


def test_what_is_hidden_moves_nothing() -> None:
    for name in ("softmax", "sigmoid"):
        candidates = torch.randn(3, 4, requires_grad=True)
        loss = PairLoss(name)(  # type: ignore[arg-type]
            torch.randn(2, 4), candidates, torch.tensor([0, 1]),
            torch.tensor([[False, False, True]] * 2), torch.ones(2),
        )  # fmt: skip
        loss.backward()
        assert candidates.grad is not None
        assert candidates.grad[2].tolist() == [0, 0, 0, 0]
        assert candidates.grad[:2].abs().min() > 0


def test_the_scale_stays_below_a_hundred() -> None:
    loss = PairLoss("softmax")
    loss.log_scale.data.fill_(50.0)
    queries = torch.eye(2)
    found = loss(queries, queries, torch.tensor([1, 0]), torch.zeros(2, 2, dtype=torch.bool), torch.ones(2))
    assert float(found.detach()) == pytest.approx(100.0, abs=1e-3)
