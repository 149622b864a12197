"""Two unimodal models as one encoder: a picture model (ViT, DINO, ConvNeXt, ...) and a text model (BERT, E5, ...).

The two spaces have nothing to do with each other: words find words and pictures find pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_milvus.encoders.base import EncoderSpec
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
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from mm_milvus.encoders.base import Prepared

__all__ = ["TowersEncoder"]

# Picture models whose first token is the picture. Their pooler, where there is one, is a layer of another task
# or was never trained; all other models are read through pooler_output.
_FIRST_TOKEN = frozenset({"deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "vit_msn"})
_PROMPTS = "config_sentence_transformers.json"
_E5 = re.compile(r"(^|[^a-z0-9])e5([^a-z0-9]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _TextRecipe:
    """How the vectors of a text model were meant to be made."""

    pooling: str = "mean"  # mean, cls or max over the tokens
    query: str = ""  # put before query texts
    passage: str = ""  # put before product texts
    most: int | None = None  # tokens
    lowercase: bool = False


class TowersEncoder:
    """A picture model and a text model of transformers. Their vectors cannot be compared with each other."""

    def __init__(
        self,
        image: Source,
        text: Source,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        compile: bool = False,
    ) -> None:
        """Loads both models. Raises EncoderError when one cannot be loaded, compiled or used."""
        self._device = choose_device(device)
        self._dtype = choose_dtype(dtype, self._device)
        self._image = _ImageTower(image, self._device, self._dtype)
        self._text = _TextTower(text, self._device, self._dtype)
        self._text_steps = Steps(step_size(self._device), self._device, fixed=compile)
        self._image_steps = Steps(step_size(self._device), self._device, fixed=compile)
        limit = self._text.tokens.limit
        self._spec = EncoderSpec(
            name=f"towers:{image.name}+{text.name}",
            revision=f"{image.revision}+{text.revision}",
            family="towers",
            text_dim=self._text.dim,
            image_dim=self._image.dim,
            joint=False,
            preprocessing=f"{self._image.describe()}; {self._text.describe()}",
            max_tokens=limit,
            max_chars=limit * CHARS_PER_TOKEN,
            licence="; ".join(dict.fromkeys((licence_of(image.name), licence_of(text.name)))),
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
        return self._image.pixels.smallest_side

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Product texts -> (N, text_dim) float32, unit norm, on the CPU."""
        return self._encode_text(self._text.recipe.passage, texts)

    def encode_query_text(self, texts: Sequence[str]) -> Tensor:
        """Query texts -> (N, text_dim) float32, unit norm, on the CPU; with the model's query prompt."""
        return self._encode_text(self._text.recipe.query, texts)

    def encode_image(self, images: Sequence[Image]) -> Tensor:
        """RGB pictures -> (N, image_dim) float32, unit norm, on the CPU."""
        return self.encode_prepared([self.prepare(rgb_array(image)) for image in images])

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """RGB (H, W, 3) uint8 -> its pixels as the picture model wants them, before they are normalised."""
        return self._image.pixels.prepare(picture)

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Tensor:
        """Prepared pictures -> (N, image_dim) float32, unit norm, on the CPU."""
        return self._image_steps(pictures, self._spec.image_dim, self._image.features)

    @cached_property
    def token_spec(self) -> TokenSpec:
        """Widths of the token vectors, found by running the models once."""
        text = self._text.token_states("", ["a probe"])[0]
        image = self._image.token_states([self.prepare(probe_image())])[0]
        return TokenSpec(text.shape[-1], image.shape[-1], joint=False)

    def encode_text_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Product texts -> (T, text_dim) float32 each, of any norm; see ``TokenEncoder``."""
        return self._text_steps.each(texts, partial(self._text.token_states, self._text.recipe.passage))

    def encode_query_text_tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Query texts -> (T, text_dim) float32 each, of any norm; see ``TokenEncoder``."""
        return self._text_steps.each(texts, partial(self._text.token_states, self._text.recipe.query))

    def encode_prepared_tokens(self, pictures: Sequence[Prepared]) -> list[NDArray[np.float32]]:
        """Prepared pictures -> (T, image_dim) float32 each, of any norm; see ``TokenEncoder``."""
        return self._image_steps.each(pictures, self._image.token_states)

    def trainable(self) -> Trainable:
        """Both models with gradients, for a training."""
        recipe = self._text.recipe

        def save(folder: Path) -> None:
            self._image.save(folder / "image")
            self._text.save(folder / "text")

        image, text = self._image, self._text
        return Trainable(
            Tower("picture", image.model, image.depth, image.output, self.prepare(probe_image())),
            Tower("text", text.model, text.depth, text.output, "probe"),
            (recipe.passage, recipe.query),
            save,
            lambda folder: f"towers:{folder / 'image'}+{folder / 'text'}",
            image.pixels.compact,
        )

    def _compile(self) -> None:
        with compiling(self._spec.name):
            compile_modules(self._device, self._image.model, self._text.model)
            self._text.tokens.use_lengths(token_lengths(self._text.tokens.limit))
            self.encode_text(["probe"])
            self.encode_prepared([self.prepare(probe_image())])

    def _encode_text(self, prompt: str, texts: Sequence[str]) -> Tensor:
        prompted = [prompt + text for text in texts]
        return self._text_steps(prompted, self._spec.text_dim, self._text.features)


