"""The state of a training after each epoch, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mm_milvus.errors import ConfigError
from mm_milvus.files import being_replaced

__all__ = ["load_state", "save_state"]


def save_state(path: Path, state: dict[str, Any]) -> None:
    """In one step: a run that is killed meanwhile finds the state of the epoch before."""
    with being_replaced(path) as file:
        try:
            torch.save(state, file)
        except (
            RuntimeError
        ) as error:  # torch cannot finish its file when it is interrupted, and hides that it was
            if isinstance(error.__context__, KeyboardInterrupt | SystemExit):
                raise error.__context__ from None
            raise


def load_state(path: Path, identity: str) -> dict[str, Any] | None:
    """What ``save_state`` wrote; None where there is nothing.

    Raises ConfigError for a run of other settings or other data, which ``identity`` is about.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        same = state["identity"] == identity
    except Exception as error:  # a damaged file makes the reader raise almost anything
        raise ConfigError(
            f"the unfinished run in {str(path)!r} is damaged; --overwrite starts anew"
        ) from error
    if not same:
        raise ConfigError(
            f"{str(path.parent)!r} holds an unfinished run of other settings or other data; repeat that command to "
            "finish it, take another folder, or start anew with --overwrite"
        )
    return state
