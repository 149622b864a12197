"""What every encoder on transformers shares: device and dtype, safe and silent loading, tokens."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mm_milvus.encoders.source import Source, quiet_hub, read_json
from mm_milvus.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "CHARS_PER_TOKEN",
    "Tokens",
    "choose_device",
    "choose_dtype",
    "licence_of",
    "load_config",
    "load_model",
    "loading",
    "on_device",
    "probe_image",
    "quiet",
    "usable_positions",
]

CHARS_PER_TOKEN = 4  # of ordinary product text in a Latin script
_NO_LIMIT = 100_000  # a tokenizer without a limit of its own says 1e30

# Text models that count positions from the padding id on, so that fewer are usable than there are.
_OFFSET_POSITIONS = frozenset(
    {"altclip_text_model", "camembert", "data2vec-text", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"}
)
# Only what the publisher states for the weights; everything else is "see the model card".
_LICENCES = (
    ("google/siglip", "Apache-2.0"),
    ("BAAI/AltCLIP", "CreativeML-OpenRAIL-M"),
    ("google/vit-", "Apache-2.0"),
    ("google-bert/bert-base-", "Apache-2.0"),
    ("facebook/dinov2-", "Apache-2.0"),
    ("intfloat/multilingual-e5-", "MIT"),
    ("sentence-transformers/all-MiniLM-", "Apache-2.0"),
)


def licence_of(name: str) -> str:
    """Licence of the weights of a well-known model, else a pointer to its card."""
    return next((licence for start, licence in _LICENCES if name.startswith(start)), "see the model card")


# Device and dtype


def choose_device(device: str) -> torch.device:
    """``auto`` is the first CUDA device, else MPS, else the CPU. Raises EncoderError for a device that is not there."""
    import torch

    if device == "auto":
        cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise EncoderError(f"unknown device {device!r}: use auto, cpu, cuda, cuda:N or mps") from None
    if chosen.type not in {"cpu", "cuda", "mps"}:
        raise EncoderError(f"unknown device {device!r}: use auto, cpu, cuda, cuda:N or mps")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise EncoderError(
            f"the device {device!r} is not there: torch sees {count} CUDA devices; use --device auto"
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise EncoderError("the device 'mps' is not there; use --device auto")
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the hardware computes in it, else float16 on a GPU and float32 on a CPU."""
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype in known:
        return known[dtype]
    if dtype != "auto":
        raise EncoderError(f"unknown dtype {dtype!r}: use auto, {', '.join(known)}")
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """AVX512-BF16 or AMX. torch asks the processor, but under private names that a release may take away."""
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


# Loading


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, load reports and advice of transformers; what is wrong comes as an exception."""
    from transformers.utils import logging as advice

    level, had_bars = advice.get_verbosity(), advice.is_progress_bar_enabled()
    advice.set_verbosity(logging.ERROR)
    advice.disable_progress_bar()
    try:
        with quiet_hub(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        advice.set_verbosity(level)
        if had_bars:
            advice.enable_progress_bar()


@contextmanager
def loading(what: str, source: Source) -> Iterator[None]:
    """Damaged files raise errors of many libraries; all of them mean that this part cannot be loaded."""
    try:
        with quiet():
            yield
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(f"cannot load the {what} of {source.name!r}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    """Type and text of an error on one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


def load_config(source: Source) -> Any:
    """The config of ``source``. Raises EncoderError for a type that transformers does not know."""
    from transformers import AutoConfig

    with loading("config", source):
        return AutoConfig.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)


def load_model(
    source: Source, device: torch.device, dtype: torch.dtype, *, unused: tuple[str, ...] = ()
) -> Any:
    """The model of ``source`` through AutoModel, in evaluation mode, without any code of its repository.

    ``unused`` are beginnings of parameter names that may be missing because they are not used.
    Raises EncoderError when weights are damaged, do not fit or are missing.
    """
    from transformers import AutoModel

    with loading("weights", source):
        model, report = AutoModel.from_pretrained(
            source.folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        _refuse_missing(source, report, unused)
        return model.eval().requires_grad_(False).to(device)


def _refuse_missing(source: Source, report: dict[str, Any], unused: tuple[str, ...]) -> None:
    """transformers fills missing weights with random numbers and goes on."""
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused or ("\0",)))
    if not missing and not report.get("mismatched_keys"):
        return
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "") or "some have another shape"
    own_code = "auto_map" in read_json(source.folder / "config.json")
    hint = "; it needs code of its own repository, which is never run" if own_code else ""
    raise EncoderError(
        f"the weights of {source.name!r} do not fit its config, {len(missing)} missing: {shown}{hint}"
    )