class _ImageTower:
    """A picture model: the first token where that is the picture, else the pooled output, else the mean."""

    def __init__(self, source: Source, device: torch.device, dtype: torch.dtype) -> None:
        model_type = str(read_json(source.folder / "config.json").get("model_type"))
        self._first_token = model_type in _FIRST_TOKEN
        self._source, self._unused = source, ("pooler.",) if self._first_token else ()
        self._device, self._dtype = device, dtype
        self.pixels = Pixels(source, device, dtype)
        self.model = load_model(source, device, dtype, unused=self._unused)
        with loading("picture model", source):
            self.dim = self.features([self.pixels.prepare(probe_image())]).shape[-1]

    def features(self, pictures: Sequence[Prepared]) -> Tensor:  # (N, D)
        import torch

        with torch.inference_mode():
            return self.output(pictures)

    def output(self, pictures: Sequence[Prepared]) -> Tensor:
        """``features`` with gradients, where the model takes any."""
        output = self.model(**self.pixels(pictures))
        if self._first_token:
            return output.last_hidden_state[:, 0]  # type: ignore[no-any-return]
        pooled = getattr(output, "pooler_output", None)
        return _flat(output.last_hidden_state if pooled is None else pooled)

    @property
    def depth(self) -> int:
        return getattr(self.model.config, "num_hidden_layers", None) or 0

    def save(self, folder: Path) -> None:
        save_model(self.model, self._source, folder, unused=self._unused)

    def token_states(self, pictures: Sequence[Prepared]) -> list[Tensor]:  # (T, D) each
        import torch

        inputs = self.pixels(pictures)
        with torch.inference_mode():
            return patches_of(self.model(**inputs).last_hidden_state, self.model.config, inputs)

    def describe(self) -> str:
        return f"{self.pixels.describe()}, {'first token' if self._first_token else 'pooled'}"


def _flat(output: Tensor) -> Tensor:
    """Pooled output (N, D) or (N, D, 1, 1), tokens (N, T, D) or a map (N, D, H, W) -> (N, D)."""
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    return output.mean(dim=1) if output.ndim == 3 else output


