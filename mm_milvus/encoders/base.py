"""What an encoder is: a specification that identifies it, and methods that turn texts and pictures into vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["DefaultWeights", "Encoder", "EncoderSpec", "Prepared", "QueryTexts"]

# One picture on its way from the decoder to the model. Only the encoder that made it knows what it holds.
Prepared: TypeAlias = "Tensor | Mapping[str, Tensor]"


@dataclass(frozen=True, slots=True)
class DefaultWeights:
    """Weights of a query's signals where the user gives none, from measurement of the encoder.

    ``image`` and ``text`` apply when a query mixes both kinds. In a joint space a text signal is compared
    with the products' texts and pictures alike: ``text_on_image`` is the share that goes to the picture block.
    """

    image: float = 0.5
    text: float = 0.5
    text_on_image: float = 0.0
    image_on_text: float = 0.0
    # Where there is no joint space: the share of a query picture that goes to the texts of the nearest pictures.
    # P@10 of the same class, by share 0 / .1 / .3 / .5: groceries .687 / .752 / .835 / .876, garments .553 / .586 /
    # .630 / .654 (benchmarks/bridge.py). More than .3 would hide what a picture shows and no text says.
    bridge: float = 0.3
    # The share of words that goes to the pictures of the products of the nearest texts, where some products have no
    # text. P@10 of the class among products without a text: groceries .00 -> .44, garments .07 -> .44; nDCG@10 of all
    # products, 60 % of them incomplete: .994 -> .993 and .996 (benchmarks/quality.py). From .03 on it falls.
    text_bridge: float = 0.01


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Identity and properties of an encoder. Two encoders with one (name, revision) give the same vectors."""

    name: str  # "offline", a model name, or the name of a local folder
    revision: str  # commit, or a fingerprint of the weights
    family: str  # offline, clip, siglip, siglip2, chinese_clip, altclip, towers
    text_dim: int
    image_dim: int
    joint: bool  # text and picture vectors live in one space and can be compared
    preprocessing: str  # one line: sizes, resampling, normalisation, text treatment
    max_tokens: int  # longer texts are cut by the model
    max_chars: int  # what fits in max_tokens for ordinary product text; the text template is cut to this
    languages: tuple[str, ...] = ()
    licence: str = "unknown"
    weights: DefaultWeights = field(default_factory=DefaultWeights)
    # Mean of the unit vectors of ordinary products, NOT renormalised: what a missing modality is replaced by.
    # None: estimated from the first rows of the first ingest and stamped on the collection.
    image_mean: tuple[float, ...] | None = None
    text_mean: tuple[float, ...] | None = None
    # Mean of the unit vectors of generic shop queries (text side, with the query treatment).
    query_text_mean: tuple[float, ...] | None = None

    def is_known_as(self, name: str, revision: str) -> bool:
        """Whether something was made with this encoder that says so by ``name`` and ``revision``.

        A fingerprint ("fp:...") identifies the weights themselves: then the name of their folder does not matter.
        """
        return self.revision == revision and (self.name == name or revision.startswith("fp:"))


class Encoder(Protocol):
    """Turns texts and pictures into vectors. Implementations keep the order and return float32 on the CPU.

    All methods may be called from several threads at once. A row for which the model gives numbers that are not
    finite, or only zeros, comes back as NaN in every place: no error, as the other rows are good. A batch that does
    not fit the device is halved until it does; EncoderError when a single item does not fit.
    """

    @property
    def spec(self) -> EncoderSpec: ...

    @property
    def device(self) -> str:
        """Device the model runs on, as torch names it."""
        ...

    @property
    def smallest_side(self) -> int:
        """Pixels of the shorter side to which a decoder may reduce a picture without harm; 0: it must not."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Product texts -> (N, text_dim) float32, L2-normalised, on the CPU."""
        ...

    def encode_query_text(self, texts: Sequence[str]) -> Tensor:
        """Query texts -> (N, text_dim) float32, L2-normalised; differs where the model has a query prompt."""
        ...

    def encode_image(self, images: Sequence[Image]) -> Tensor:
        """RGB pictures of any size -> (N, image_dim) float32, L2-normalised, on the CPU."""
        ...

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """RGB (H, W, 3) uint8, C-contiguous -> the share of the preprocessing that runs beside the model."""
        ...

    def encode_prepared(self, pictures: Sequence[Prepared]) -> Tensor:
        """What ``prepare`` made -> (N, image_dim) float32, L2-normalised, on the CPU; as ``encode_image``."""
        ...


class QueryTexts(Protocol):
    """The text side of an encoder, for queries without pictures: the same vectors, in numpy."""

    @property
    def spec(self) -> EncoderSpec: ...

    def encode_query_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the encoder's: (N, text_dim) float32, L2-normalised; NaN for what cannot be encoded."""
        ...