def usable_positions(config: Any) -> int | None:
    """How many tokens a text model takes, by its config; None when that does not say."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    return positions


# Text


class Tokens:
    """Texts -> input ids. Safe to use from several threads."""

    def __init__(
        self, source: Source, config: Any, *, lowercase: bool, fixed: bool, most: int | None = None
    ) -> None:
        """``fixed``: every text is padded to the full length and no mask is given, as SigLIP was trained."""
        self._lowercase, self._fixed = lowercase, fixed
        self._tokenizer = _load_tokenizer(source)
        if fixed:
            self._tokenizer.padding_side = "right"
        limits = (most, usable_positions(config), None if fixed else self._tokenizer.model_max_length)
        self.limit = min((limit for limit in limits if limit and limit < _NO_LIMIT), default=512)
        self._lengths: tuple[int, ...] = ()
        self._lock = threading.Lock()  # the tokenizer keeps padding and truncation as state
        self._check(source, config)

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` and, unless of fixed length, ``attention_mask``, (N, tokens) int64 on the CPU."""
        with self._lock:
            encoded = self._tokenizer(
                [self._clean(text) for text in texts],
                padding="max_length" if self._fixed else True,
                max_length=self.limit,
                truncation=True,
                return_attention_mask=not self._fixed,
                return_tensors="pt",
            )
        names = ("input_ids",) if self._fixed else ("input_ids", "attention_mask")
        return {name: self._lengthened(name, encoded[name]) for name in names}

    def content(self, inputs: Mapping[str, Tensor], prompt: str = "") -> Tensor:
        """(N, tokens) bool: what is neither padding nor a special token, after those of ``prompt``."""
        import torch

        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask", torch.ones_like(ids)).bool()
        names = ("bos", "eos", "cls", "sep", "pad")  # not "unk": it stands for a word
        for special in {getattr(self._tokenizer, f"{name}_token_id", None) for name in names} - {None}:
            mask = mask & (ids != special)
        if words := prompt.strip():
            alone = self([words])
            mask = mask & (mask.cumsum(dim=1) > int(self.content(alone).sum()))
        return mask

    def use_lengths(self, lengths: tuple[int, ...]) -> None:
        """From now on pad to one of ``lengths``, ascending to the limit: a compiled model wants few shapes."""
        self._lengths = lengths

    def _lengthened(self, name: str, rows: Tensor) -> Tensor:
        """(N, tokens) padded to the next of the lengths, where there are any."""
        from torch.nn import functional

        length = next((length for length in self._lengths if length >= rows.shape[1]), rows.shape[1])
        more = length - rows.shape[1]
        value = (self._tokenizer.pad_token_id or 0) if name == "input_ids" else 0
        sides = (0, more) if self._tokenizer.padding_side == "right" else (more, 0)
        return functional.pad(rows, sides, value=value) if more else rows

    def describe(self) -> str:
        case = "lowercased, " if self._lowercase else ""
        padding = (
            f"padded to {self.limit} tokens"
            if self._fixed
            else f"cut to {self.limit} tokens, padded to the longest"
        )
        return f"text {case}{padding}"

    def _clean(self, text: str) -> str:
        text = text.encode("utf-8", "replace").decode("utf-8")  # tokenizers refuse lone surrogates
        return text.lower() if self._lowercase else text

    def _check(self, source: Source, config: Any) -> None:
        """Without its files a tokenizer is built empty, and one of another model gives ids that do not exist."""
        try:
            red, blue = (
                self(["a red shirt 红色T恤 1"])["input_ids"][0],
                self(["two blue shoes 蓝色 2"])["input_ids"][0],
            )
        except Exception as error:  # any library error
            raise EncoderError(
                f"the tokenizer of {source.name!r} does not work: {_one_line(error)}"
            ) from error
        if red.tolist() == blue.tolist():
            raise EncoderError(
                f"the tokenizer of {source.name!r} is empty: it turns different texts into the same tokens"
            )
        if (highest := int(max(red.max(), blue.max()))) >= config.vocab_size:
            raise EncoderError(
                f"the tokenizer of {source.name!r} belongs to another model: "
                f"it gives token {highest}, the model knows {config.vocab_size}"
            )


def _load_tokenizer(source: Source) -> Any:
    if not source.has_tokenizer:
        raise EncoderError(
            f"the model {source.name!r} has no tokenizer files (tokenizer.json, vocab.txt, ...)"
        )
    from transformers import AutoTokenizer

    with loading("tokenizer", source):
        return AutoTokenizer.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)


# Probe and inputs


def probe_image() -> NDArray[np.uint8]:
    """A small picture (32, 32, 3) with which a model shows that it runs, and how wide its vectors are."""
    import numpy as np

    return np.full((32, 32, 3), (200, 60, 60), np.uint8)


def on_device(inputs: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The inputs of a model where the model is; numbers with a point in its dtype, ids and masks as they are."""
    return {
        name: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
        for name, tensor in inputs.items()
    }
