"""From the name that a user gives to a loaded encoder."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from mm_milvus.errors import EncoderError

if TYPE_CHECKING:
    from mm_milvus.encoders.base import Encoder, QueryTexts

__all__ = [
    "OFFLINE",
    "EncoderFamily",
    "describe_encoders",
    "load_encoder",
    "load_query_texts",
    "load_replicas",
]

OFFLINE = "offline"
TOWERS = "towers:"


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """One kind of encoder, for lists and for ``doctor``."""

    name: str
    example: str  # what to write as --encoder
    licence: str  # of the example's weights
    joint: bool  # words find pictures


def describe_encoders() -> tuple[EncoderFamily, ...]:
    """All families that ``load_encoder`` knows, the offline one first. Loads no model and asks no network."""
    from mm_milvus.encoders.dual import FAMILIES
    from mm_milvus.encoders.pretrained import licence_of

    vit, e5 = "google/vit-base-patch16-224", "intfloat/multilingual-e5-small"
    dual = (
        EncoderFamily(name, family.example, licence_of(family.example), True)
        for name, family in FAMILIES.items()
    )
    return (
        EncoderFamily(OFFLINE, OFFLINE, "MIT (text), Apache-2.0 (pictures)", False),
        *dual,
        EncoderFamily("towers", f"{TOWERS}{vit}+{e5}", f"{licence_of(vit)}; {licence_of(e5)}", False),
    )


def load_encoder(name: str, *, device: str = "auto", dtype: str = "auto", compile: bool = False) -> Encoder:
    """The encoder called ``name``, ready to use.

    ``offline``; ``towers:IMAGE+TEXT``, two models of one modality each; anything else is a CLIP-type model. A model
    is a name on the hub with an optional ``@revision``, or a local folder, which is tried first.
    ``device``: auto, cpu, cuda, cuda:N or mps. ``dtype``: auto, float32, bfloat16 or float16; ``offline`` computes
    in float32 unless told otherwise. ``compile``: through torch.compile, which takes a minute and pays in long runs.
    Raises EncoderError.
    """
    from mm_milvus.encoders.pretrained import choose_device, choose_dtype

    name = name.strip()
    if not name:
        raise EncoderError(
            "the name of the encoder is empty: write `offline`, a model name or a local folder"
        )
    chosen = choose_device(device)
    if name == OFFLINE:
        from mm_milvus.encoders.offline import OfflineEncoder

        return OfflineEncoder(
            device=str(chosen), dtype="float32" if dtype == "auto" else dtype, compile=compile
        )
    if get_close_matches(name.lower(), [OFFLINE], cutoff=0.8) and not Path(name).is_dir():
        raise EncoderError(f"there is no encoder {name!r}; did you mean {OFFLINE!r}?")
    kind = str(choose_dtype(dtype, chosen)).removeprefix("torch.")
    if name.startswith(TOWERS):
        return _load_towers(name.removeprefix(TOWERS), str(chosen), kind, compile)
    return _load_dual(name, str(chosen), kind, compile)


def load_query_texts(name: str) -> QueryTexts | None:
    """What encodes query texts of the encoder called ``name`` without loading torch; None where nothing does."""
    if name.strip() != OFFLINE:
        return None
    from mm_milvus.encoders.offline import OfflineTexts

    return OfflineTexts()


def load_replicas(
    name: str, device: str = "auto", dtype: str = "auto", compile: bool = False
) -> list[Encoder]:
    """The encoder called ``name`` on every CUDA device where ``device`` is auto or cuda, else once.

    See `load_encoder` for the arguments and errors.
    """
    return [load_encoder(name, device=one, dtype=dtype, compile=compile) for one in _replica_devices(device)]


def _replica_devices(device: str) -> list[str]:
    import torch

    count = torch.cuda.device_count() if device in {"auto", "cuda"} else 0
    return [f"cuda:{index}" for index in range(count)] if count > 1 else [device]


def _load_dual(name: str, device: str, dtype: str, compile: bool) -> Encoder:
    from mm_milvus.encoders.dual import DualEncoder
    from mm_milvus.encoders.source import locate

    source = locate(name, text=True, image=True)
    return DualEncoder(source, device=device, dtype=dtype, compile=compile)


def _load_towers(pair: str, device: str, dtype: str, compile: bool) -> Encoder:
    from mm_milvus.encoders.source import locate
    from mm_milvus.encoders.towers import TowersEncoder

    image, text = _split_pair(pair)
    sources = locate(image, image=True), locate(text, text=True)
    return TowersEncoder(*sources, device=device, dtype=dtype, compile=compile)


def _split_pair(pair: str) -> tuple[str, str]:
    """``IMAGE+TEXT`` at the plus between two models; a folder's own name may hold a plus too."""
    places = [place for place, sign in enumerate(pair) if sign == "+"]
    splits = [(pair[:place].strip(), pair[place + 1 :].strip()) for place in places]
    splits = [split for split in splits if all(split)]
    if len(splits) > 1:
        splits = [split for split in splits if all(_can_be_model(part) for part in split)]
    if len(splits) != 1:
        raise EncoderError(
            f"cannot read {TOWERS + pair!r}: write {TOWERS}IMAGE+TEXT, two model names or local folders"
        )
    return splits[0]


def _can_be_model(name: str) -> bool:
    from mm_milvus.encoders.source import is_hub_name

    return Path(name).expanduser().is_dir() or is_hub_name(name.partition("@")[0])
