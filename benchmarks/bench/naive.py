"""The loop that tutorials show: Pillow, the model's own processor and model, one batch after the other, upsert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.catalogs import parts

__all__ = ["NaiveLoop"]

BATCH = 32


class NaiveLoop:
    """Eager float32 with all threads that torch takes by itself."""

    def __init__(self, model: str, device: str) -> None:
        from transformers import AutoModel, AutoProcessor

        self._device = device
        self._processor = AutoProcessor.from_pretrained(model, local_files_only=True)
        self._model = AutoModel.from_pretrained(model, local_files_only=True).eval().to(device)

    def __call__(self, catalog: Path, uri: Path) -> None:
        """Embeds the pictures of a catalog.jsonl into a new Milvus Lite."""
        from pymilvus import MilvusClient

        client = MilvusClient(str(uri))
        client.create_collection(
            "naive", dimension=self._width(), id_type="string", max_length=64, metric_type="IP"
        )
        rows = [json.loads(line) for line in catalog.read_text(encoding="utf-8").splitlines()]
        for batch in parts(rows, BATCH):
            vectors = self._encode([catalog.parent / row["image"] for row in batch])
            client.upsert(
                "naive", [row | {"vector": vector} for row, vector in zip(batch, vectors, strict=True)]
            )
        client.close()

    def _encode(self, paths: list[Path]) -> list[Any]:
        import torch
        from PIL import Image

        images = [Image.open(path).convert("RGB") for path in paths]
        inputs = self._processor(images=images, return_tensors="pt").to(self._device)
        with torch.no_grad():
            features = self._model.get_image_features(**inputs).pooler_output
            features = features / features.norm(dim=-1, keepdim=True)
        vectors: list[Any] = features.cpu().tolist()
        return vectors

    def _width(self) -> int:
        width: int = (
            getattr(self._model.config, "projection_dim", None)
            or self._model.config.vision_config.hidden_size
        )
        return width
