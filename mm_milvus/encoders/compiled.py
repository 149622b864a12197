"""torch.compile for the models: slow to start, then faster; worth it where many items follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mm_milvus.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["compile_function", "compile_modules", "compiling", "token_lengths"]


def compile_modules(device: torch.device, *modules: Any) -> None:
    """Compiles modules in place; the work is done at their first call, once for each shape of the inputs."""
    for module in modules:
        module.compile(dynamic=False, options=_options(device))


def compile_function(
    device: torch.device, function: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """The same for a function or a method."""
    import torch

    return torch.compile(function, dynamic=False, options=_options(device))


def _options(device: torch.device) -> dict[str, Any] | None:
    """On a CPU the number of threads is that of the caller, and not what it was when the code was made."""
    return {"cpp.dynamic_threads": True} if device.type == "cpu" else None


def token_lengths(limit: int) -> tuple[int, ...]:
    """The few lengths to which a compiled model's texts are padded: torch keeps eight variants of a function."""
    return tuple(sorted({min(limit, max(16, limit // 16)), min(limit, max(32, limit // 4)), limit}))


@contextmanager
def compiling(name: str) -> Iterator[None]:
    """The first calls of a compiled model, when a missing C compiler shows. Raises EncoderError for any failure."""
    try:
        yield
    except Exception as error:  # torch, its back end and the C compiler raise errors of many kinds
        line = " ".join(str(error).split())[:200]
        raise EncoderError(
            f"cannot compile {name!r}: {type(error).__name__}: {line}; go on without --compile"
        ) from error
