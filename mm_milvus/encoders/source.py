"""Where a model's files are and what identifies them: a local folder, the hub's cache, or one download from the hub.

Everything after this module reads one local folder, so that a model from the hub and a copied folder take the same
path. The cache comes first and is not compared with the hub: a model does not change under a collection because its
branch moved; write ``name@revision`` to ask for another state.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_milvus.errors import EncoderError

__all__ = [
    "Source",
    "fingerprint",
    "is_hub_name",
    "locate",
    "quiet_hub",
    "read_json",
    "settings_files",
    "weight_files",
]

log = logging.getLogger(__name__)

HUB_TIMEOUT = 8.0  # seconds for the one question to the hub; its own retries take 23 s to say "no network"
WAYS_OUT = "use `--encoder offline`, or give a local folder that holds the model"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w][\w.-]*)?")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in order of preference
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_POOLING = "1_Pooling/config.json"
_SETTINGS = (
    "config.json",
    *_PROCESSORS,
    *_TOKENIZERS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    _POOLING,
)

_WHOLE = 64 << 20  # weights up to this size are hashed in full
_BLOCK = 4096  # bytes per sample of larger ones
_BLOCKS = 16  # samples per tensor


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files. ``name`` and ``revision`` identify them wherever ``folder`` is."""

    name: str  # name on the hub, or the base name of the local folder
    folder: Path
    revision: str  # commit of the hub, or "fp:" and 16 hex digits over settings and weights

    def has(self, *names: str) -> bool:
        return any((self.folder / name).is_file() for name in names)

    @property
    def has_tokenizer(self) -> bool:
        return self.has(*_TOKENIZERS)

    @property
    def has_image_processor(self) -> bool:
        return self.has(*_PROCESSORS)


def locate(name: str, *, text: bool = False, image: bool = False) -> Source:
    """The files of ``name``: a local folder, or a model name of the hub with an optional ``@revision``.

    ``text`` and ``image`` say which parts will be loaded; a cached copy that lacks them is completed from the hub.
    Raises EncoderError when there is no such model or the hub cannot be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():  # before the revision is split off: a folder may be called model@2
        return _local(folder)
    model, _, revision = name.partition("@")
    if not is_hub_name(model):
        raise EncoderError(
            f"cannot load the model {name!r}: there is no such folder, and it is not a model name"
        )
    if Path(model).is_dir():
        raise EncoderError(
            f"{model!r} is a local folder, which has no revisions: leave out {'@' + revision!r}"
        )
    if "@" in name and not revision:
        raise EncoderError(
            f"the model name {name!r} ends with '@': write a revision after it, or leave it out"
        )
    return _from_hub(model, revision or None, text=text, image=image)


def is_hub_name(name: str) -> bool:
    """Whether ``name`` can be a model of the hub: ``model`` or ``owner/model``."""
    return bool(_HUB_NAME.fullmatch(name)) and ".." not in name and "--" not in name


def _local(folder: Path) -> Source:
    folder = Path(os.path.abspath(folder))
    if not (folder / "config.json").is_file():
        raise EncoderError(f"the folder {folder} holds no model: it has no config.json")
    if not weight_files(folder):
        raise EncoderError(
            f"the folder {folder} has no weights: expected model.safetensors or pytorch_model.bin"
        )
    return Source(folder.name, folder, fingerprint(folder))


# The hub


def _from_hub(model: str, revision: str | None, *, text: bool, image: bool) -> Source:
    cached = _cached(model, revision)
    if cached is not None and _is_complete(cached, text=text, image=image):
        return cached
    return _download(model, revision)


def _cached(model: str, revision: str | None) -> Source | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            model, revision=revision, local_files_only=True, allow_patterns=["config.json"]
        )
    except LocalEntryNotFoundError:
        return None
    return Source(model, Path(found), Path(found).name)


def _is_complete(source: Source, *, text: bool, image: bool) -> bool:
    try:
        weights = weight_files(source.folder)
    except EncoderError:  # a shard is missing: the download was interrupted
        return False
    return (
        source.has("config.json")
        and bool(weights)
        and (source.has_tokenizer or not text)
        and (source.has_image_processor or not image)
    )


def _download(model: str, revision: str | None) -> Source:
    """One question with a short timeout, then the files; so "no network" is said at once and not after retries."""
    from huggingface_hub import HfApi, snapshot_download

    label = model if revision is None else f"{model}@{revision}"
    try:
        with quiet_hub():
            info = HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT)
            files = _wanted([item.rfilename for item in info.siblings or ()])
            log.info("downloading %s, %d files", label, len(files))
            found = snapshot_download(model, revision=revision, allow_patterns=files)
    except Exception as error:  # the hub's client raises HTTP, OS, value and its own errors
        raise EncoderError(f"cannot load the model {label!r}: {_cause(error)}; {WAYS_OUT}") from error
    return Source(model, Path(found), Path(found).name)


def _wanted(files: list[str]) -> list[str]:
    """The settings and one set of weights; repositories also hold other formats of the same weights."""
    for weights in _WEIGHTS:
        stem, suffix = os.path.splitext(weights)
        shards = [name for name in files if re.fullmatch(rf"{stem}-\d+-of-\d+{re.escape(suffix)}", name)]
        chosen = [name for name in (weights, f"{weights}.index.json") if name in files] + shards
        if chosen:
            return [name for name in files if name in _SETTINGS] + chosen
    raise EncoderError("its repository holds no weights that transformers can load")


def _cause(error: Exception) -> str:
    """One clause that says why the hub gave no model."""
    from huggingface_hub import errors

    if isinstance(error, EncoderError):
        return str(error)
    if isinstance(error, errors.GatedRepoError):
        return "it is gated: accept its terms on the hub and log in with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has no such revision of it"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no model of that name, or it is private (log in with `hf auth login`)"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "it is not in the local cache and HF_HUB_OFFLINE forbids to ask the hub"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"it is not in the local cache and the hub cannot be reached ({type(error).__name__}: {first})"


@contextmanager
def quiet_hub() -> Iterator[None]:
    """No progress bars and no advice of the hub's client; its exceptions are ours to tell."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    logger = logging.getLogger("huggingface_hub")
    level, had_bars = logger.level, not are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if had_bars:
            enable_progress_bars()


