"""Trained heads against their formulae written out for one product, and on the way to a folder and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mm_milvus.encoders.base import EncoderSpec
from mm_milvus.errors import FusionError
from mm_milvus.fusion import Fusion, Head, HeadConfig, HeadKind, load_head, normalise
from mm_milvus.fusion.head import CONFIG_FILE, WEIGHTS_FILE

from .heads import random_head, unit

KINDS: list[HeadKind] = ["linear", "attention", "gated", "sum", "product"]


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(np.asarray(scores, np.float64))
    return powers / powers.sum()


def one(head: Head, image: np.ndarray | None, text: np.ndarray | None) -> np.ndarray:
    """A product that lacks what is None."""
    sizes = head.config.image_dim, head.config.text_dim
    given = [np.full(size, 9.0) if v is None else v for v, size in zip((image, text), sizes, strict=True)]
    arrays = [np.asarray(vector, np.float32)[None] for vector in given]
    return head.products(*arrays, [image is not None], [text is not None])[0]


def centred(head: Head, image: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return normalise(image - head.image_mean), normalise(text - head.text_mean)


@pytest.mark.parametrize("kind", ["linear", "sum"])
def test_linear_adds_the_projections_of_both(kind: HeadKind) -> None:
    head = random_head(kind)
    image, text = unit(head.config.image_dim)[0], unit(head.config.text_dim, seed=2)[0]
    u, v = centred(head, image, text)
    x = head.weights["product.image"] @ u + head.weights["product.text"] @ v
    assert one(head, image, text) == pytest.approx(x / np.linalg.norm(x), abs=1e-5)
    alone = head.weights["product.text"] @ v
    assert one(head, None, text) == pytest.approx(alone / np.linalg.norm(alone), abs=1e-5)


def test_gated_weighs_each_dimension_by_a_softmax_over_the_modalities() -> None:
    head = random_head("gated")
    image, text = unit(6)[0], unit(5, seed=2)[0]
    u, v = centred(head, image, text)
    w = head.weights
    scores = w["product.gate"] @ np.concatenate([u, v]) + w["product.gate_bias"]
    x_image, x_text = w["product.image"] @ u, w["product.text"] @ v
    expected = []
    for place in range(4):
        share = softmax(scores[[place, 4 + place]])
        expected.append(2 * (share[0] * x_image[place] + share[1] * x_text[place]))
    assert one(head, image, text) == pytest.approx(np.array(expected) / np.linalg.norm(expected), abs=1e-5)
    alone = w["product.image"] @ u  # of one modality the softmax is 1
    assert one(head, image, None) == pytest.approx(alone / np.linalg.norm(alone), abs=1e-5)


def test_attention_is_scaled_dot_product_attention_in_several_heads() -> None:
    head = random_head("attention")  # 2 heads of d_k = 2
    image, text = unit(6)[0], unit(5, seed=2)[0]
    u, v = centred(head, image, text)
    w = {name.removeprefix("product."): value for name, value in head.weights.items()}
    tokens = [w["image"] @ u, w["text"] @ v]
    fused = np.zeros(4)
    for asking in tokens:
        seen: list[float] = []
        for part in (slice(0, 2), slice(2, 4)):
            query = (w["queries"] @ asking)[part]
            shares = softmax(np.array([query @ (w["keys"] @ token)[part] for token in tokens]) / np.sqrt(2))
            seen += list(sum(share * (w["values"] @ token)[part] for share, token in zip(shares, tokens)))  # noqa: B905
        fused += asking + w["out"] @ np.array(seen)
    assert one(head, image, text) == pytest.approx(fused / np.linalg.norm(fused), abs=1e-5)
    alone = tokens[1] + w["out"] @ w["values"] @ tokens[1]  # it attends to itself only
    assert one(head, None, text) == pytest.approx(alone / np.linalg.norm(alone), abs=1e-5)


def test_product_multiplies_raw_vectors_and_takes_the_mean_for_what_is_missing() -> None:
    head = random_head("product")
    image, text = unit(4)[0], unit(4, seed=2)[0]
    w = head.weights
    x = (w["product.image"] @ image) * (w["product.text"] @ text)
    assert one(head, image, text) == pytest.approx(x / np.linalg.norm(x), abs=1e-5)
    x = (w["product.image"] @ image) * (w["product.text"] @ head.text_mean)
    assert one(head, image, None) == pytest.approx(x / np.linalg.norm(x), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_query_of_one_signal_is_as_long_as_its_weight(kind: HeadKind) -> None:
    head = random_head(kind, shared=False)
    text = unit(head.config.text_dim)[0]
    whole, part = head.query(None, text), head.query(None, np.float32(0.3) * text)
    assert np.linalg.norm(whole) == pytest.approx(1.0, abs=1e-5)
    assert part == pytest.approx(0.3 * whole, abs=1e-5)


@pytest.mark.parametrize("kind", ["linear", "attention", "gated", "sum"])
def test_the_parts_of_a_query_add_up_and_can_push_away(kind: HeadKind) -> None:
    head = random_head(kind, shared=False)
    image, text = 0.7 * unit(head.config.image_dim)[0], 0.3 * unit(head.config.text_dim, seed=2)[0]
    both = head.query(image, text)
    assert both == pytest.approx(head.query(image, None) + head.query(None, text), abs=1e-5)
    assert head.query(None, -text) == pytest.approx(-head.query(None, text), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_shared_weights_serve_both_sides(kind: HeadKind) -> None:
    shared, own = random_head(kind), random_head(kind, shared=False)
    text = unit(shared.config.text_dim)[0]
    means = {"text_mean": shared.query_text_mean}
    side = replace(shared, **means)  # queries are centred by the caller, products by the head
    lacking = one(side, None, normalise(text + 0.0))
    asked = normalise(text - side.text_mean) if side.config.centred else text
    assert side.query(None, asked) == pytest.approx(lacking, abs=1e-5)
    assert abs(float(own.query(None, asked) @ one(own, None, text))) < 0.999


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_brings_back_the_same_head(kind: HeadKind, shared: bool, tmp_path: Path) -> None:
    head = random_head(kind, shared=shared)
    head.save(tmp_path / "heads" / "one")
    again, revision = load_head(tmp_path / "heads" / "one")
    assert again.config == head.config
    assert {name: value.tobytes() for name, value in again.weights.items()} == {
        name: value.tobytes() for name, value in head.weights.items()
    }
    assert again.query_text_mean.tobytes() == head.query_text_mean.tobytes()
    head.save(tmp_path / "two")
    assert load_head(tmp_path / "two")[1] == revision
    random_head(kind, shared=shared, seed=5).save(tmp_path / "two")
    assert load_head(tmp_path / "two")[1] != revision


def test_folders_that_hold_no_head_say_so(tmp_path: Path) -> None:
    with pytest.raises(FusionError, match="no trained fusion in .*nowhere"):
        load_head(tmp_path / "nowhere")
    random_head("linear").save(tmp_path)
    weights = tmp_path / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(FusionError, match="damaged"):
        load_head(tmp_path)
    random_head("linear").save(tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    for changes, message in (
        ({"version": 99}, "newer version"),
        ({"dim": 5}, "product.image' must be finite numbers of the shape"),
        ({"kind": "magic"}, "linear, attention, gated, sum, product, not 'magic'"),
        ({"colour": 1}, "damaged"),
    ):
        (tmp_path / CONFIG_FILE).write_text(json.dumps(config | changes))
        with pytest.raises(FusionError, match=message):
            load_head(tmp_path)


def test_what_cannot_be_is_refused() -> None:
    config = HeadConfig("sum", 4, 6, 5, True, "offline", "1")
    with pytest.raises(FusionError, match=r"'sum' needs .* equal width.* 6 and 5"):
        Head(config, {}, *(np.zeros(n, np.float32) for n in (6, 5, 5)))
    config = HeadConfig("attention", 6, 6, 5, True, "offline", "1", attention_heads=4)
    with pytest.raises(FusionError, match=r"\(6\) must be a multiple of its 4 heads"):
        Head(config, {}, *(np.zeros(n, np.float32) for n in (6, 5, 5)))


def test_a_head_is_for_one_encoder() -> None:
    def spec(name: str, revision: str) -> EncoderSpec:
        return EncoderSpec(name, revision, "clip", 5, 6, False, "", 77, 300)

    head = random_head("linear", encoder="shop/model", revision="abc")
    head.check(spec("shop/model", "abc"))
    with pytest.raises(
        FusionError, match=r"trained on the encoder shop/model@abc, not on offline@2; use --encoder"
    ):
        head.check(spec("offline", "2"))
    with pytest.raises(FusionError):
        head.check(spec("shop/model", "abd"))
    random_head("linear", encoder="folder", revision="fp:12").check(spec("moved", "fp:12"))


def test_a_fusion_takes_vectors_that_are_none() -> None:
    head = random_head("attention")
    fusion = Fusion("head", head.image_mean, head.text_mean, head=head)
    image, text = unit(6)[0], unit(5)[0]
    fused = fusion.fuse([image, None, image], [text, text, None])
    assert fusion.dim == 4
    for row, parts in zip(fused, ((image, text), (None, text), (image, None)), strict=True):
        assert row == pytest.approx(one(head, *parts), abs=1e-6)