class _TextTower:
    """A text model with the pooling, the prompts and the length that its sentence-transformers files name."""

    def __init__(self, source: Source, device: torch.device, dtype: torch.dtype) -> None:
        self.recipe = _recipe(source)
        self._source = source
        self._device, self._dtype = device, dtype
        config, recipe = load_config(source), self.recipe
        self.tokens = Tokens(source, config, lowercase=recipe.lowercase, fixed=False, most=recipe.most)
        self.model = load_model(source, device, dtype, unused=("pooler.",))
        with loading("text model", source):
            self.dim = self.features(["probe"]).shape[-1]

    def features(self, texts: Sequence[str]) -> Tensor:  # (N, D)
        import torch

        with torch.inference_mode():
            return self.output(texts)

    def output(self, texts: Sequence[str]) -> Tensor:
        """``features`` with gradients, where the model takes any."""
        inputs = on_device(self.tokens(texts), self._device, self._dtype)
        hidden = self.model(**inputs).last_hidden_state.float()  # (N, T, D)
        return _POOLINGS[self.recipe.pooling](hidden, inputs["attention_mask"].unsqueeze(-1).bool())

    @property
    def depth(self) -> int:
        return getattr(self.model.config, "num_hidden_layers", None) or 0

    def save(self, folder: Path) -> None:
        """With the prompts, which a model without a file of them owes to its name."""
        extra = {}
        if self.recipe.query:
            known = _optional(self._source, _PROMPTS)
            prompts = {"query": self.recipe.query, "passage": self.recipe.passage}
            extra[_PROMPTS] = json.dumps(
                known | {"prompts": (known.get("prompts") or {}) | prompts}, indent=2
            )
        save_model(self.model, self._source, folder, unused=("pooler.",), extra=extra)

    def token_states(self, prompt: str, texts: Sequence[str]) -> list[Tensor]:  # (T, D) each
        import torch

        inputs = self.tokens([prompt + text for text in texts])
        with torch.inference_mode():
            hidden = self.model(**on_device(inputs, self._device, self._dtype)).last_hidden_state
            return kept(hidden, self.tokens.content(inputs, prompt).to(hidden.device))

    def describe(self) -> str:
        prompts = f", prompts {self.recipe.query!r} and {self.recipe.passage!r}" if self.recipe.query else ""
        return f"{self.tokens.describe()}, {self.recipe.pooling} pooling{prompts}"


# Pooling: hidden (N, T, D) float32, mask (N, T, 1) bool -> (N, D)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _max(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(~mask, float("-inf")).amax(dim=1)  # padding must not win


def _cls(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[:, 0]


_POOLINGS = {"mean": _mean, "max": _max, "cls": _cls}


# Recipe


def _recipe(source: Source) -> _TextRecipe:
    """From the files of sentence-transformers where there are any, else mean pooling and the prompts of E5."""
    settings = _optional(source, "sentence_bert_config.json")
    query, passage = _prompts(source)
    _refuse_more_layers(source)
    return _TextRecipe(
        pooling=_pooling(source),
        query=query,
        passage=passage,
        most=settings.get("max_seq_length"),
        lowercase=bool(settings.get("do_lower_case")),
    )


def _optional(source: Source, name: str) -> dict[str, Any]:
    return read_json(source.folder / name) if source.has(name) else {}


def _pooling(source: Source) -> str:
    settings = _optional(source, "1_Pooling/config.json")
    if not settings:
        return "mean"
    old = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
    }
    flags = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    named = settings.get("pooling_mode") or "+".join(old.get(flag, flag) for flag in flags)
    if named not in _POOLINGS:
        raise EncoderError(
            f"the pooling {named!r} of {source.name!r} is not supported: {', '.join(_POOLINGS)} are"
        )
    return str(named)


def _prompts(source: Source) -> tuple[str, str]:
    """(query, passage). E5 models were trained with the two words; their instruct variants with other prompts."""
    prompts = _optional(source, _PROMPTS).get("prompts")
    if isinstance(prompts, Mapping) and prompts.get("query"):
        return str(prompts["query"]), str(prompts.get("passage") or prompts.get("document") or "")
    if _E5.search(source.name) and "instruct" not in source.name.lower():
        return "query: ", "passage: "
    return "", ""


def _refuse_more_layers(source: Source) -> None:
    """Vectors without a final dense layer are other vectors than the model's own."""
    if not source.has("modules.json"):
        return
    try:
        text = (source.folder / "modules.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EncoderError(f"cannot read modules.json of {source.name!r}: {error}") from error
    if re.search(r'"type"\s*:\s*"[^"]*\.Dense"', text):
        raise EncoderError(f"the model {source.name!r} ends in a Dense module, which is not supported")
