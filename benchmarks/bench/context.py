"""What the measurements share: the options, loaded models, a temporary folder and a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models import MODELS, make

from mm_milvus.config import Settings
from mm_milvus.encoders import Encoder, load_replicas

__all__ = ["TINY", "Context", "Spent", "spent"]

TINY = "clip-tiny"  # hardly computes anything, but its vectors are as wide as those of CLIP B/32
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
MODELS[TINY] = {
    "vision": _SMALL | {"patch_size": 32, "image_size": 224},
    "text": _SMALL | {"vocab_size": 2_000},
    "tokens": 77,
}


@dataclass(frozen=True)
class Spent:
    """What one run took."""

    seconds: float
    cpu: float  # seconds, of all threads of this process
    rows: int

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds

    @property
    def cpu_per_row(self) -> float:
        return self.cpu / self.rows


def spent(rows: int, run: Callable[[], Any]) -> Spent:
    """Runs it once."""
    cpu, began = time.process_time(), time.perf_counter()
    run()
    return Spent(time.perf_counter() - began, time.process_time() - cpu, rows)


@dataclass(frozen=True)
class Context:
    """Options of the command. ``quick`` takes toy models and few rows: it shows that all of it runs, and no speed."""

    device: str  # cpu or cuda
    data: Path
    folder: Path  # for catalogs, databases and models; deleted in the end
    models: Path
    quick: bool
    rows: int | None
    uri: str | None  # of a Milvus server
    say: Callable[[str], None] = print
    _loaded: dict[tuple[str, str], Any] = field(default_factory=dict)

    def turns(self, most: int = 3, seconds: float = 50.0) -> Iterator[int]:
        """Numbers of the rounds of a measurement; fewer where they take longer than expected."""
        began = time.perf_counter()
        for turn in range(1 if self.quick else most):
            if turn and time.perf_counter() - began > seconds:
                return
            yield turn

    def count(self, usual: int, quick: int) -> int:
        """Rows of a measurement."""
        return quick if self.quick else self.rows or usual

    def settings(self, **changes: Any) -> Settings:
        """Defaults, whatever file and environment say; models on a GPU are compiled."""
        return Settings(device=self.device, compile=self.device == "cuda", **changes)

    def model(self, name: str) -> str:
        """What loads the model ``name``: "offline", or the folder of one with random weights."""
        if name == "offline":
            return name
        return str(make(TINY if self.quick else name, self.models))

    def encoders(self, name: str, dtype: str = "auto") -> list[Encoder]:
        """Replicas of the encoder, loaded once."""
        key = (self.model(name), dtype)
        if key not in self._loaded:
            settings = self.settings()
            self._loaded[key] = load_replicas(key[0], settings.device, dtype, settings.compile)
        encoders: list[Encoder] = self._loaded[key]
        return encoders

    def forget(self) -> None:
        """Lets go of the models."""
        self._loaded.clear()

    def place(self, name: str) -> Path:
        """A folder of this name, made."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
