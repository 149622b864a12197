"""Training of an encoder's last layers: pictures and texts go through the model in every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mm_milvus.encoders.trainable import Tower, Trainable
from mm_milvus.errors import ConfigError, EncoderError
from mm_milvus.fusion import HeadConfig
from mm_milvus.training.contents import Contents
from mm_milvus.training.data import Labels, Products, Queries
from mm_milvus.training.folder import ENCODER_CHECKPOINT
from mm_milvus.training.loop import Outcome, Training
from mm_milvus.training.measure import ndcgs_of
from mm_milvus.training.model import HeadModel, Inputs, Means, inputs_of
from mm_milvus.training.start import starting_head

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.encoders.base import EncoderSpec
    from mm_milvus.training.measure import Scores
    from mm_milvus.training.settings import TrainSettings

    Array = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

__all__ = ["FineTuning", "Parameters"]

Parameters = dict[str, torch.nn.Parameter]  # by name

_AT_ONCE = {"cpu": 16, "cuda": 64}  # pictures or texts that hold their graph at the same time
_SCALE_RATE = 1e-3  # of the loss's own scale, which layers would outrun by far at their rate


@dataclass(eq=False)
class _Part:
    """Contents of one kind in a step: what they are, and their vectors (n, D) as the loss sees them."""

    tower: Tower
    count: int
    load: Callable[[slice], Sequence[Any]]
    vectors: Tensor


class FineTuning(Training):
    """Trains ``parameters`` of ``towers`` for the ranking of untrained, centred vectors (the fusion ``blocks``).

    The gradients of a step of any size take the memory of a few items: first all vectors are computed without a graph,
    then the loss and its gradients in the vectors, then these go through the model, part by part (GradCache, Gao et al.
    2021). Models stay in evaluation mode, without dropout, so that both passes give the same. The means that centre
    are those of the epoch before.
    """

    checkpoint, log = ENCODER_CHECKPOINT, "encoder.jsonl"
    rate_option = "--encoder-lr"

    def __init__(
        self,
        settings: TrainSettings,
        towers: Trainable,
        parameters: Parameters,
        spec: EncoderSpec,
        data: tuple[Products, Labels, Contents],
    ) -> None:
        """``settings.encoder_rate`` is the learning rate. The vectors of the products are replaced in every epoch."""
        products, labels, self._contents = data
        self._towers, self._spec, self._products = towers, spec, products
        self._asked = labels.asked
        self._device = next(iter(parameters.values())).device
        self._at_once = _AT_ONCE.get(self._device.type, 16)
        self._parts: list[_Part] = []
        model = _untrained(spec)
        # The vectors of the collection stand in until the first measurement, for their twins as well.
        empty = np.zeros((len(self._contents.pictures), spec.image_dim), np.float32)
        words = np.zeros((len(self._contents.words), spec.text_dim), np.float32)
        queries = self._contents.queries(empty, words, labels.asked)
        super().__init__(
            replace(settings, lr=settings.encoder_rate),
            model,
            inputs_of(model.config, model.means, products.copied(), queries, spec.weights),
            labels,
            products.twins(),
            (queries.words, products.texts),
            parameters,
        )
        groups: list[dict[str, Any]] = [
            {"params": list(parameters.values())},
            {"params": list(self._loss.parameters()), "times": _SCALE_RATE / settings.encoder_rate},
        ]
        self._optimiser = torch.optim.AdamW(groups, lr=settings.encoder_rate, weight_decay=0.0)

    # --- all vectors ---------------------------------------------------------------------------------------

    def encoded(self) -> tuple[Products, Queries, Means]:
        """By the model as it is: the products, in the same arrays each time, the queries, and the products' means."""
        contents, products = self._contents, self._products
        pictures = self._encode(self._towers.image, len(contents.pictures), self._pictures(contents.pictures))
        has_image, has_text = products.present[:, 0], products.present[:, 1]
        products.image[has_image] = pictures[
            np.searchsorted(contents.pictures, contents.picture_of[has_image])
        ]
        rows = np.flatnonzero(has_text)
        products.text[rows] = self._encode(self._towers.text, len(rows), self._product_texts(rows))
        words = self._encode(
            self._towers.text, len(contents.words), self._query_texts(np.arange(len(contents.words)))
        )
        means = [
            vectors[has].mean(axis=0) if has.any() else np.zeros(vectors.shape[1], np.float32)
            for vectors, has in ((products.image, has_image), (products.text, has_text))
        ]
        products.image[~has_image], products.text[~has_text] = means
        return products, contents.queries(pictures, words, self._asked), Means(means[0], means[1], means[1])

    def _encode(self, tower: Tower, count: int, load: Callable[[slice], Sequence[Any]]) -> Array:
        """(count, D) unit vectors. Raises ConfigError when they are no numbers any more."""
        width = self._spec.image_dim if tower is self._towers.image else self._spec.text_dim
        found = np.empty((count, width), np.float32)
        for part in self._slices(count):
            found[part] = self._features(tower, load(part), graph=False).numpy()
        if not np.isfinite(found).all():
            raise ConfigError(
                f"the encoder gives numbers that are not finite any more: a smaller {self.rate_option} may help"
            )
        return found

    def _measured(self) -> float | None:
        self.refresh()
        return super()._measured()

    def refresh(self) -> None:
        """Vectors and means of the weights as they are now, for measurements, hard negatives and the next epoch."""
        products, queries, means = self.encoded()
        self._model.means = means
        self._inputs = inputs_of(self._model.config, means, products.copied(), queries, self._spec.weights)

    def _restored(self, state: dict[str, Any] | None) -> Outcome:
        outcome = super()._restored(state)
        if outcome.history and not self._over(outcome):
            self.refresh()
        return outcome

    @property
    def means(self) -> Means:
        """Those of the products when vectors were last made."""
        return self._model.means

    def scores(self, split: int) -> Scores:
        """(Q,) nDCG@10 of the queries of a split, by the vectors that ``refresh`` has made."""
        return ndcgs_of(self._model, self._inputs, self._labels, split)

    # --- a step --------------------------------------------------------------------------------------------

    def _vectors(self, queries: Ints, candidates: Ints, dropped: Tensor | None) -> tuple[Tensor, Tensor]:
        contents = self._contents
        like = contents.product_at[queries]
        products = np.union1d(candidates, like[like >= 0])
        pictures = np.unique(np.concatenate([contents.picture_of[products], contents.image_at[queries]]))
        pictures = pictures[pictures >= 0]
        texts = products[contents.present[products, 1]]
        words = np.unique(contents.text_at[queries])
        words = words[words >= 0]
        means = self._model.means
        image = self._centred(self._towers.image, len(pictures), self._pictures(pictures), means.image)
        text = self._centred(self._towers.text, len(texts), self._product_texts(texts), means.text)
        word = self._centred(self._towers.text, len(words), self._query_texts(words), means.query_text)
        inputs = Inputs(
            image=image[_places(pictures, contents.picture_of[products]).clip(0)],
            text=text[_places(texts, products).clip(0)],
            present=torch.from_numpy(contents.present[products]),
            images=image,
            texts=word,
            image_at=_places(pictures, contents.image_at[queries]),
            text_at=_places(words, contents.text_at[queries]),
            product_at=_places(products, like),
            weights=self._inputs.weights[torch.from_numpy(queries)],
        )
        return (
            self._model.queries(inputs, torch.arange(len(queries))),
            self._model.products(inputs, _places(products, candidates), dropped),
        )

    def _centred(
        self, tower: Tower, count: int, load: Callable[[slice], Sequence[Any]], mean: Array
    ) -> Tensor:
        """(count, D), at least one row, centred; the vectors before that are kept for their gradients."""
        if not count:
            return torch.zeros(1, len(mean))
        parts = [self._features(tower, load(part), graph=False) for part in self._slices(count)]
        vectors = torch.cat(parts).requires_grad_(True)
        self._parts.append(_Part(tower, count, load, vectors))
        return normalize(vectors - torch.from_numpy(mean), dim=-1)

    def _backward(self, loss: Tensor) -> None:
        super()._backward(loss)
        for kind in self._parts:
            gradients = kind.vectors.grad
            for part in self._slices(kind.count) if gradients is not None else ():
                found = self._features(kind.tower, kind.load(part), graph=True)
                found.backward(gradients[part])  # type: ignore[index,no-untyped-call]
        self._parts.clear()

    def _features(self, tower: Tower, items: Sequence[Any], *, graph: bool) -> Tensor:
        """(n, D) float32 of unit norm, on the CPU."""
        try:
            with torch.set_grad_enabled(graph):
                return normalize(tower.features(items).float(), dim=-1).cpu()
        except torch.OutOfMemoryError as error:
            raise EncoderError(
                f"the device {self._device} has too little free memory to train {len(items)} items of this model at "
                "once: a smaller --unfreeze may help"
            ) from error

    # --- contents ------------------------------------------------------------------------------------------

    def _slices(self, count: int) -> list[slice]:
        return [slice(start, min(start + self._at_once, count)) for start in range(0, count, self._at_once)]

    def _pictures(self, places: Ints) -> Callable[[slice], Sequence[Any]]:
        return lambda part: self._contents.load(places[part])

    def _product_texts(self, places: Ints) -> Callable[[slice], Sequence[Any]]:
        prompt, texts = self._towers.prompts[0], self._contents.product_texts
        return lambda part: [prompt + texts[place] for place in places[part]]

    def _query_texts(self, places: Ints) -> Callable[[slice], Sequence[Any]]:
        prompt, texts = self._towers.prompts[1], self._contents.words
        return lambda part: [prompt + texts[place] for place in places[part]]


def _places(among: Ints, wanted: Ints) -> Tensor:
    """(n,) where each of ``wanted`` is in the rising ``among``, -1 for what is not there."""
    if not len(among):
        return torch.full((len(wanted),), -1)
    found = np.searchsorted(among, wanted).clip(max=len(among) - 1)
    return torch.from_numpy(np.where(among[found] == wanted, found, -1))


def _untrained(spec: EncoderSpec) -> HeadModel:
    """A head that ranks as the fusion ``blocks`` does with centred vectors, and is not trained."""
    dim = spec.image_dim + spec.text_dim
    config = HeadConfig("linear", dim, spec.image_dim, spec.text_dim, False, spec.name, spec.revision)
    nothing = np.zeros((0, spec.image_dim), np.float32), np.zeros((0, spec.text_dim), np.float32)
    weights = starting_head(config, *nothing, np.zeros((0, 2), np.bool_), spec)
    means = Means(*(np.zeros(dim, np.float32) for dim in (spec.image_dim, spec.text_dim, spec.text_dim)))
    return HeadModel(config, weights, means).requires_grad_(False)
