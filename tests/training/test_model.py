"""The network in torch is the head in numpy, and before its first step it ranks like untrained vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mm_milvus.fusion import HeadConfig, normalise
from mm_milvus.training.model import inputs_of
from tests.training import worlds

KINDS = [
    ("linear", 6, 12, 8),
    ("attention", 6, 12, 8),
    ("gated", 6, 12, 8),
    ("sum", 8, 8, 8),
    ("product", 8, 8, 8),
]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("kind", "dim", "image", "text"), KINDS)
def test_torch_and_numpy_agree(kind: str, dim: int, image: int, text: int, shared: bool) -> None:
    means = worlds.means(image=image, text=text)
    config = worlds.config(kind, dim, shared=shared, image=image, text=text)
    model = worlds.random_model(config, means)
    products = worlds.products(40, image=image, text=text)
    assert {tuple(row) for row in products.present.tolist()} == {(True, True), (True, False), (False, True)}
    queries = worlds.queries(image=image, text=text)
    inputs = inputs_of(config, means, *worlds.copied(products, queries), worlds.WEIGHTS)
    head = model.to_head()
    expected = head.products(products.image, products.text, products.present[:, 0], products.present[:, 1])
    with torch.no_grad():
        fused = model.products(inputs, torch.arange(40)).numpy()
        asked = model.queries(inputs, torch.arange(5)).numpy()
    np.testing.assert_allclose(fused, expected, atol=1e-5)
    np.testing.assert_allclose(asked, worlds.head_queries(head, means, products, queries), atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "attention", "gated"])
def test_what_is_dropped_counts_as_missing(kind: str) -> None:
    means, config = worlds.means(), worlds.config(kind, 6)
    model = worlds.random_model(config, means)
    products = worlds.products(4, complete=True)
    inputs = inputs_of(config, means, *worlds.copied(products, worlds.queries(ids=False)), worlds.WEIGHTS)
    dropped = torch.tensor([[True, False], [False, True], [False, False], [False, False]])
    with torch.no_grad():
        fused = model.products(inputs, torch.arange(4), dropped).numpy()
    has = ~dropped.numpy()
    expected = model.to_head().products(products.image, products.text, has[:, 0], has[:, 1])
    np.testing.assert_allclose(fused, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "attention", "gated"])
def test_before_the_first_step_it_ranks_like_centred_blocks(kind: str) -> None:
    """Where dim has room for both; the scores themselves differ by the factor sqrt 2 of complete products."""
    means, products, queries = worlds.means(), worlds.products(60, complete=True), worlds.queries(ids=False)
    model, inputs = worlds.started(worlds.config(kind, worlds.IMAGE + worlds.TEXT), means, products, queries)
    image, text = normalise(products.image - means.image), normalise(products.text - means.text)
    asked = normalise(queries.images - means.image), normalise(queries.texts - means.query_text)
    expected = np.stack(
        [
            image @ asked[0][0],
            text @ asked[1][0],
            0.3 * image @ asked[0][1] + 0.7 * text @ asked[1][1],
        ]
    )
    with torch.no_grad():
        found = (model.queries(inputs, torch.arange(3)) @ model.products(inputs, torch.arange(60)).T).numpy()
    np.testing.assert_allclose(found * np.sqrt(2), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["sum", "product"])
def test_before_the_first_step_joint_heads_are_the_untrained_fusions(kind: str) -> None:
    from mm_milvus.fusion import hadamard, weighted_sum

    means = worlds.means(image=8, text=8)
    products = worlds.products(10, image=8, text=8, complete=True)
    queries = worlds.queries(image=8, text=8, ids=False)
    model, inputs = worlds.started(worlds.config(kind, 8, image=8, text=8), means, products, queries)
    image, text = products.image, products.text
    if kind == "sum":
        image, text = normalise(image - means.image), normalise(text - means.text)
    expected = weighted_sum(image, text) if kind == "sum" else hadamard(image, text)
    with torch.no_grad():
        np.testing.assert_allclose(model.products(inputs, torch.arange(10)).numpy(), expected, atol=1e-5)


def test_a_smaller_dim_keeps_what_the_products_differ_in_most() -> None:
    """Products that lie in 5 of 20 dimensions lose nothing in 5."""
    rng = np.random.default_rng(0)
    products = worlds.products(200, complete=True)
    config = HeadConfig("linear", 5, worlds.IMAGE, worlds.TEXT, True, "drawn", "1")
    basis = rng.standard_normal((5, worlds.IMAGE + worlds.TEXT)).astype(np.float32)
    both = rng.standard_normal((200, 5)).astype(np.float32) @ basis
    from mm_milvus.training.start import start_weights

    image, text = both[:, : worlds.IMAGE], both[:, worlds.IMAGE :]
    weights = start_weights(config, image, text, products.present)
    small = image @ weights["image"].T + text @ weights["text"].T
    np.testing.assert_allclose(small @ small.T, both @ both.T, rtol=1e-3, atol=1e-3)
