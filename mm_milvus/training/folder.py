"""The folder of a training: what may be in it before, and what is in it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mm_milvus.errors import ConfigError
from mm_milvus.files import only_one, replace_file, replace_json
from mm_milvus.training.settings import LATE, TrainReport, TrainSettings

if TYPE_CHECKING:
    from mm_milvus.fusion import Head
    from mm_milvus.late.projection import Projection
    from mm_milvus.records import Rejected
    from mm_milvus.training.loop import Outcome

__all__ = ["CACHE", "CHECKPOINT", "ENCODER_CHECKPOINT", "folder_of", "save", "write_rejects"]

REPORT, REJECTS, CURVES, CACHE = "report.json", "rejects.jsonl", "curves.png", "cache"
CHECKPOINTS = CHECKPOINT, ENCODER_CHECKPOINT = "checkpoint.pt", "encoder.pt"  # the latter of unfrozen layers
_MARKS = {CACHE, CHECKPOINT, "head.safetensors"}  # one of them is in every folder of a training


@contextmanager
def folder_of(settings: TrainSettings) -> Iterator[None]:
    """For the time of a training, which has it alone. Folders that one makes and leaves empty, because it fails, are
    removed.

    Raises ConfigError for a folder with a head that is not to be replaced, or in which another training is running.
    """
    cache = settings.out / CACHE
    made = [path for path in (cache, *cache.parents) if not path.exists()]
    with ExitStack() as stack:
        try:
            if alone := _taken(settings.out, stack):
                _check_out(settings)
                yield
        except BaseException:
            for path in made:
                if not path.is_dir() or any(path.iterdir()):
                    break
                path.rmdir()
            raise
        if not alone:  # nothing is removed: all that is there is the other one's
            raise ConfigError(f"another training is running in {str(settings.out)!r}")


def _taken(out: Path, stack: ExitStack) -> bool:
    """Makes the folder and locks it, until ``stack`` ends: the folder itself, as a file in it would be left there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(only_one(out))
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write to the folder {str(out)!r}: {error.strerror}")


def _check_out(settings: TrainSettings) -> None:
    from mm_milvus.fusion.head import WEIGHTS_FILE

    unfinished = [settings.out / name for name in CHECKPOINTS]
    try:
        names = {path.name for path in settings.out.iterdir()}
        (settings.out / CACHE).mkdir(exist_ok=True)
    except OSError as error:
        raise _unwritable(settings.out, error) from error
    if names - {REJECTS} and not names & _MARKS:
        raise ConfigError(
            f"{str(settings.out)!r} holds {min(names)!r} and no training: take a folder that is new or empty"
        )
    if settings.pairs is not None and settings.pairs.absolute() == (settings.out / REJECTS).absolute():
        raise ConfigError(
            f"{str(settings.pairs)!r} is where this training writes what it refuses: move it beside the file of pairs "
            "that it came of, where paths of pictures start, and name it there"
        )
    if settings.overwrite:
        for path in unfinished:
            path.unlink(missing_ok=True)
    elif unfinished[1].exists() and not settings.unfreeze:
        raise ConfigError(
            f"{str(settings.out)!r} holds an unfinished run with --unfreeze; repeat that command to finish it, take "
            "another folder, or start anew with --overwrite"
        )
    elif (settings.out / WEIGHTS_FILE).exists() and not any(path.exists() for path in unfinished):
        raise ConfigError(
            f"there is a trained head in {str(settings.out)!r}, and collections may depend on it; take another "
            "folder, or replace it with --overwrite"
        )
    _check_kind(settings)


def _check_kind(settings: TrainSettings) -> None:
    """Raises ConfigError where the folder holds a reranker that is to stay, or the other kind of training."""
    from mm_milvus.fusion.head import WEIGHTS_FILE
    from mm_milvus.late import WEIGHTS_FILE as LATE_FILE

    late = settings.fusion == LATE
    if (settings.out / (WEIGHTS_FILE if late else LATE_FILE)).exists():
        made = "trained head" if late else "trained late interaction"
        raise ConfigError(f"{str(settings.out)!r} holds a {made}: take a folder that is new or empty")
    unfinished = (settings.out / CHECKPOINT).exists()
    if late and (settings.out / LATE_FILE).exists() and not (settings.overwrite or unfinished):
        raise ConfigError(
            f"there is a trained late interaction in {str(settings.out)!r}; take another folder, or replace it with "
            "--overwrite"
        )


def write_rejects(out: Path, rejects: list[Rejected]) -> Path:
    """The file, which is there only where something was refused."""
    from mm_milvus.catalog import RejectsFile

    (out / REJECTS).unlink(missing_ok=True)
    with RejectsFile(out / REJECTS) as file:
        for one in rejects:
            file.write(one)
    return out / REJECTS


def save(
    out: Path, trained: Head | Projection, rejects: list[Rejected], outcome: Outcome, report: TrainReport
) -> TrainReport:
    """Writes what was ``trained`` and what there is to tell.

    The weights come last but for the checkpoint: while there is one, the run counts as unfinished.
    """
    from mm_milvus.training.curves import draw_curves

    write_rejects(out, rejects)
    replace_json(out / REPORT, report.to_dict())
    if report.bridge is None:
        replace_file(out / CURVES, draw_curves(outcome.history, outcome.best_epoch))
    else:
        (out / CURVES).unlink(missing_ok=True)
    trained.save(out)
    for name in CHECKPOINTS:
        (out / name).unlink(missing_ok=True)
    for path in (out / CACHE).glob("pictures-*"):  # as large as all pictures, and of no use any more
        path.unlink()
    return report
