"""The trained projection of late interaction: token vectors of an encoder -> short unit vectors that are compared.

    x = normalise(W_m (h - c_m))

h is a token of modality m (text, image), c_m the mean of such tokens and W_m (dim, D_m) what is trained; queries and
products share it, as in ColBERT. ``training/`` fits it; it is kept in a folder: ``config.json`` and
``projection.safetensors``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mm_milvus.errors import FusionError
from mm_milvus.files import kind_of, replace_file, replace_json
from mm_milvus.fusion import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders import EncoderSpec, TokenEncoder

    Array = npt.NDArray[np.float32]

__all__ = ["CONFIG_FILE", "DIM", "KIND", "WEIGHTS_FILE", "Projection", "ProjectionConfig", "load_projection"]

KIND: Literal["late-interaction"] = "late-interaction"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "projection.safetensors"
DIM = 128  # as ColBERT
_VERSION = 1
_NAMES = ("text", "image", "text_mean", "image_mean")


@dataclass(frozen=True, slots=True)
class ProjectionConfig:
    """What a projection takes and gives, and the encoder whose tokens it was trained on."""

    dim: int
    text_dim: int
    image_dim: int
    encoder: str
    revision: str
    recipe: str  # how the tokens were made
    source: str = ""  # what the encoder was loaded from
    kind: str = KIND
    version: int = _VERSION

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            "text": (self.dim, self.text_dim),
            "image": (self.dim, self.image_dim),
            "text_mean": (self.text_dim,),
            "image_mean": (self.image_dim,),
        }


@dataclass(frozen=True, eq=False)
class Projection:
    """A trained projection; ``weights`` are those of ``ProjectionConfig.shapes``, float32."""

    config: ProjectionConfig
    weights: Mapping[str, Array]

    def __post_init__(self) -> None:
        for name, shape in self.config.shapes().items():
            found = self.weights.get(name)
            if found is None or found.shape != shape or not np.isfinite(found).all():
                raise FusionError(
                    f"the projection's weights {name!r} must be finite numbers of the shape {shape}, "
                    f"got {None if found is None else found.shape}"
                )

    def text(self, tokens: Array) -> Array:
        """(T, D_text) -> (T, dim) float32 of unit norm."""
        return self._of("text", tokens)

    def image(self, tokens: Array) -> Array:
        """(T, D_image) -> (T, dim) float32 of unit norm."""
        return self._of("image", tokens)

    def _of(self, name: str, tokens: Array) -> Array:
        found = (tokens - self.weights[f"{name}_mean"]) @ self.weights[name].T
        return normalise(np.asarray(found, np.float32))

    def check(self, encoder: TokenEncoder) -> None:
        """Raises FusionError unless it was trained on the tokens of this encoder."""
        self.check_spec(encoder.spec)
        if encoder.token_spec.recipe != self.config.recipe:
            raise FusionError(
                f"this projection was trained on tokens of another making ({self.config.recipe!r}, now "
                f"{encoder.token_spec.recipe!r}); train another one"
            )

    def check_spec(self, spec: EncoderSpec) -> None:
        """Raises FusionError unless it was trained on this encoder."""
        config = self.config
        if not spec.is_known_as(config.encoder, config.revision):
            raise FusionError(
                f"this projection was trained on the encoder {config.encoder}@{config.revision}, not on {spec.name}@"
                f"{spec.revision}; train another one on this collection"
            )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Into a folder, which is made. The same projection gives the same bytes."""
        from safetensors.numpy import save

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(self.weights[name], np.float32) for name in _NAMES}
        replace_file(target / WEIGHTS_FILE, save(arrays))
        replace_json(target / CONFIG_FILE, asdict(self.config))


def load_projection(folder: str | os.PathLike[str]) -> tuple[Projection, str]:
    """A saved projection and its fingerprint "fp:...", of the bytes of its files.

    Raises FusionError for a folder that is missing, incomplete or damaged, of another kind, or of a newer version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(folder).expanduser()
    try:
        described, content = ((path / name).read_bytes() for name in (CONFIG_FILE, WEIGHTS_FILE))
    except OSError as error:
        if (kind := kind_of(path)) is not None and kind != KIND:
            raise FusionError(
                f"{str(folder)!r} is a trained fusion ({kind}), not a reranker: mm-milvus ingest CATALOG --fusion "
                f"{folder}, or to compare it, mm-milvus eval QUERIES --compare default,{folder}"
            ) from error
        raise FusionError(
            f"there is no trained late interaction in {str(folder)!r}: it needs {CONFIG_FILE} and {WEIGHTS_FILE}, as "
            f"mm-milvus train --fusion {KIND} writes them"
        ) from error
    try:
        values = json.loads(described)
        if values.get("version", _VERSION) > _VERSION:
            raise FusionError(f"the projection in {str(folder)!r} is of a newer version; upgrade mm-milvus")
        projection = Projection(ProjectionConfig(**values), load(content))
    except (ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise FusionError(f"the projection in {str(folder)!r} is damaged: {error}") from error
    return projection, "fp:" + hashlib.sha256(described + content).hexdigest()[:16]
