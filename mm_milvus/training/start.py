"""The weights before the first step: those with which a head ranks as untrained, centred vectors do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from mm_milvus.fusion import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import EncoderSpec
    from mm_milvus.fusion import HeadConfig

    Array = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]

__all__ = ["centre", "principal", "start_weights", "starting_head"]

_Rows = TypeVar("_Rows", bound="npt.NDArray[np.generic]")
_ROWS = 8_192  # taken into memory again at once


def centre(vectors: Array, mean: Array) -> Array:
    """Unit vectors (N, D) less their mean, of unit norm again; in their own place, a part at a time."""
    for part in _parts(vectors):
        part[:] = normalise(part - mean)
    return vectors


def start_weights(config: HeadConfig, image: Array, text: Array, present: Bools) -> dict[str, Array]:
    """The weights of one side, by the names of ``HeadConfig.shapes``.

    ``image`` (N, D_image) and ``text`` (N, D_text) are those of the products, centred where the head takes such.
    x_m = P_m u_m with [P_image P_text] orthonormal rows: the identity where dim has room for both, else the top right
    singular vectors of the products' [u_image ; u_text], which is the best approximation of that rank (Eckart and
    Young 1936). Gates and what attention adds are zero.
    """
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.shapes().items()}
    weights["image"], weights["text"] = _projections(config, image, text, present)
    # Q, K and V need some start, or nothing would ever move them: zero W_O already leaves out what they say.
    rng = np.random.default_rng(0)
    for name in ("queries", "keys", "values"):
        if name in weights:
            shape = weights[name].shape
            weights[name] = (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32)
    return weights


def starting_head(
    config: HeadConfig, image: Array, text: Array, present: Bools, spec: EncoderSpec | None = None
) -> dict[str, Array]:
    """``start_weights`` of all sides, by the names of ``Head.weights``.

    Where the space of ``spec`` is joint, queries with weights of their own meet the other modality as well: words ask
    for P_image and P_text by the shares with which the fusion ``blocks`` compares them with pictures and with texts,
    and pictures likewise.
    """
    one = start_weights(config, image, text, present)
    sides = ("product",) if config.shared else ("product", "query")
    weights = {f"{side}.{name}": value for side in sides for name, value in one.items()}
    if spec is None or not spec.joint or config.shared:
        return weights
    image, text = weights["query.image"], weights["query.text"]
    on_text, on_image = (
        np.float32(share) for share in (spec.weights.image_on_text, spec.weights.text_on_image)
    )
    crossed = {
        "query.image": (1 - on_text) * image + on_text * text,
        "query.text": on_image * image + (1 - on_image) * text,
    }
    return {**weights, **crossed}


def _projections(config: HeadConfig, image: Array, text: Array, present: Bools) -> tuple[Array, Array]:
    if config.kind in ("sum", "product"):
        return np.eye(config.dim, dtype=np.float32), np.eye(config.dim, dtype=np.float32)
    width = config.image_dim + config.text_dim
    if config.dim >= width:
        whole = np.eye(config.dim, width, dtype=np.float32)
    else:
        whole = _principal(image, text, present)[: config.dim]
    return np.ascontiguousarray(whole[:, : config.image_dim]), np.ascontiguousarray(
        whole[:, config.image_dim :]
    )


def _principal(image: Array, text: Array, present: Bools) -> Array:
    """``principal`` of the products' [u_image ; u_text]."""
    width = image.shape[1] + text.shape[1]
    moments = np.zeros((width, width))
    for one, other, has in zip(_parts(image), _parts(text), _parts(present), strict=True):
        both = np.concatenate([one * has[:, :1], other * has[:, 1:]], axis=1)
        moments += both.T @ both
    return principal(moments).astype(np.float32)


def principal(moments: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(D, D) second moments -> their eigenvectors as rows, the largest first; signs are fixed."""
    found = np.linalg.eigh(moments)[1][:, ::-1].T
    signs = np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])
    return np.asarray(found * signs[:, None])


def _parts(rows: _Rows) -> Iterator[_Rows]:
    return (cast("_Rows", rows[start : start + _ROWS]) for start in range(0, len(rows), _ROWS))
