"""CLIP-type models: one space for words and pictures. CLIP, SigLIP, SigLIP 2, Chinese-CLIP and AltCLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mm_milvus.encoders.base import DefaultWeights, EncoderSpec
from mm_milvus.encoders.batches import Steps, step_size
from mm_milvus.encoders.compiled import compile_modules, compiling, token_lengths
from mm_milvus.encoders.pixels import Pixels, rgb_array
from mm_milvus.encoders.pretrained import (
    CHARS_PER_TOKEN,
    Tokens,
    choose_device,
    choose_dtype,
    licence_of,
    load_config,
    load_model,
    loading,
    on_device,
    probe_image,
)
from mm_milvus.encoders.source import Source, read_json
from mm_milvus.encoders.tokens import TokenSpec, kept, patches_of
from mm_milvus.encoders.trainable import Tower, Trainable, save_model
from mm_milvus.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from mm_milvus.encoders.base import Prepared

__all__ = ["FAMILIES", "DualEncoder", "Family"]


@dataclass(frozen=True, slots=True)
class Family:
    """How the texts of a family are treated. The wrong padding costs SigLIP most of its accuracy."""

    lowercase: bool = False
    fixed: bool = False  # every text padded to the full length, no attention mask
    example: str = ""  # name of a checkpoint


# By the model_type of config.json. SigLIP 2 of fixed resolution is a `siglip`, its NaFlex variant a `siglip2`.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "clip": Family(example="openai/clip-vit-base-patch32"),
        "siglip": Family(lowercase=True, fixed=True, example="google/siglip2-base-patch16-224"),
        "siglip2": Family(lowercase=True, fixed=True, example="google/siglip2-base-patch16-naflex"),
        "chinese_clip": Family(example="OFA-Sys/chinese-clip-vit-base-patch16"),
        "altclip": Family(example="BAAI/AltCLIP"),
    }
)


class DualEncoder:
    """A CLIP-type checkpoint of transformers as an encoder with a joint space."""

    def __init__(
        self, source: Source, *, device: str = "cpu", dtype: str = "float32", compile: bool = False
    ) -> None:
        """Loads the model in ``source.folder``. Raises EncoderError when it cannot be loaded, compiled or used."""
        name, family = _family(source)
        self._source = source
        self._device = choose_device(device)
        self._dtype = choose_dtype(dtype, self._device)
        config = load_config(source).text_config
        self._tokens = Tokens(source, config, lowercase=family.lowercase, fixed=family.fixed)
        self._pixels = Pixels(source, self._device, self._dtype)
        self._model = load_model(source, self._device, self._dtype)  # last: it takes longest
        self._text_steps = Steps(step_size(self._device), self._device, fixed=compile)
        self._image_steps = Steps(step_size(self._device), self._device, fixed=compile)
        text_dim, image_dim = self._widths(source)
        self._spec = EncoderSpec(
            name=source.name,
            revision=source.revision,
            family=name,
            text_dim=text_dim,
            image_dim=image_dim,
            joint=True,
            preprocessing=f"{self._pixels.describe()}; {self._tokens.describe()}",
            max_tokens=self._tokens.limit,
            max_chars=self._tokens.limit * CHARS_PER_TOKEN,
            licence=licence_of(source.name),
            weights=DefaultWeights(image=0.5, text=0.5, text_on_image=0.5),
        )
        if compile:
            self._compile()

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    @property
    def device(self) -> str:
        return str(self._device)

    @property
    def smallest_side(self) -> int:
        """Pixels of the shorter side to which a decoder may reduce a picture; 0: it must not."""
        return self._pixels.smallest_side

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (N, D) float32, unit norm, on the CPU."""
        return self._text_steps(texts, self._spec.text_dim, self._text_features)

    def encode_query_text(self, texts: Sequence[str]) -> Tensor:
        """The same as ``encode_text``: these models have no query prompt."""
        return self.encode_text(texts)

    def encode_image(self, images: Sequence[Image]) -> Tensor:
        """RGB pictures -> (N, D) float32, unit norm, on the CPU."""
        return self.encode_prepared([self.prepare(rgb_array(image)) for image in images])

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """RGB (H, W, 3) uint8 -> its pixels as the image model wants them, before they are normalised."""
        return self._pixels.prepare(picture)

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Tensor:
        """Prepared pictures -> (N, D) float32, unit norm, on the CPU."""
        return self._image_steps(pictures, self._spec.image_dim, self._image_features)

    @cached_property
    def token_spec(self) -> TokenSpec:
        """Widths of the token vectors, found by running the model once."""
        text = self._text_tokens(["a probe"])[0]
        image = self._image_tokens([self.prepare(probe_image())])[0]
        return TokenSpec(text.shape[-1], image.shape[-1], joint=self._projects)

    def encode_text_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Texts -> (T, text_dim) float32 each, of any norm; see ``TokenEncoder``."""
        return self._text_steps.each(texts, self._text_tokens)

    def encode_query_text_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The same as ``encode_text_tokens``: these models have no query prompt."""
        return self.encode_text_tokens(texts)

    def encode_prepared_tokens(self, pictures: Sequence[Prepared]) -> list[NDArray[np.float32]]:
        """Prepared pictures -> (T, image_dim) float32 each, of any norm; see ``TokenEncoder``."""
        return self._image_steps.each(pictures, self._image_tokens)

    @property
    def _projects(self) -> bool:
        """Whether linear projections lead from both towers into the joint space; SigLIP pools instead."""
        return all(hasattr(self._model, name) for name in ("text_projection", "visual_projection"))

    def _text_tokens(self, texts: Sequence[str]) -> list[Tensor]:
        import torch

        inputs = self._tokens(texts)
        with torch.inference_mode():
            placed = on_device(inputs, self._device, self._dtype)
            hidden = self._model.text_model(**placed).last_hidden_state  # (N, T, D)
            if self._projects:
                hidden = self._model.text_projection(hidden)
            return kept(hidden, self._tokens.content(inputs).to(hidden.device))

    def _image_tokens(self, pictures: Sequence[Prepared]) -> list[Tensor]:
        import torch

        inputs = self._pixels(pictures)
        vision = self._model.vision_model
        with torch.inference_mode():
            hidden = vision(**on_device(inputs, self._device, self._dtype)).last_hidden_state  # (N, T, D)
            if self._projects:  # CLIP's kind normalises the class token only, SigLIP all of them itself
                hidden = self._model.visual_projection(vision.post_layernorm(hidden))
            return patches_of(hidden, vision.config, inputs)

    def _text_features(self, texts: Sequence[str]) -> Tensor:  # (N, D)
        return self._run(self._model.get_text_features, self._tokens(texts))

    def _image_features(self, pictures: Sequence[Prepared]) -> Tensor:  # (N, D)
        return self._run(self._model.get_image_features, self._pixels(pictures))

    def _run(self, features: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """``features`` without gradients."""
        import torch

        with torch.inference_mode():
            return self._projected(features, inputs)

    def _projected(self, features: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """The output object of ``features`` holds the projected, not normalised vectors."""
        output: Tensor = features(**on_device(inputs, self._device, self._dtype)).pooler_output
        return output

    def trainable(self) -> Trainable:
        """The model with gradients, for a training."""
        model = self._model

        def save(folder: Path) -> None:
            save_model(model, self._source, folder)

        image = Tower(
            "picture",
            model,
            model.config.vision_config.num_hidden_layers,
            lambda pictures: self._projected(model.get_image_features, self._pixels(pictures)),
            self.prepare(probe_image()),
        )
        text = Tower(
            "text",
            model,
            model.config.text_config.num_hidden_layers,
            lambda texts: self._projected(model.get_text_features, self._tokens(texts)),
            "probe",
        )
        return Trainable(image, text, ("", ""), save, str, self._pixels.compact)

    def _compile(self) -> None:
        with compiling(self._spec.name):
            compile_modules(self._device, self._model.vision_model, self._model.text_model)
            self._tokens.use_lengths(token_lengths(self._tokens.limit))
            self.encode_text(["probe"])
            self.encode_prepared([self.prepare(probe_image())])

    def _widths(self, source: Source) -> tuple[int, int]:
        """Widths of the text and the image vectors, found by running the model once."""
        with loading("model", source):  # a model that does not fit its config raises anything
            text = self._text_features(["probe"])
            image = self._image_features([self.prepare(probe_image())])
        if text.shape[-1] != image.shape[-1]:
            raise EncoderError(f"the texts and pictures of {source.name!r} have different widths")
        return text.shape[-1], image.shape[-1]


def _family(source: Source) -> tuple[str, Family]:
    model_type = str(read_json(source.folder / "config.json").get("model_type"))
    if model_type not in FAMILIES:
        raise EncoderError(
            f"the model {source.name!r} is of type {model_type!r}, supported are {', '.join(FAMILIES)}; "
            "two models of one modality each are written towers:IMAGE+TEXT"
        )
    return model_type, FAMILIES[model_type]
