"""The stamp: what a collection was made with, kept as a property of the collection itself."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError, FusionError, StampMismatch, StoreError
from mm_milvus.fusion import UNTRAINED, Fusion, FusionName, Head, load_head
from mm_milvus.records import Field, FieldType, Schema

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import EncoderSpec

__all__ = ["SCHEMA_VERSION", "STAMP_PROPERTY", "Stamp", "fused_by"]

STAMP_PROPERTY = "mm.stamp"
SCHEMA_VERSION = 1  # raised when the fields of a collection change in a way that older code cannot read


@dataclass(frozen=True, eq=False)
class Stamp:
    """Identity of the vectors of a collection and the types of its attributes."""

    encoder: str
    revision: str
    preprocessing: str
    fusion: FusionName
    image_mean: npt.NDArray[np.float32]  # (D_image,), what a missing picture is replaced by
    text_mean: npt.NDArray[np.float32]  # (D_text,)
    joint: bool
    text_fields: tuple[str, ...]
    max_chars: int
    schema: Schema
    source: str = ""  # what the encoder was loaded from: a model name, or the path of a local folder
    image_weight: float = 0.5
    text_weight: float = 0.5
    vector_dtype: str = "float32"
    partition_key: str | None = None
    created_by: str = ""
    # (D_text,) mean of the shop's own queries, and how many they were; None: the encoder's. Only queries depend on it.
    query_text_mean: npt.NDArray[np.float32] | None = None
    calibrated_by: int = 0
    # Of the fusion "head": the folder of the trained one, its fingerprint, and the dimensions that it gives.
    head: str = ""
    head_revision: str = ""
    head_dim: int = 0
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def vectors(self) -> Fusion:
        """The fusion that made the stored vectors. Raises StampMismatch when a trained one is gone or changed."""
        head = self._load_head() if self.fusion == "head" else None
        return Fusion(self.fusion, self.image_mean, self.text_mean, self.image_weight, self.text_weight, head)

    @cached_property
    def dim(self) -> int:
        """Dimensions of the stored vectors."""
        return self.head_dim or self.vectors.dim

    def _load_head(self) -> Head:
        try:
            head, revision = load_head(self.head)
        except FusionError as error:
            moved = (
                ""
                if Path(self.head).is_dir()
                else "; where it has moved, give its folder as MM_MILVUS_FUSION"
            )
            raise StampMismatch(
                f"the vectors of this collection need the trained fusion {self.head_revision}: {error}{moved}"
            ) from error
        if revision != self.head_revision:
            raise StampMismatch(
                f"the trained fusion in {self.head!r} is {revision}, but the vectors of this collection were made with "
                f"{self.head_revision}; give the folder of that one as MM_MILVUS_FUSION, or ingest into another "
                "--collection"
            )
        return head

    def located(self, fusion: str | None) -> Stamp:
        """With the trained fusion in the folder ``fusion`` where it is the collection's: the folder may have moved."""
        if self.fusion != "head" or fusion is None or fusion in UNTRAINED:
            return self
        same = load_head(fusion)[1] == self.head_revision
        return replace(self, head=_absolute(fusion)) if same else self

    @property
    def loadable_name(self) -> str:
        """What loads the encoder again; a commit of the hub pins the model."""
        commit = re.fullmatch(r"[0-9a-f]{40}", self.revision)
        return f"{self.encoder}@{self.revision}" if commit else self.source or self.encoder

    def encoder_name(self, asked: str | None, collection: str) -> str:
        """What to load: the encoder that was ``asked`` for, else the stamped one. Raises StampMismatch."""
        if asked:
            self.check_name(asked, collection)
        return asked or self.loadable_name

    def recalibrated(self, query_text_mean: npt.NDArray[np.float32] | None, queries: int) -> Stamp:
        """With another mean of query texts. Raises ConfigError for a trained fusion, which was fitted to its own."""
        if self.fusion == "head":
            raise ConfigError(
                "a trained fusion has learnt from queries itself: train it on the shop's own ones instead"
            )
        return replace(self, query_text_mean=query_text_mean, calibrated_by=queries)

    def check_encoder(self, spec: EncoderSpec, collection: str) -> None:
        """Raises StampMismatch unless ``spec`` is the encoder of the stored vectors."""
        if not spec.is_known_as(self.encoder, self.revision):
            theirs, ours = f"{self.encoder}@{self.revision}", f"{spec.name}@{spec.revision}"
            raise StampMismatch(
                f"collection {collection!r} holds vectors of the encoder {theirs}, but {ours} was asked for; "
                f"use --encoder {self.source or self.encoder}, or another --collection"
            )

    def check_name(self, asked: str, collection: str) -> None:
        """Raises StampMismatch for a model name that cannot be the collection's encoder, before it is downloaded.

        What is in a local folder, and what pairs of towers come to, is known only once they are loaded.
        """
        if Path(asked).expanduser().is_dir() or asked.startswith("towers:"):
            return
        if asked.partition("@")[0] != self.encoder or self.revision.startswith("fp:"):
            raise StampMismatch(
                f"collection {collection!r} holds vectors of the encoder {self.encoder}@{self.revision}, but {asked} "
                f"was asked for; use --encoder {self.source or self.encoder}, or another --collection"
            )

    def check_fusion(self, fusion: str | None, collection: str) -> None:
        """Raises StampMismatch when ``fusion`` is given and is not the collection's."""
        if fusion is None:
            return
        if fusion in UNTRAINED:
            same = fusion == self.fusion
        else:
            revision = load_head(fusion)[1]
            same = self.fusion == "head" and revision == self.head_revision
            if not same and self.head and Path(fusion).expanduser().resolve() == Path(self.head).resolve():
                raise StampMismatch(
                    f"collection {collection!r} was fused with the head {self.head_revision} in {self.head!r}, which "
                    f"was trained again since ({revision}); use another --collection, or remove this one first with "
                    f"mm-milvus drop {collection}"
                )
        if not same:
            own = self.head or self.fusion
            raise StampMismatch(
                f"collection {collection!r} was fused with {own!r}, but {fusion!r} was asked for; "
                f"use --fusion {own}, or another --collection"
            )

    def describe(self) -> dict[str, Any]:
        """The stamp for people: everything but the means and the attribute types."""
        return {
            "encoder": self.encoder,
            "revision": self.revision,
            "source": self.source,
            "preprocessing": self.preprocessing,
            "joint": self.joint,
            "fusion": self.fusion,
            "image_weight": self.image_weight,
            "text_weight": self.text_weight,
            "head": self.head,
            "head_revision": self.head_revision,
            "image_dim": len(self.image_mean),
            "text_dim": len(self.text_mean),
            "dim": self.dim,
            "text_fields": list(self.text_fields),
            "max_chars": self.max_chars,
            "vector_dtype": self.vector_dtype,
            "partition_key": self.partition_key,
            "calibrated_by": self.calibrated_by,
            "created_by": self.created_by,
            "schema_version": self.schema_version,
        }

    def to_json(self) -> str:
        """One line of JSON; the means travel as base64 of little-endian float32."""
        values = self.describe()
        del values["image_dim"], values["text_dim"], values["dim"]
        values["head_dim"] = self.head_dim
        values["image_mean"] = _pack(self.image_mean)
        values["text_mean"] = _pack(self.text_mean)
        if self.query_text_mean is not None:
            values["query_text_mean"] = _pack(self.query_text_mean)
        values["schema"] = [[f.name, f.type.value, f.typed] for f in self.schema.fields]
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, collection: str) -> Stamp:
        """Raises StoreError when the stamp was damaged, or written by a newer version of the package."""
        try:
            values = json.loads(text)
            if values["schema_version"] > SCHEMA_VERSION:
                raise StoreError(
                    f"collection {collection!r} was made by a newer version ({values['created_by']}); upgrade mm-milvus"
                )
            values["image_mean"] = _unpack(values["image_mean"])
            values["text_mean"] = _unpack(values["text_mean"])
            if "query_text_mean" in values:
                values["query_text_mean"] = _unpack(values["query_text_mean"])
            values["text_fields"] = tuple(values["text_fields"])
            values["schema"] = Schema(
                tuple(Field(n, FieldType(t), typed) for n, t, typed in values["schema"])
            )
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the stamp of collection {collection!r} is damaged: {error}") from error


def fused_by(folder: str, spec: EncoderSpec) -> dict[str, Any]:
    """The fields of the stamp of a collection that the trained fusion in ``folder`` makes. Raises FusionError."""
    head, revision = load_head(folder)
    head.check(spec)
    return {
        "fusion": "head",
        "head": _absolute(folder),
        "head_revision": revision,
        "head_dim": head.config.dim,
        "image_mean": head.image_mean,
        "text_mean": head.text_mean,
        "query_text_mean": head.query_text_mean,
    }


def _absolute(folder: str) -> str:
    return str(Path(folder).expanduser().absolute())


def _pack(vector: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")


def _unpack(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
