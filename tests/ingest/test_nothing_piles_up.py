"""What a run has done with is let go, and each row is reported once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.base import Prepared
from mm_milvus.errors import ConnectionFailed, MediaError
from mm_milvus.ingest.batches import Batch, Planner
from mm_milvus.ingest.slots import Slot
from mm_milvus.store.failures import translated
from tests.encoders import tiny_models
from tests.ingest.shops import Delegating, Shop, picture, rows


def test_a_failure_holds_no_picture() -> None:
    """Its traceback would, for as long as the failure is remembered."""
    slot = Slot()
    try:
        try:
            raise ValueError("of the decoder")
        except ValueError as cause:
            raise MediaError("damaged", stage="decode") from cause
    except MediaError as error:
        slot.fail(error)
    assert slot.failure is not None
    assert (str(slot.failure), slot.failure.stage) == ("damaged", "decode")  # type: ignore[attr-defined]
    assert slot.failure.__traceback__ is slot.failure.__context__ is slot.failure.__cause__ is None


def test_rows_that_need_no_picture_do_not_carry_its_bytes(
    small: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    batches = Planner.batches

    def watched(self: Planner, *args: Any, **options: Any) -> Iterator[Batch]:
        for batch in batches(self, *args, **options):
            held.append(sum(len(p.data or b"") for item in batch.items for p in item.pictures))
            yield batch

    small.draw("0.png", "1.png")
    products = rows(2, image="{}.png", price=1.0)
    small.ingest(products)
    products[0]["price"] = 2.0
    products[1]["title"] = "another"
    monkeypatch.setattr(Planner, "batches", watched)
    report = small.ingest(products)
    assert (report.written, report.images_encoded, report.texts_encoded) == (2, 0, 1)
    assert held == [0, 0]


class OneIsNone(Delegating):
    """A model that gives no numbers for one picture."""

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Tensor:
        vectors = self.real.encode_prepared(pictures)
        vectors[1] = torch.nan
        return vectors


def test_a_picture_without_a_vector_does_not_spoil_the_means(tmp_path: Path) -> None:
    model = load_encoder(str(tiny_models.clip(tmp_path / "clip")), device="cpu", dtype="float32")
    with Shop(tmp_path / "shop") as shop:
        folder = str(tmp_path / "clip")
        shop.client._encoders = {name: [OneIsNone(model)] for name in ("offline", "clip", folder)}
        shop.draw(*(f"{n}.png" for n in range(4)))
        products = [*rows(4, image="{}.png"), {"id": "bare", "title": "no picture"}]
        report = shop.ingest(products, max_reject_rate=1)
        assert np.isfinite(shop.client._open().stamp.image_mean).all()
        assert shop.client._open().stamp.image_mean.any()
        assert "bare" in shop.ids()
        assert report.written >= 4


def test_a_row_that_lacks_its_picture_and_is_refused_is_reported_once(small: Shop) -> None:
    huge = {"id": "huge", "title": "x", "one": "x" * 40_000, "two": "y" * 40_000, "image": "nowhere.png"}
    report = small.ingest([huge, {"id": "fine", "title": "x"}], max_reject_rate=1)
    assert (report.written, report.rejected, report.kept) == (1, 1, 0)
    assert [(reject["id"], reject["stage"]) for reject in small.rejects()] == [("huge", "write")]
    verified = small.client.verify(small.catalog)
    assert (verified.ok, verified.rejected, verified.missing) == (True, 1, ())


def test_a_row_that_a_look_up_missed_keeps_its_picture(small: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite may not see a row for a moment while it flushes."""
    from mm_milvus.store import Collection

    (small.folder / "a.png").write_bytes(picture(1))
    product = {"id": "p", "title": "x", "image": "a.png"}
    small.ingest([product])
    before = small.vector("p")
    (small.folder / "a.png").unlink()
    look_up, asked = Collection.stored, []

    def forgetful(self: Collection, ids: Sequence[str]) -> dict[str, Any]:
        asked.append(ids)
        return {} if len(asked) == 1 else look_up(self, ids)

    monkeypatch.setattr(Collection, "stored", forgetful)
    report = small.ingest([product], max_reject_rate=1)
    monkeypatch.undo()
    assert report.kept == 1
    size = small.client._open().stamp.image_mean.shape[0]
    assert small.vector("p")[:size].tobytes() == before[:size].tobytes()


def test_a_connection_that_another_thread_has_closed_is_one_that_failed() -> None:
    with (
        pytest.raises(ConnectionFailed, match="cannot write: the connection was closed"),
        translated("cannot write"),
    ):
        raise ValueError("Cannot invoke RPC on closed channel!")
    with pytest.raises(ValueError, match="another"), translated("cannot write"):
        raise ValueError("another")
