"""Which weights of an encoder take gradients, and how a changed encoder is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.trainable import trainable
from mm_milvus.errors import NotSupported
from tests.encoders import tiny_models

_ENDS = {
    "clip": ("post_layernorm", "visual_projection", "final_layer_norm", "text_projection"),
    "siglip": ("post_layernorm", "vision_model.head", "final_layer_norm", "text_model.head"),
    "siglip2_naflex": ("post_layernorm", "vision_model.head", "final_layer_norm", "text_model.head"),
    "chinese_clip": ("post_layernorm", "visual_projection", "text_projection"),
    "altclip": ("post_layernorm", "visual_projection", "pre_LN", "transformation", "text_projection"),
}


@pytest.mark.parametrize("family", _ENDS)
def test_the_last_layers_and_what_follows_them_take_gradients(family: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(tiny_models.JOINT[family](tmp_path / family)), device="cpu", dtype="float32")
    names = trainable(encoder).unfreeze(1)
    assert names
    for name in names:
        assert any(part in name for part in ("layers.1.", "layer.1.", *_ENDS[family])), name
    for end in ("layers.1.self_attn" if family != "altclip" else "layers.1.", *_ENDS[family]):
        assert any(end in name for name in names), end


def test_poolers_that_vectors_do_not_depend_on_stay_frozen(tmp_path: Path) -> None:
    vit, bert = tiny_models.vit(tmp_path / "vit"), tiny_models.bert(tmp_path / "bert")
    names = trainable(load_encoder(f"towers:{vit}+{bert}", device="cpu", dtype="float32")).unfreeze(2)
    assert not [name for name in names if "pooler" in name or "embeddings" in name]
    assert {"image.layernorm.weight", "text.encoder.layer.0.output.dense.weight"} <= names.keys()


def test_stages_are_no_layers(tmp_path: Path) -> None:
    one, bert = tiny_models.convnext(tmp_path / "convnext"), tiny_models.bert(tmp_path / "bert")
    towers = trainable(load_encoder(f"towers:{one}+{bert}", device="cpu", dtype="float32"))
    with pytest.raises(NotSupported, match="the picture model, a ConvNextModel, has no transformer layers"):
        towers.unfreeze(1)


def test_prompts_that_come_with_a_name_are_kept(tmp_path: Path) -> None:
    vit, bert = tiny_models.vit(tmp_path / "vit"), tiny_models.bert(tmp_path / "e5-small")
    towers = trainable(load_encoder(f"towers:{vit}+{bert}", device="cpu", dtype="float32"))
    assert towers.prompts == ("passage: ", "query: ")
    towers.save(tmp_path / "saved")
    again = load_encoder(towers.name(tmp_path / "saved"), device="cpu", dtype="float32")
    assert trainable(again).prompts == towers.prompts
    one = load_encoder(f"towers:{vit}+{bert}", device="cpu", dtype="float32")
    assert torch.equal(again.encode_query_text(["red shoe"]), one.encode_query_text(["red shoe"]))
