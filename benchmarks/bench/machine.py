"""What a benchmark ran on, for the head of its table."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import mm_milvus

__all__ = ["Neighbours", "cores", "describe"]


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(device: str) -> str:
    """Hardware and versions, one line each."""
    versions = [f"{name} {version(name)}" for name in ("torch", "transformers", "pymilvus", "milvus-lite")]
    gpu = _gpu() if device == "cuda" else "not used"
    parts = [
        f"{_processor()}, {cores()} cores, {_memory():.0f} GiB memory, GPU: {gpu}",
        f"Python {platform.python_version()}, {', '.join(versions)}, mm-milvus {mm_milvus.__version__}",
    ]
    return "  \n".join(parts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    formats = [
        flag
        for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile")
        if flag in facts.get("flags", "").split()
    ]
    return f"{facts.get('model name', platform.machine())} ({', '.join(formats) or 'no AVX2'})"


def _memory() -> float:
    """GiB of the whole machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{len(names)} x {names[0]}, CUDA {torch.version.cuda}"


class Neighbours:
    """How much of the processors others had since it was made."""

    def __init__(self) -> None:
        self._began, self._own, self._busy = time.perf_counter(), _own_seconds(), _busy_seconds()

    def share(self) -> float:
        """0 to 1 of all processors; 0 where the system does not tell."""
        others = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return max(0.0, others / (time.perf_counter() - self._began) / (os.cpu_count() or 1))


def _own_seconds() -> float:
    """CPU seconds of this process and of the children that have ended."""
    return sum(os.times()[:4])


def _busy_seconds() -> float:
    """CPU seconds of everything on this machine."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    except OSError:
        return 0.0
    ticks = [int(field) for field in fields]
    user, nice, system, _idle, _wait, irq, softirq, steal = ticks[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
