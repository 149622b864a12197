"""Token vectors are the models' own hidden states, without padding and special tokens, one by one or together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mm_milvus.encoders import TokenEncoder, load_encoder, token_encoder
from mm_milvus.encoders.pixels import rgb_array
from mm_milvus.encoders.tokens import MOST_PATCHES, patches_of
from mm_milvus.errors import NotSupported

from . import tiny_models

WORDS = ["red cotton shirt", "green tea 500 g", "", "wooden chair " * 60]


def load(name: str) -> TokenEncoder:
    return token_encoder(load_encoder(name, device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("towers")
    return f"towers:{tiny_models.vit(folder / 'vit')}+{tiny_models.bert(folder / 'bert')}"


@pytest.mark.parametrize("family", sorted(tiny_models.JOINT))
def test_alone_or_together_each_item_has_its_tokens(family: str, tmp_path: Path) -> None:
    encoder = load(str(tiny_models.JOINT[family](tmp_path / family)))
    pictures = [encoder.prepare(rgb_array(picture)) for picture in tiny_models.pictures()]
    for encode, items, width in (
        (encoder.encode_text_tokens, WORDS, encoder.token_spec.text_dim),
        (encoder.encode_prepared_tokens, pictures, encoder.token_spec.image_dim),
    ):
        together = encode(items)  # type: ignore[operator]
        for item, tokens in zip(items, together, strict=True):
            (alone,) = encode([item])  # type: ignore[operator]
            assert tokens.dtype == np.float32
            assert tokens.shape == (len(alone), width)
            np.testing.assert_allclose(tokens, alone, atol=1e-4)
    counts = [len(tokens) for tokens in encoder.encode_text_tokens(WORDS)]
    assert 0 < counts[0] < counts[3] <= encoder.spec.max_tokens
    assert counts[2] == 0
    assert all(0 < len(tokens) <= MOST_PATCHES for tokens in encoder.encode_prepared_tokens(pictures))


def test_clip_gives_projected_words_and_patches(tmp_path: Path) -> None:
    encoder = load(str(tiny_models.clip(tmp_path / "clip")))
    model = encoder._model  # type: ignore[attr-defined]
    inputs = encoder._tokens(["red cotton shirt"])  # type: ignore[attr-defined]
    with torch.inference_mode():
        hidden = model.text_projection(model.text_model(**inputs).last_hidden_state)[0]
    (tokens,) = encoder.encode_text_tokens(["red cotton shirt"])
    np.testing.assert_allclose(tokens, hidden[1:-1], atol=1e-5)  # without start and end
    picture = encoder.prepare(rgb_array(tiny_models.pictures()[5]))
    with torch.inference_mode():
        seen = model.vision_model(**encoder._pixels([picture])).last_hidden_state  # type: ignore[attr-defined]
        seen = model.visual_projection(model.vision_model.post_layernorm(seen))[0]
    (patches,) = encoder.encode_prepared_tokens([picture])
    np.testing.assert_allclose(patches, seen[1:], atol=1e-5)  # 4 x 4, without the class
    assert encoder.token_spec.joint
    pooled = encoder.encode_prepared([picture])[0].numpy()  # type: ignore[attr-defined]
    np.testing.assert_allclose(seen[0] / seen[0].norm(), pooled, atol=1e-5)


def test_siglip_leaves_out_its_padding(tmp_path: Path) -> None:
    encoder = load(str(tiny_models.siglip(tmp_path / "siglip")))
    short, long = encoder.encode_text_tokens(["red shirt", "red cotton shirt for men"])
    assert 0 < len(short) < len(long) < 64
    assert not encoder.token_spec.joint


def test_towers_give_both_and_no_prompt(towers: str, tmp_path: Path) -> None:
    encoder = load(towers)
    assert (encoder.token_spec.text_dim, encoder.token_spec.image_dim) == (32, 32)
    assert [len(tokens) for tokens in encoder.encode_text_tokens(["red cotton shirt", "tea"])] == [3, 1]
    picture = encoder.prepare(rgb_array(tiny_models.pictures()[0]))
    assert encoder.encode_prepared_tokens([picture])[0].shape == (16, 32)
    e5 = tiny_models.bert(tmp_path / "e5-tiny")
    prompted = load(f"towers:{tiny_models.convnext(tmp_path / 'convnext')}+{e5}")
    assert len(prompted.encode_text_tokens(["red cotton shirt"])[0]) == 3
    assert len(prompted.encode_query_text_tokens(["red cotton shirt"])[0]) == 3
    assert not np.allclose(  # the prompt is gone, and what it changed in the others is not
        prompted.encode_query_text_tokens(["red"])[0], prompted.encode_text_tokens(["red"])[0]
    )
    places = prompted.encode_prepared_tokens([prompted.prepare(rgb_array(tiny_models.pictures()[0]))])[0]
    assert places.shape == (1, 40)  # 32 pixels, reduced 32 times


def test_many_patches_become_a_smaller_grid() -> None:
    class Config:
        patch_size = 2

    pixels = {"pixel_values": torch.zeros(1, 3, 32, 64)}  # 16 x 32 patches
    hidden = torch.arange(2 + 16 * 32, dtype=torch.float32)[None, :, None].expand(1, -1, 3)
    (patches,) = patches_of(hidden, Config(), pixels)
    assert patches.shape == (5 * 11, 3)
    square = {"pixel_values": torch.zeros(1, 3, 32, 32)}
    (patches,) = patches_of(torch.arange(257.0)[None, :, None], Config(), square)
    assert patches.shape == (64, 1)
    first = (1 + 2 + 17 + 18) / 4  # the first of the 2 x 2 places, after the class token
    assert float(patches[0, 0]) == first


def test_what_is_not_finite_has_no_tokens(towers: str) -> None:
    encoder = load(towers)
    tower = encoder._text  # type: ignore[attr-defined]
    with torch.no_grad():
        word = tower.tokens(["tea"])["input_ids"][0, 1]
        tower.model.embeddings.word_embeddings.weight[word] = float("nan")
    assert [len(one) for one in encoder.encode_text_tokens(["red shirt", "green tea"])] == [2, 0]


def test_the_offline_encoder_says_what_to_take() -> None:
    with pytest.raises(
        NotSupported, match=r"'offline' has no token vectors.* CLIP-type model .* towers:IMAGE"
    ):
        token_encoder(load_encoder("offline"))
