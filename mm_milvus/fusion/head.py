"""Trained fusion heads: small networks between an encoder and the vector that is searched, in numpy.

``training/`` fits them; here they are applied and kept in a folder: ``config.json`` and ``head.safetensors``. Queries
need no PyTorch for them. With x_m = P_m u_m, u_m being the centred unit vector of modality m (image, text), products
become the unit vector of

    linear, sum   x_image + x_text
    gated         2 (g_image * x_image + g_text * x_text), g a softmax over the modalities in each dimension of
                  G [u_image ; u_text] + c (Arevalo et al. 2017)
    attention     the sum over m of x_m + W_O [head_1 ; ... ; head_h]_m, with
                  head_j = softmax(Q_j K_j^T / sqrt(d_k)) V_j over the modalities (Vaswani et al. 2017)
    product       x_image * x_text, of raw vectors

A modality that a product lacks takes no part: its score is -inf before each softmax. ``product`` takes the document
mean for it, as the untrained fusion does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mm_milvus.errors import FusionError
from mm_milvus.files import kind_of, replace_file, replace_json
from mm_milvus.fusion.functions import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import EncoderSpec

    Array = npt.NDArray[np.float32]

__all__ = ["Head", "HeadConfig", "HeadKind", "load_head"]

HeadKind = Literal["linear", "attention", "gated", "sum", "product"]
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "head.safetensors"
_VERSION = 1
_SIDES = ("product", "query")


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """What a head is made of, and the encoder whose vectors it was trained on."""

    kind: HeadKind
    dim: int  # of the fused vector
    image_dim: int
    text_dim: int
    shared: bool  # queries and products go through the same weights
    encoder: str
    revision: str
    attention_heads: int = 8  # of ``attention``
    source: str = ""  # what the encoder was loaded from
    version: int = _VERSION

    @property
    def centred(self) -> bool:
        """Whether it takes vectors less their mean, of unit norm again; else the encoder's own."""
        return self.kind != "product"

    def check(self) -> None:
        """Raises FusionError where there can be no such head."""
        if self.kind not in get_args(HeadKind):
            raise FusionError(f"a head is one of {', '.join(get_args(HeadKind))}, not {self.kind!r}")
        if self.kind == "attention" and self.dim % self.attention_heads:
            raise FusionError(
                f"the dimensions of an attention head ({self.dim}) must be a multiple of its "
                f"{self.attention_heads} heads"
            )
        if self.kind in ("sum", "product") and not self.image_dim == self.text_dim == self.dim:
            raise FusionError(
                f"the head {self.kind!r} needs pictures and texts of equal width, but the encoder {self.encoder!r} "
                f"gives {self.image_dim} and {self.text_dim} dimensions; use linear, gated or attention"
            )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights of one side, by name."""
        found: dict[str, tuple[int, ...]] = {
            "image": (self.dim, self.image_dim),  # P_m
            "text": (self.dim, self.text_dim),
        }
        if self.kind == "gated":
            found |= {"gate": (2 * self.dim, self.image_dim + self.text_dim), "gate_bias": (2 * self.dim,)}
        if self.kind == "attention":
            found |= dict.fromkeys(("queries", "keys", "values", "out"), (self.dim, self.dim))
        return found


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head. ``weights`` holds "product.NAME" and, unless shared, "query.NAME" for each of the shapes.

    ``image_mean`` (D_image,) and ``text_mean`` (D_text,) centre products, ``query_text_mean`` (D_text,) query texts.
    """

    config: HeadConfig
    weights: Mapping[str, Array]
    image_mean: Array
    text_mean: Array
    query_text_mean: Array

    def __post_init__(self) -> None:
        config = self.config
        config.check()
        sides = _SIDES[: 1 if config.shared else 2]
        wanted = {f"{side}.{name}": shape for side in sides for name, shape in config.shapes().items()}
        wanted |= {"image_mean": (config.image_dim,)}
        wanted |= dict.fromkeys(("text_mean", "query_text_mean"), (config.text_dim,))
        for name, shape in wanted.items():
            found = self.weights.get(name, getattr(self, name, None))
            if found is None or found.shape != shape or not np.isfinite(found).all():
                raise FusionError(
                    f"the head's weights {name!r} must be finite numbers of the shape {shape}, "
                    f"got {None if found is None else found.shape}"
                )

    # --- use -----------------------------------------------------------------------------------------------

    def products(
        self, image: Array, text: Array, has_image: Sequence[bool], has_text: Sequence[bool]
    ) -> Array:
        """Raw unit vectors (N, D_image) and (N, D_text), anything where absent -> (N, dim) float32 of unit norm."""
        present = np.stack([np.asarray(has_image, np.bool_), np.asarray(has_text, np.bool_)], axis=1)
        if self.config.centred:
            image, text = normalise(image - self.image_mean), normalise(text - self.text_mean)
            return self._forward("product", image, text, present)
        image = np.where(present[:, :1], image, self.image_mean)
        text = np.where(present[:, 1:], text, self.text_mean)
        return self._forward("product", image, text, np.ones_like(present))

    def query(self, image: Array | None, text: Array | None) -> Array:
        """Weighted sums of unit vectors of pictures (D_image,) and texts (D_text,), None where absent -> (dim,).

        The vectors are centred where the head takes such. Each part keeps its weight, which is its norm: for one
        signal, the query vector has the norm of its weight. ``product`` multiplies the parts; the others add them.
        """
        config = self.config
        norms = [0.0 if part is None else float(np.linalg.norm(part)) for part in (image, text)]
        image = np.zeros(config.image_dim, np.float32) if image is None else image
        text = np.zeros(config.text_dim, np.float32) if text is None else text
        if config.centred:
            parts = (self._alone(image, norms[0], 0), self._alone(text, norms[1], 1))
            return np.asarray(parts[0] + parts[1], np.float32)
        image = image if norms[0] else self.image_mean
        text = text if norms[1] else self.text_mean
        both = np.ones((1, 2), np.bool_)
        found = self._forward("query", image[None], text[None], both)[0]
        return np.asarray(sum(norms) * found, np.float32)

    def _alone(self, part: Array, norm: float, modality: int) -> Array:
        """One modality of a query, as long as its weight."""
        if not norm:
            return np.zeros(self.config.dim, np.float32)
        other = np.zeros((1, (self.config.text_dim, self.config.image_dim)[modality]), np.float32)
        unit = (part / np.float32(norm))[None]
        image, text = (unit, other) if modality == 0 else (other, unit)
        present = np.array([[modality == 0, modality == 1]])
        return np.asarray(norm * self._forward("query", image, text, present)[0], np.float32)

    def _forward(self, side: str, image: Array, text: Array, present: npt.NDArray[np.bool_]) -> Array:
        """(N, D_image), (N, D_text) and (N, 2) -> (N, dim) of unit norm."""
        side = "product" if self.config.shared else side
        weights = {name: self.weights[f"{side}.{name}"] for name in self.config.shapes()}
        tokens = np.stack([image @ weights["image"].T, text @ weights["text"].T], axis=1)  # (N, 2, dim)
        match self.config.kind:
            case "product":
                return normalise(tokens[:, 0] * tokens[:, 1])
            case "gated":
                both = np.concatenate([image * present[:, :1], text * present[:, 1:]], axis=1)
                scores = (both @ weights["gate"].T + weights["gate_bias"]).reshape(len(image), 2, -1)
                tokens = 2 * _softmax(np.where(present[:, :, None], scores, -np.inf), axis=1) * tokens
            case "attention":
                tokens = tokens + _attend(tokens, present, weights, self.config.attention_heads)
        return normalise((tokens * present[:, :, None]).sum(axis=1).astype(np.float32))

    # --- files ---------------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Into a folder, which is made. The same head gives the same bytes."""
        from safetensors.numpy import save

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        arrays = {
            **self.weights,
            "image_mean": self.image_mean,
            "text_mean": self.text_mean,
            "query_text_mean": self.query_text_mean,
        }
        content = save({name: np.ascontiguousarray(arrays[name], np.float32) for name in sorted(arrays)})
        replace_file(target / WEIGHTS_FILE, content)
        replace_json(target / CONFIG_FILE, asdict(self.config))

    def check(self, spec: EncoderSpec) -> None:
        """Raises FusionError unless ``spec`` is the encoder that the head was trained on."""
        config = self.config
        if not spec.is_known_as(config.encoder, config.revision):
            raise FusionError(
                f"this head was trained on the encoder {config.encoder}@{config.revision}, not on {spec.name}@"
                f"{spec.revision}; use --encoder {config.source or config.encoder}, or train another one"
            )


