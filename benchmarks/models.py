"""CLIP and SigLIP in their true size with random weights: as fast as the real ones, and there without a model hub.

    python benchmarks/models.py clip-b32 /tmp/models

prints the folder, which is written once and can be given as ``--encoder``. The vectors mean nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["MODELS", "make"]

_SQUARE = {"height": 224, "width": 224}
# Of openai/clip-vit-base-patch32 and google/siglip-base-patch16-224, where they differ from the defaults.
MODELS: dict[str, dict[str, Any]] = {
    "clip-b32": {
        "vision": {"hidden_size": 768, "intermediate_size": 3072, "patch_size": 32, "image_size": 224},
        "text": {
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_attention_heads": 8,
            "vocab_size": 49_408,
        },
        "tokens": 77,
    },
    "siglip-b16-224": {
        "vision": {"hidden_size": 768, "intermediate_size": 3072, "patch_size": 16, "image_size": 224},
        "text": {"hidden_size": 768, "intermediate_size": 3072, "vocab_size": 32_000},
        "tokens": 64,
    },
}
# What the tokenizers learn their pieces from: few words are whole, so texts are a little longer than with real ones.
_WORDS = (
    "a the and of for with in black white red blue green grey men women kids shirt dress shoes jacket bag watch "
    "jeans cotton leather wool steel size small medium large set pack new classic casual sport running summer winter "
    "long short sleeve neck slim fit printed solid striped 1 2 3 4 5 6 7 8 9 0 10 20 50 100 g kg ml l cm"
)


def make(name: str, folder: Path) -> Path:
    """The folder of the model ``name`` below ``folder``, made when it is not there. Seeds are fixed."""
    import torch

    target = folder / name
    if not (target / "preprocessor_config.json").is_file():  # the last file that is written
        torch.manual_seed(0)
        build = _clip if name.startswith("clip") else _siglip
        for part in build(MODELS[name], target):
            part.save_pretrained(target)
    return target


def _clip(sizes: dict[str, Any], folder: Path) -> tuple[Any, ...]:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    tokenizer = _clip_tokenizer()
    text = sizes["text"] | {
        "max_position_embeddings": sizes["tokens"],
        "eos_token_id": tokenizer.eos_token_id,
    }
    text |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = CLIPConfig(text_config=text, vision_config=sizes["vision"], projection_dim=512)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size=_SQUARE)
    return CLIPModel(config), tokenizer, processor


def _siglip(sizes: dict[str, Any], folder: Path) -> tuple[Any, ...]:
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    text = sizes["text"] | {"max_position_embeddings": sizes["tokens"], "projection_size": 768}
    text |= {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 1}
    config = SiglipConfig(text_config=text, vision_config=sizes["vision"])
    processor = SiglipImageProcessorPil(size=_SQUARE)
    return SiglipModel(config), _siglip_tokenizer(folder), processor


def _clip_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1_500, end_of_word_suffix="</w>", show_progress=False, initial_alphabet=alphabet
    )
    bpe.train_from_iterator([_WORDS], trainer)
    learned = json.loads(bpe.to_str())["model"]
    vocab = dict(learned["vocab"])
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocab[token] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=[tuple(pair) for pair in learned["merges"]], model_max_length=77)


def _siglip_tokenizer(folder: Path) -> Any:
    import sentencepiece
    from transformers import SiglipTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(_WORDS.split() * 20),
            model_writer=file,
            vocab_size=300,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return SiglipTokenizer(vocab_file=str(folder / "spiece.model"))


if __name__ == "__main__":
    print(make(sys.argv[1], Path(sys.argv[2])))
