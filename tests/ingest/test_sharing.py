"""What is the same is encoded once, and what is bad harms nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from mm_milvus.encoders.base import Encoder, Prepared
from mm_milvus.errors import EncoderError
from tests.ingest.shops import (
    Delegating,
    Shop,
    assert_same,
    assert_same_vectors,
    counted,
    is_poison,
    picture,
    poison,
    rows,
)


def test_identical_pictures_and_texts_are_encoded_once_across_batches(small: Shop, encoder: Encoder) -> None:
    """40 products in batches of 6 take turns with 4 pictures under 40 names, and with 5 titles."""
    products = [
        {"id": f"p{n:04}", "title": f"title {n % 5}", "image": f"{n}.png", "price": n} for n in range(40)
    ]
    for n in range(40):
        (small.folder / f"{n}.png").write_bytes(picture(n % 4))
    report = small.ingest(products, batch_size=6, text_fields=["title"])
    assert counted(report) == (4, 36, 5, 35)
    with Shop(small.folder, encoder, "alone.db") as alone:
        for product in products[:12]:
            counts = counted(alone.ingest([product], text_fields=["title"]))
            assert counts == (1, 0, 1, 0)
        assert_same_vectors(small.client, alone.client, alone.ids())


def test_a_shared_picture_that_is_damaged_refuses_all_its_products_with_the_same_reason(small: Shop) -> None:
    small.draw("good.png")
    for name in ("a.png", "b.png", "c.png"):
        (small.folder / name).write_bytes(picture(1)[:60])
    products = [{"id": f"p{n}", "image": f"{name}.png"} for n, name in enumerate("abc")]
    products.append({"id": "good", "image": "good.png"})
    report = small.ingest(products, batch_size=1, max_reject_rate=1)
    rejects = small.rejects()
    assert [(reject["id"], reject["stage"]) for reject in rejects] == [(f"p{n}", "decode") for n in range(3)]
    assert len({reject["reason"] for reject in rejects}) == 1
    assert (report.written, report.rejected, report.images_encoded, report.images_shared) == (1, 3, 1, 0)


def test_a_product_that_shows_one_picture_twice_has_its_vector(small: Shop) -> None:
    small.draw("a.png", "b.png", number=3)
    report = small.ingest([{"id": "twice", "image": ["a.png", "b.png"]}, {"id": "once", "image": "a.png"}])
    assert counted(report)[:2] == (1, 2)
    np.testing.assert_allclose(small.vector("twice"), small.vector("once"), atol=1e-5)


def test_bad_pictures_of_every_kind_leave_their_batch_alone(small: Shop, encoder: Encoder) -> None:
    products = rows(20, image="{}.png")
    small.draw(*(f"{n}.png" for n in range(20)))
    (small.folder / "3.png").write_bytes(b"")
    (small.folder / "7.png").write_bytes(picture(7)[:50])
    (small.folder / "9.png").write_bytes(b"<html>")
    (small.folder / "12.png").unlink()
    report = small.ingest(products)
    assert (report.written, report.kept, report.images_encoded) == (20, 4, 16)
    assert [reject["id"] for reject in small.rejects()] == ["p0003", "p0007", "p0009", "p0012"]
    with Shop(small.folder, encoder, "clean.db") as clean:
        bare = [
            {key: row[key] for key in row if key != "image" or n not in (3, 7, 9, 12)}
            for n, row in enumerate(products)
        ]
        assert clean.ingest(bare).kept == 0
        good = [row["id"] for row in bare if "image" in row]
        assert_same_vectors(small.client, clean.client, good)


class Overwriting(Delegating):
    """Gives ``value`` in all places for pictures of the poisonous colour."""

    def __init__(self, real: Encoder, value: float) -> None:
        super().__init__(real)
        self.value = value

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Tensor:
        vectors = self.real.encode_prepared(pictures)
        vectors[[is_poison(one) for one in pictures]] = self.value
        return vectors


class Refusing(Delegating):
    """Raises for a batch with a picture of the poisonous colour."""

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Tensor:
        if any(map(is_poison, pictures)):
            raise EncoderError("the device has too little free memory for one item")
        return self.real.encode_prepared(pictures)


class Broken(Delegating):
    """Refuses everything."""

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Tensor:
        raise EncoderError("the weights are gone")

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        raise EncoderError("the weights are gone")


@pytest.mark.parametrize(
    ("kind", "reason", "batch_size"),
    [
        (lambda real: Overwriting(real, float("nan")), "not finite", 4),
        (lambda real: Overwriting(real, float("inf")), "not finite", 64),
        (lambda real: Overwriting(real, 0.0), "a vector of zeros", 1),
        (Refusing, "too little free memory", 2),
        (Refusing, "too little free memory", 64),
    ],
    ids=["nan", "infinity", "zeros", "refused in small batches", "refused in one batch"],
)
def test_a_picture_that_the_model_cannot_take_is_the_only_one_to_go(
    kind: Callable[[Encoder], Delegating], reason: str, batch_size: int, small: Shop, encoder: Encoder
) -> None:
    products = rows(9, image="{}.png")
    small.draw(*(f"{n}.png" for n in range(9)))
    (small.folder / "4.png").write_bytes(poison())
    del products[4]["title"]
    (small.folder / "6.png").write_bytes(poison(1))
    small.client._encoders["offline"] = [kind(encoder)]
    report = small.ingest(products, batch_size=batch_size, max_reject_rate=1)
    assert (report.written, report.rejected, report.kept, report.images_encoded) == (8, 1, 1, 7)
    found = [(row["id"], row["stage"], row.get("kept", False)) for row in small.rejects()]
    assert found == [("p0004", "encode", False), ("p0006", "encode", True)]
    assert all(reason in row["reason"] for row in small.rejects())
    with Shop(small.folder, encoder, "clean.db") as clean:
        del products[6]["image"]
        clean.ingest(products[:4] + products[5:])
        assert_same_vectors(small.client, clean.client, clean.ids())
    small.client._encoders["offline"] = [encoder]  # a model that can: both are tried again
    again = small.ingest(products, max_reject_rate=1)
    assert again.rejected == 0


def test_a_text_that_the_model_cannot_take_is_the_only_one_to_go(small: Shop, encoder: Encoder) -> None:
    class Choosy(Delegating):
        def encode_text(self, texts: Sequence[str]) -> Tensor:
            vectors = self.real.encode_text(texts)
            vectors[["thing 2" in text for text in texts]] = torch.nan
            return vectors

    small.draw("a.png")
    small.client._encoders["offline"] = [Choosy(encoder)]
    report = small.ingest(rows(5, image="a.png"), max_reject_rate=1)
    assert (report.written, report.rejected, report.texts_encoded) == (4, 1, 4)
    (reject,) = small.rejects()
    assert (reject["id"], reject["stage"]) == ("p0002", "encode")


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.timeout(60)
def test_a_model_that_does_not_work_at_all_ends_the_ingest(
    batch_size: int, small: Shop, encoder: Encoder
) -> None:
    products = rows(40, image="{}.png")
    small.draw(*(f"{n}.png" for n in range(40)))
    small.client._encoders["offline"] = [Broken(encoder)]
    with pytest.raises(EncoderError, match="the weights are gone"):
        small.ingest(products, batch_size=batch_size)
    assert small.ids() == []
    small.client._encoders["offline"] = [encoder]
    assert small.ingest(products).written == 40


# Several pictures of a product


def gallery(small: Shop) -> list[dict[str, object]]:
    small.draw("a.png", "b.png", "c.png")
    return [
        {"id": "one", "title": "one", "image": "a.png"},
        {"id": "two", "title": "two", "image": ["a.png", "b.png"]},
        {"id": "three", "title": "three", "image": ["c.png", "b.png", "a.png"]},
    ]


def test_the_first_picture_counts_alone_where_that_is_asked_for(small: Shop, encoder: Encoder) -> None:
    products = gallery(small)
    report = small.ingest(products, images="first")
    assert counted(report)[:2] == (2, 1)
    with Shop(small.folder, encoder, "plain.db") as plain:
        plain.ingest(
            [row | {"image": name} for row, name in zip(products, ("a.png", "a.png", "c.png"), strict=True)]
        )
        assert_same(small.client, plain.client)


def test_switching_the_setting_encodes_only_products_of_several_pictures(
    small: Shop, encoder: Encoder
) -> None:
    products = gallery(small)
    small.ingest(products)
    means = {id: small.vector(id) for id in small.ids()}
    switched = small.ingest(products, images="first")
    assert (switched.written, switched.unchanged, counted(switched)) == (2, 1, (2, 0, 0, 0))
    assert not np.allclose(small.vector("two"), means["two"])
    back = small.ingest(products, images="mean")
    assert (back.written, back.unchanged, counted(back)) == (2, 1, (3, 2, 0, 0))
    for id, vector in means.items():
        np.testing.assert_allclose(small.vector(id), vector, atol=1e-5)


def test_one_broken_picture_of_several_leaves_the_others(small: Shop, encoder: Encoder) -> None:
    products = gallery(small)
    (small.folder / "b.png").write_bytes(picture(1)[:50])
    report = small.ingest(products)
    assert (report.written, report.kept, report.rejected) == (3, 2, 0)
    with Shop(small.folder, encoder, "plain.db") as plain:
        images = ("a.png", "a.png", ["c.png", "a.png"])
        plain.ingest([row | {"image": name} for row, name in zip(products, images, strict=True)])
        assert_same(small.client, plain.client)
    again = small.ingest(products)
    assert (again.written, again.unchanged, again.kept) == (0, 3, 2)
    small.draw("b.png", number=1)
    healed = small.ingest(products)
    assert (healed.written, healed.unchanged, healed.kept) == (2, 1, 0)
    first = small.ingest(products, images="first")
    (small.folder / "b.png").unlink()  # nobody looks at it any more
    assert (first.written, small.ingest(products, images="first").kept) == (2, 0)