def _softmax(scores: Array, axis: int) -> Array:
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    found: Array = powers / powers.sum(axis=axis, keepdims=True)
    return found


def _attend(tokens: Array, present: npt.NDArray[np.bool_], weights: Mapping[str, Array], heads: int) -> Array:
    """Multi-head attention among the (N, 2, dim) tokens of each product; absent ones are attended to by none."""
    count, width, dim = tokens.shape
    parts = {
        name: (tokens @ weights[name].T).reshape(count, width, heads, dim // heads).transpose(0, 2, 1, 3)
        for name in ("queries", "keys", "values")
    }  # (N, heads, 2, d_k)
    scores = parts["queries"] @ parts["keys"].transpose(0, 1, 3, 2) / np.float32(np.sqrt(dim // heads))
    shares = _softmax(np.where(present[:, None, None, :], scores, -np.inf), axis=-1)
    seen = (shares @ parts["values"]).transpose(0, 2, 1, 3).reshape(count, width, dim)
    return np.asarray(seen @ weights["out"].T)


def load_head(folder: str | os.PathLike[str]) -> tuple[Head, str]:
    """A saved head and its fingerprint "fp:...", of the bytes of its files.

    Raises FusionError for a folder that is missing, incomplete or damaged, or of a newer version.
    """
    path = Path(folder).expanduser().absolute()
    try:
        times = tuple((path / name).stat().st_mtime_ns for name in (CONFIG_FILE, WEIGHTS_FILE))
    except OSError as error:
        if kind_of(path) == "late-interaction":
            raise FusionError(
                f"{str(folder)!r} is a trained reranker, not a fusion: mm-milvus tokens {folder}, then query --rerank "
                "late-interaction, or rerank=late-interaction to compare it"
            ) from error
        raise FusionError(
            f"there is no trained fusion in {str(folder)!r}: it needs {CONFIG_FILE} and {WEIGHTS_FILE}, as "
            "mm-milvus train writes them"
        ) from error
    return _read(path, times)


@lru_cache(maxsize=8)
def _read(path: Path, times: tuple[int, ...]) -> tuple[Head, str]:
    """``times`` of change: a head that was trained again is read again."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        described, content = ((path / name).read_bytes() for name in (CONFIG_FILE, WEIGHTS_FILE))
        config: dict[str, Any] = json.loads(described)
        if missing := {"kind", "dim", "image_dim", "text_dim", "shared", "encoder", "revision"} - set(config):
            raise ValueError(f"{CONFIG_FILE} lacks {min(missing)!r}")
        if config.get("version", _VERSION) > _VERSION:
            raise FusionError(f"the trained fusion in {str(path)!r} is of a newer version; upgrade mm-milvus")
        arrays = load(content)
        means = [arrays.pop(name) for name in ("image_mean", "text_mean", "query_text_mean")]
        head = Head(HeadConfig(**config), arrays, *means)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise FusionError(f"the trained fusion in {str(path)!r} is damaged: {error}") from error
    return head, "fp:" + hashlib.sha256(described + content).hexdigest()[:16]
