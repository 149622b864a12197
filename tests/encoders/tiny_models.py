"""Small models with random weights and real tokenizers, saved as a hub checkpoint of their family looks."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

TEXTS = [
    "red cotton shirt for men",
    "Blue Running Shoes, size 42",
    "leather bag with a long strap",
    "green tea 500 g",
    "silver watch with a black dial and a steel band for women",
    "红色T恤 男装",
    "",
    "wooden chair " * 60,
]
CORPUS = [text.lower() for text in TEXTS] + TEXTS
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def pictures() -> list[Image.Image]:
    """Eight pictures of many shapes: flat, striped, noisy, tall, wide."""
    random = np.random.default_rng(0)
    made = [Image.new("RGB", (40, 60), color) for color in ((200, 30, 30), (20, 40, 220))]
    for size in ((64, 64), (90, 45), (30, 120)):
        noise = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        made.append(Image.fromarray(noise).resize(size, Image.Resampling.NEAREST))
    stripes = np.zeros((48, 80, 3), np.uint8)
    stripes[:, ::16, :] = 255
    stripes[::12, :, 1] = 200
    made += [Image.fromarray(stripes), Image.fromarray(255 - stripes)]
    return [*made, Image.fromarray(random.integers(0, 256, (37, 53, 3), dtype=np.uint8))]


def spread_weights(model: Any, attention: float) -> None:
    """Random weights far from zero: with the usual ones all inputs get nearly the same vector.

    With ``attention`` above 1 what it brings outweighs the pooled token itself.
    """
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            fan_in = 1 if "embed" in name and "patch" not in name else parameter[0].numel()
            parameter.data.normal_(0, _gain(name, attention) / fan_in**0.5, generator=generator)
        elif "class_embedding" in name:  # the only vector that is drawn otherwise, and by chance
            parameter.data.normal_(0, 1, generator=generator)


def _gain(name: str, attention: float) -> float:
    if "position" in name:
        return 0.2
    if any(part in name for part in ("attn", "attention")):
        return 1.5 if any(part in name for part in ("q_proj", "k_proj", "query", "key")) else attention
    return 1.0


def save(folder: Path, model: Any, *parts: Any, attention: float = 4.0) -> Path:
    spread_weights(model, attention)
    for part in (model, *parts):
        part.save_pretrained(folder)
    return folder


# Tokenizers


def clip_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        end_of_word_suffix="</w>",
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(CORPUS, trainer)
    learned = json.loads(bpe.to_str())["model"]
    vocab = dict(learned["vocab"])
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocab[token] = len(vocab)
    merges = [tuple(pair) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def bert_tokenizer() -> Any:
    """Every word and letter of the corpus. A trained vocabulary would be another one each time."""
    from transformers import BertTokenizer

    words = sorted({word for line in CORPUS for word in re.findall(r"\w+|[^\w\s]", line.lower())})
    letters = sorted(set("".join(words)))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=512)


def xlm_roberta_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizer

    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    unigram.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    vocab = [tuple(entry) for entry in json.loads(unigram.to_str())["model"]["vocab"]]
    return XLMRobertaTokenizer(vocab=[*vocab, ("<mask>", 0.0)], model_max_length=512)


def siglip_tokenizer(folder: Path) -> Any:
    """A sentencepiece model in which </s> is both the end and the padding, like the real one."""
    import sentencepiece
    from transformers import SiglipTokenizer

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3),
        model_writer=written,
        vocab_size=150,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(written.getvalue())
    return SiglipTokenizer(vocab_file=str(folder / "spiece.model"))


def save_gemma_tokenizer(folder: Path) -> Path:
    """The files of SigLIP 2: a BPE over bytes that adds <eos>, pads with <pad>, and does not lowercase."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    in_bytes = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special + in_bytes, show_progress=False)
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bpe.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    bpe.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": False,
        "add_eos_token": True,
        "padding_side": "right",
        "model_input_names": ["input_ids"],
        "model_max_length": 64,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


# Joint models


