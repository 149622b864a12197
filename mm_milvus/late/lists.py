"""The tokens as embedding lists of a server that has them: written from a build, and asked in its place."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from mm_milvus.late.maxsim import QueryTokens
    from mm_milvus.late.store import Build
    from mm_milvus.store import TokenLists

    Array = npt.NDArray[np.float32]

__all__ = ["scores_of", "upload", "version_of"]

_PAGE = 64  # products: some 3 MB of tokens in a request


def version_of(build: Build) -> str:
    """Another text after every change of a build."""
    return f"{build.folder.name}/{build.manifest.segments[-1] if build.manifest.segments else ''}"


def upload(
    build: Build, lists: TokenLists, living: Container[str], changed: Sequence[str], before: str
) -> None:
    """Makes ``lists`` those of the ``living`` products of the build.

    Where they hold the build as it was ``before``, only what has ``changed`` is written or, not living, deleted;
    else, and where that was interrupted, all of them are written.
    """
    held = lists.hold()
    if held == version_of(build):
        return
    anew = not before or held != before
    lists.begin(anew=anew)
    if not anew:
        lists.delete([id for id in changed if id not in living or not build.count(id)])
    ids = [id for id in (build.entries if anew else changed) if id in living]
    for start in range(0, len(ids), _PAGE):
        page = ids[start : start + _PAGE]
        tokens, counts = build.tokens(page)
        lists.write(zip(page, np.split(tokens, np.cumsum(counts)[:-1]), strict=True))
    lists.finish(version_of(build))


def scores_of(query: QueryTokens, lists: TokenLists, ids: Sequence[str]) -> Array:
    """As ``maxsim_of``: (N,) scores, -inf for a product without a list.

    max over j of (w q) . p_j is w times that of q for weights above 0 only: what pushes away is asked for on its own.
    """
    towards, away = query.weights > 0, query.weights < 0
    found = [
        lists.scores(query.vectors[side] * np.abs(query.weights[side])[:, None], ids)
        for side in (towards, away)
    ]
    known = found[0] or found[1]
    return np.array(
        [found[0].get(id, 0.0) - found[1].get(id, 0.0) if id in known else -np.inf for id in ids],
        np.float32,
    )
