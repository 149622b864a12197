"""From an encoder to one whose last layers were trained, saved, and put in its place for the head that follows."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.trainable import trainable
from mm_milvus.files import replace_file
from mm_milvus.search.cache import QueryEncoder
from mm_milvus.training.contents import contents_of, forget_unread, product_views
from mm_milvus.training.curves import draw_curves
from mm_milvus.training.data import TEST, TRAIN, Labels, Products
from mm_milvus.training.finetune import FineTuning
from mm_milvus.training.measure import mean_of
from mm_milvus.training.model import Means
from mm_milvus.training.pictures import PictureFile, read_pictures
from mm_milvus.training.report import Judgement, judged
from mm_milvus.training.settings import TrainSettings, UnfrozenReport

if TYPE_CHECKING:
    from mm_milvus.encoders import Encoder
    from mm_milvus.encoders.trainable import Trainable
    from mm_milvus.media import MediaReader
    from mm_milvus.training.finetune import Parameters
    from mm_milvus.training.loop import Outcome
    from mm_milvus.training.measure import Scores

__all__ = ["ENCODER", "Unfreezing", "Unfrozen"]

ENCODER = "encoder"  # folder of the trained one
_CURVES = "encoder-curves.png"
_Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True, eq=False)
class Unfrozen:
    """The trained encoder, the name that loads it, the means of its vectors, and what there is to tell."""

    encoder: QueryEncoder
    name: str
    means: Means
    report: UnfrozenReport
    start: Scores  # nDCG@10, with frozen layers, of the queries that judge


class Unfreezing:
    """The layers of one encoder that are trained, and the pictures that they are trained on."""

    def __init__(self, settings: TrainSettings, encoder: QueryEncoder, device: str) -> None:
        """Raises NotSupported for an encoder without that many layers."""
        self._settings, self._device = settings, device
        self._encoder: Encoder = encoder.encoder
        self._towers: Trainable = trainable(self._encoder)
        self._parameters: Parameters = self._towers.unfreeze(settings.unfreeze)
        self._cache = settings.out / "cache"

    def read(
        self, products: Products, references: dict[str, str], reader: MediaReader, progress: _Progress
    ) -> None:
        """Reads the pictures of the products. A product whose picture cannot be read goes on without it.

        ``references`` as of ``product_views``. Raises ConfigError where no picture is left.
        """
        views, self._picture_of = product_views(products, references)
        self._pictures = self._read(views, reader, None, progress)
        self._unread = forget_unread(products, self._picture_of, self._pictures)

    def _read(
        self, views: list[tuple[str, int]], reader: MediaReader, base: Path | None, progress: _Progress
    ) -> PictureFile:
        return read_pictures(
            views, self._encoder, self._towers.compact, reader, base=base, cache=self._cache,
            progress=lambda done, total: progress("reading pictures", done, total, ""),
        )  # fmt: skip

    def train(
        self, products: Products, labels: Labels, reader: MediaReader, progress: _Progress
    ) -> Unfrozen | None:
        """After ``read``: trains, saves the encoder and loads it again; ``products`` get its vectors.

        None where no query to train with can be read: what encodes them for the head tells why.
        """
        settings, spec = self._settings, self._encoder.spec
        views = labels.views
        files = self._pictures, self._read(views, reader, settings.base, progress)
        kept, contents = contents_of(labels, products, self._picture_of, files, views)
        if not len(kept.queries_of(TRAIN)):
            return None
        identity = _identity(settings, [spec.name, spec.revision], products, kept, files)
        tuning = FineTuning(settings, self._towers, self._parameters, spec, (products, kept, contents))
        tuning.refresh()
        test_start, start = mean_of(tuning.scores(TEST)), tuning.scores(kept.judging)
        outcome = tuning.run(
            settings.out, identity, lambda done, total, note: progress("training layers", done, total, note)
        )
        name = self._save()
        tuning.refresh()
        won = judged(start, tuning.scores(kept.judging), kept.judging)
        report = self._reported(outcome, name, (test_start, mean_of(tuning.scores(TEST))), won)
        loaded = load_encoder(name, device=self._device, dtype="float32")
        return Unfrozen(QueryEncoder(lambda: loaded), name, tuning.means, report, start)

    def _save(self) -> str:
        """The trained encoder in its folder, in one step; returns the name that loads it from anywhere."""
        folder = (self._settings.out / ENCODER).absolute()
        unfinished = folder.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._towers.save(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        return self._towers.name(folder)

    def _reported(
        self, outcome: Outcome, name: str, test: tuple[float | None, float | None], judged: Judgement
    ) -> UnfrozenReport:
        replace_file(self._settings.out / _CURVES, draw_curves(outcome.history, outcome.best_epoch))
        return UnfrozenReport(
            layers=self._settings.unfreeze,
            parameters=sum(value.numel() for value in self._parameters.values()),
            encoder=name,
            unread_pictures=self._unread,
            ndcg_start=outcome.at(0),
            ndcg=outcome.at(outcome.best_epoch),
            test_ndcg_start=test[0],
            test_ndcg=test[1],
            won=judged.won,
            p=judged.p,
            epochs=len(outcome.history) - 1,
            best_epoch=outcome.best_epoch,
            resumed_from=outcome.resumed_from,
        )


def _identity(
    settings: TrainSettings,
    encoder: list[str],
    products: Products,
    labels: Labels,
    files: tuple[PictureFile, PictureFile],
) -> str:
    """A digest of all that the trained weights depend on."""
    pictures = [file.path.name for file in files]
    asked = [asdict(one) for one in labels.asked]
    known = [settings.identity(), encoder, pictures, products.ids, products.texts, asked]
    digest = hashlib.sha256(json.dumps(known).encode())
    for array in (
        products.present, labels.query, labels.product, labels.grade, labels.split, labels.held_out,
    ):  # fmt: skip
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
