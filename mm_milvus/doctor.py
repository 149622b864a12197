"""Is everything there that a search needs? One check per line, each with the way out where it fails."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from mm_milvus.errors import DatabaseNotFound, MmMilvusError

if TYPE_CHECKING:
    from mm_milvus.config import Settings

__all__ = ["Check", "diagnose"]

_PACKAGES = ("torch", "transformers", "pymilvus", "milvus-lite", "pillow")


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str

    def to_dict(self) -> dict[str, str]:
        return {"name": self.name, "status": self.status, "detail": self.detail}


def diagnose(settings: Settings) -> list[Check]:
    """Python, packages, device and dtype, Milvus and what it can do, weights and their licences."""
    checks = [
        Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    ]
    checks += [_package(name) for name in _PACKAGES]
    for name, check in (("device", _device), ("milvus", _milvus), ("encoder", _encoder)):
        checks += _guarded(name, check, settings)
    return checks


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "fail", f"not installed: pip install {name}")


def _guarded(name: str, check: Callable[[Settings], Iterator[Check]], settings: Settings) -> Iterator[Check]:
    """A failed check is a line of the report, not the end of it."""
    try:
        yield from check(settings)
    except (MmMilvusError, ImportError, OSError) as error:
        yield Check(name, "fail", " ".join(str(error).split()))


def _device(settings: Settings) -> Iterator[Check]:
    from mm_milvus.encoders.pretrained import choose_device, choose_dtype

    device = choose_device(settings.device)
    dtype = str(choose_dtype(settings.dtype, device)).removeprefix("torch.")
    yield Check("device", "ok", f"{device}, {dtype} for transformers models")


def _milvus(settings: Settings) -> Iterator[Check]:
    from mm_milvus.store import Store, is_server

    try:
        with Store(settings) as store:
            can = store.capabilities
            names = store.collections()
    except DatabaseNotFound as error:
        yield Check("milvus", "warn", str(error))
        return
    yield Check("milvus", "ok", f"{settings.uri} answers: {can.version}")
    yes = [name for name, value in can.to_dict().items() if value is True and name != "lite"]
    no = [name for name, value in can.to_dict().items() if value is False and name != "lite"]
    yield Check(
        "capabilities", "ok", f"has {', '.join(yes) or 'nothing'}; lacks {', '.join(no) or 'nothing'}"
    )
    yield Check("collections", "ok", ", ".join(names) or "none yet")
    if is_server(settings.uri) and settings.uri.startswith("http://") and settings.token:
        yield Check(
            "transport", "warn", "the token travels unencrypted over http://; use https:// outside a host"
        )


def _encoder(settings: Settings) -> Iterator[Check]:
    from mm_milvus.encoders import load_encoder

    spec = load_encoder(settings.encoder or "offline", device=settings.device, dtype=settings.dtype).spec
    yield Check("encoder", "ok", f"{spec.name}@{spec.revision}: weights found ({spec.family})")
    yield Check("licence", "ok", f"{spec.name}: {spec.licence}")
