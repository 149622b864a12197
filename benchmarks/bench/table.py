"""Goals, measured values, and the Markdown file that shows them side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

__all__ = ["GOALS", "Goal", "Measured", "write_table"]

NOT_MEASURED = "not measured"
_HEAD = "| ratio | goal | measured | what it is made of | date |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Goal:
    """One row of the table. ``bound`` is None where a value is only reported."""

    key: str
    device: str  # cpu or cuda
    text: str
    sign: str = "≥"
    bound: float | None = None

    def is_met(self, value: float) -> bool:
        return self.bound is None or (value >= self.bound if self.sign == "≥" else value <= self.bound)


@dataclass(frozen=True)
class Measured:
    """The ratio of each round, and one line that says what went into it."""

    ratios: Sequence[float]
    detail: str

    @property
    def value(self) -> float:
        return median(self.ratios)

    def with_note(self, note: str) -> Measured:
        return Measured(self.ratios, f"{self.detail}; {note}")


_IDEAL = "ingest, null sink / (cores / CPU seconds per row of decode + encode)"
_FORWARD = "ingest, null sink / bare forward"
_ROOFLINE = "ingest, null sink, share of the bf16 roofline"
GOALS = (
    Goal("ideal-clip", "cpu", f"{_IDEAL}: CLIP B/32, pictures", "≥", 0.95),
    Goal("ideal-siglip", "cpu", f"{_IDEAL}: SigLIP B/16-224, pictures", "≥", 0.95),
    Goal("ideal-offline", "cpu", f"{_IDEAL}: offline, title and picture", "≥", 0.95),
    Goal("lite", "cpu", "ingest on Milvus Lite / min(bare forward, bare insert): CLIP B/32", "≥", 0.90),
    Goal("naive", "cpu", "ingest on Milvus Lite / naive loop: CLIP B/32", "≥", 2.0),
    Goal("decode-800", "cpu", "decode + resize per core / Pillow: 800 px, q90", "≥", 2.0),
    Goal("decode-clothing", "cpu", "decode + resize per core / Pillow: clothing, up to 288 px"),
    Goal("decode-retail", "cpu", "decode + resize per core / Pillow: retail, up to 600 px"),
    Goal("packing-pictures", "cpu", "CPU of packing rows without text / pymilvus", "≤", 0.1),
    Goal("packing", "cpu", "CPU of packing rows with text / pymilvus, both without search tokens", "≤", 0.1),
    Goal("packing-tokens", "cpu", "CPU of packing rows with text / pymilvus, both with search tokens"),
    Goal("unchanged", "cpu", "unchanged re-ingest / first ingest: offline", "≤", 0.05),
    Goal("attributes", "cpu", "attribute-only change / first ingest: offline", "≤", 0.15),
    Goal("duplicates", "cpu", "time with 50 % duplicates / all unique: offline", "≤", 0.55),
    Goal("roofline-clip", "cpu", f"{_ROOFLINE}: CLIP B/32"),
    Goal("roofline-siglip", "cpu", f"{_ROOFLINE}: SigLIP B/16-224"),
    Goal("memory", "cpu", "peak memory at 10 N rows / at N rows", "≤", 1.05),
    Goal("cosine-offline", "cpu", "bf16 / float32, mean cosine: offline pictures", "≥", 0.9995),
    Goal("overlap-offline", "cpu", "bf16 / float32, top-10 overlap: offline pictures", "≥", 0.99),
    Goal("cosine-clip", "cpu", "bf16 / float32, mean cosine: CLIP B/32", "≥", 0.9995),
    Goal("overlap-clip", "cpu", "bf16 / float32, top-10 overlap: CLIP B/32", "≥", 0.99),
    Goal("cosine-siglip", "cpu", "bf16 / float32, mean cosine: SigLIP B/16-224", "≥", 0.9995),
    Goal("overlap-siglip", "cpu", "bf16 / float32, top-10 overlap: SigLIP B/16-224", "≥", 0.99),
    Goal("forward-clip", "cuda", f"{_FORWARD}: CLIP B/32, pictures", "≥", 0.95),
    Goal("forward-siglip", "cuda", f"{_FORWARD}: SigLIP B/16-224, pictures", "≥", 0.95),
    Goal("roofline-clip-cuda", "cuda", f"{_ROOFLINE}: CLIP B/32"),
    Goal("roofline-siglip-cuda", "cuda", f"{_ROOFLINE}: SigLIP B/16-224"),
    Goal("lite-cuda", "cuda", "ingest on Milvus Lite / min(bare forward, bare insert): CLIP B/32", "≥", 0.90),
    Goal("naive-cuda", "cuda", "ingest on Milvus Lite / naive loop: CLIP B/32", "≥", 5.0),
    Goal("cosine-cuda", "cuda", "bf16 / float32, mean cosine: CLIP B/32", "≥", 0.9995),
    Goal("overlap-cuda", "cuda", "bf16 / float32, top-10 overlap: CLIP B/32", "≥", 0.99),
    Goal("cosine-siglip-cuda", "cuda", "bf16 / float32, mean cosine: SigLIP B/16-224", "≥", 0.9995),
    Goal("overlap-siglip-cuda", "cuda", "bf16 / float32, top-10 overlap: SigLIP B/16-224", "≥", 0.99),
)
_TITLES = {"cpu": "CPU", "cuda": "GPU"}


def write_table(
    path: Path, device: str, machine: str, command: str, date: str, found: Mapping[str, Measured]
) -> None:
    """Replaces what was measured in the section of ``device``; values of another machine or version are dropped."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    sections = {}
    for name, title in _TITLES.items():
        block, rows = _section(old, name)
        if name == device:
            rows = rows if block.partition("\n\n")[0] == machine else {}
            rows |= {goal.text: _line(goal, found[goal.key], date) for goal in GOALS if goal.key in found}
            block = f"{machine}\n\n    {command}"
        lines = [rows.get(goal.text, _missing(goal)) for goal in GOALS if goal.device == name]
        sections[name] = "\n".join([f"## {title}", "", *([block, ""] if block else []), _HEAD, *lines])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join([_INTRODUCTION, *sections.values()]) + "\n", encoding="utf-8")