def clip(folder: Path, side: int = 32) -> Path:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    tokenizer = clip_tokenizer()
    text = VISION | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = CLIPConfig(
        text_config=text,
        vision_config=VISION | {"image_size": side, "patch_size": side // 4},
        projection_dim=24,
    )
    size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    return save(folder, CLIPModel(config), tokenizer, CLIPImageProcessorPil(**size))


def siglip(folder: Path, side: int = 32) -> Path:
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    tokenizer = siglip_tokenizer(folder)
    text = VISION | {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 32}
    text |= {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 1}
    config = SiglipConfig(
        text_config=text, vision_config=VISION | {"image_size": side, "patch_size": side // 4}
    )
    return save(
        folder, SiglipModel(config), tokenizer, SiglipImageProcessorPil(size={"height": side, "width": side})
    )


def siglip2_fixed(folder: Path) -> Path:
    """Like siglip2-base-patch16-224: the model of SigLIP with the tokenizer of SigLIP 2."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    save_gemma_tokenizer(folder)
    text = VISION | {"vocab_size": 300, "max_position_embeddings": 64, "projection_size": 32}
    text |= {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    config = SiglipConfig(text_config=text, vision_config=VISION | {"image_size": 32, "patch_size": 8})
    return save(folder, SiglipModel(config), SiglipImageProcessorPil(size={"height": 32, "width": 32}))


def siglip2_naflex(folder: Path) -> Path:
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model

    save_gemma_tokenizer(folder)
    text = VISION | {"vocab_size": 300, "max_position_embeddings": 64, "projection_size": 32}
    text |= {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    config = Siglip2Config(text_config=text, vision_config=VISION | {"num_patches": 16, "patch_size": 8})
    return save(folder, Siglip2Model(config), Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20))


def chinese_clip(folder: Path) -> Path:
    from transformers import ChineseCLIPConfig, ChineseCLIPImageProcessorPil, ChineseCLIPModel

    tokenizer = bert_tokenizer()
    text = VISION | {"vocab_size": len(tokenizer), "max_position_embeddings": 128}
    config = ChineseCLIPConfig(
        text_config=text, vision_config=VISION | {"image_size": 32, "patch_size": 8}, projection_dim=24
    )
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    return save(folder, ChineseCLIPModel(config), tokenizer, ChineseCLIPImageProcessorPil(**size))


def altclip(folder: Path) -> Path:
    from transformers import AltCLIPConfig, AltCLIPModel, CLIPImageProcessorPil

    tokenizer = xlm_roberta_tokenizer()
    text = VISION | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 130,
        "project_dim": 28,
        "pad_token_id": 1,
    }
    config = AltCLIPConfig(
        text_config=text, vision_config=VISION | {"image_size": 32, "patch_size": 8}, projection_dim=24
    )
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    return save(folder, AltCLIPModel(config), tokenizer, CLIPImageProcessorPil(**size))


JOINT: dict[str, Callable[..., Path]] = {
    "clip": clip,
    "siglip": siglip,
    "siglip2_fixed": siglip2_fixed,
    "siglip2_naflex": siglip2_naflex,
    "chinese_clip": chinese_clip,
    "altclip": altclip,
}


# Towers


def vit(folder: Path, side: int = 32, *, pooler: bool = True) -> Path:
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    model = ViTModel(ViTConfig(**VISION, image_size=side, patch_size=side // 4), add_pooling_layer=pooler)
    return save(folder, model, ViTImageProcessorPil(size={"height": side, "width": side}))


def convnext(folder: Path, side: int = 32) -> Path:
    from transformers import ConvNextConfig, ConvNextImageProcessorPil, ConvNextModel

    config = ConvNextConfig(hidden_sizes=[8, 16, 24, 40], depths=[1, 1, 1, 1], image_size=side)
    return save(folder, ConvNextModel(config), ConvNextImageProcessorPil(size={"shortest_edge": side}))


def bert(folder: Path) -> Path:
    from transformers import BertConfig, BertModel

    tokenizer = bert_tokenizer()
    config = BertConfig(**VISION, vocab_size=len(tokenizer), max_position_embeddings=128)
    return save(folder, BertModel(config), tokenizer, attention=1.0)