# Files


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model. Raises EncoderError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise EncoderError(f"cannot read {path}: it is not a JSON object")
    return value


def settings_files(folder: Path) -> list[str]:
    """Paths in ``folder`` of all that belongs to a model beside its config and its weights."""
    return [name for name in _SETTINGS if name != "config.json" and (folder / name).is_file()]


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, safetensors before pickles; empty when there are none.

    Raises EncoderError when an index names a file that is not there.
    """
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
    return []


def _shards(index: Path) -> list[Path]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise EncoderError(f"cannot read {index}: it has no weight_map")
    shards = [index.parent / str(name) for name in sorted({str(name) for name in names.values()})]
    if missing := next((shard for shard in shards if not shard.is_file()), None):
        raise EncoderError(f"the weights of {index.parent} are incomplete: {missing.name} is missing")
    return shards


# Identity


def fingerprint(folder: Path) -> str:
    """``fp:`` and 16 hex digits over the settings and the weights of a model, wherever its folder is.

    Weights up to 64 MB count in full. Larger ones count with their header and 16 blocks of 4 KB of every tensor,
    which shows any training of a tensor; only a change of single rows of a large table can go unseen.
    """
    digest = hashlib.sha256()
    for path in [folder / name for name in _SETTINGS] + weight_files(folder):
        if path.is_file():
            size = path.stat().st_size
            digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
            for start, length in _samples(path, size):
                digest.update(_read(path, start, length))
    return f"fp:{digest.hexdigest()[:16]}"


def _samples(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of the parts of a file that count."""
    if size <= _WHOLE:
        yield 0, size
    elif path.suffix == ".safetensors":
        header = _header_size(path, size)
        yield 0, header
        for first, last in _tensor_ranges(path, header):
            yield from _spread(header + first, last - first, _BLOCKS)
    else:
        yield from _spread(0, size, _WHOLE // _BLOCK)


def _spread(start: int, length: int, blocks: int) -> Iterator[tuple[int, int]]:
    """``blocks`` parts from the first to the last byte of a range, or all of it when it is short."""
    if length <= blocks * _BLOCK:
        yield start, length
        return
    for number in range(blocks):
        yield start + (length - _BLOCK) * number // (blocks - 1), _BLOCK


def _header_size(path: Path, size: int) -> int:
    header = 8 + int(struct.unpack("<Q", _read(path, 0, 8))[0])
    if header > size:
        raise EncoderError(f"the weights {path} are damaged: their header does not fit the file")
    return header


def _tensor_ranges(path: Path, header: int) -> list[tuple[int, int]]:
    try:
        entries = json.loads(_read(path, 8, header - 8))
        return [tuple(entry["data_offsets"]) for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"the weights {path} are damaged: their header cannot be read") from error


def _read(path: Path, start: int, length: int) -> bytes:
    try:
        with path.open("rb", buffering=0 if length <= _BLOCK else -1) as file:
            file.seek(start)
            return file.read(length)
    except OSError as error:
        raise EncoderError(f"cannot read {path}: {error}") from error