def _section(text: str, device: str) -> tuple[str, dict[str, str]]:
    """The block under a section's title, and its measured rows by their first cell."""
    match = re.search(rf"^## {_TITLES[device]}\n\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if match is None:
        return "", {}
    block, _, table = match[1].partition(_HEAD)
    lines = [line for line in table.splitlines() if line.startswith("| ") and NOT_MEASURED not in line]
    return block.strip(), {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def _line(goal: Goal, measured: Measured, date: str) -> str:
    value, low, high = measured.value, min(measured.ratios), max(measured.ratios)
    spread = f" ({_number(low)} to {_number(high)})" if len(measured.ratios) > 1 else ""
    missed = "" if goal.is_met(value) else ", **missed**"
    return _cells(goal, f"{_number(value)}{spread}{missed}", measured.detail, date)


def _missing(goal: Goal) -> str:
    return _cells(goal, NOT_MEASURED, "", "")


def _cells(goal: Goal, *rest: str) -> str:
    bound = f"{goal.sign} {goal.bound:g}" if goal.bound is not None else "reported"
    return "| " + " | ".join((goal.text, bound, *rest)) + " |"


def _number(value: float) -> str:
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.5f}" if 0.99 < value < 1 else f"{value:.3f}"


_INTRODUCTION = """# How fast an ingest is

`python benchmarks/ingest.py` measures what is below and writes this file; `--help` says how to measure less, or with
other photos. A ratio compares runs that took turns in one process, so that both sides had the same machine; the value
is the median of the rounds, with the lowest and the highest in parentheses. Models have random weights: their speed
does not depend on them. A goal that was not reached is marked as missed.

* **ingest, null sink**: rows per second of the whole worker on real photos, into a collection that drops what it gets.
  The clock starts when the model is loaded and the means of an encoder that brings none are estimated.
* **bare forward**: prepared pictures through the model and nothing else, in the fastest way that was found.
* **CPU seconds per row**: decoding with resizing, and the model, each alone in one thread per core.
* **naive loop**: Pillow, the model's own processor and the model in float32, 32 pictures at a time, then `upsert`.
* **peak memory**: of the process that ingests (`VmHWM`); the database is a server in another process, and the model is
  a toy whose vectors are as wide as those of CLIP B/32.
* **roofline**: the fastest product of two large bfloat16 matrices on the same device; a picture takes 8.8 GFLOP
  (CLIP B/32) or 35.5 (SigLIP B/16). Threads that are busy on average add up over all threads of a stage.
* **top-10 overlap**: neighbours that the vectors of both number formats have in common, among the ten nearest."""
