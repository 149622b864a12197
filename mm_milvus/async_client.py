"""The public face for services that run on asyncio."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack

from mm_milvus.arguments import IngestOptions, QueryOptions
from mm_milvus.client import CLOSED, Client, CollectionInfo
from mm_milvus.errors import ConfigError
from mm_milvus.records import Hit, IngestReport, Page, Query, VerifyReport

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date
    from types import TracebackType

    from mm_milvus.arguments import Entries
    from mm_milvus.ingest import Preview
    from mm_milvus.records import Crop
    from mm_milvus.store.filters import Condition

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["AsyncClient"]


class AsyncClient:
    """The methods of Client, to be awaited: ``page = await shop.query("red shoe")``.

    Takes what Client takes. Calls run one after the other in a thread of their own, so that the event loop goes on; one
    that is cancelled still runs to its end there. ``ingest`` and ``verify`` call nothing back. Raises what Client
    raises.
    """

    def __init__(self, uri: str | os.PathLike[str] | None = None, **options: Any) -> None:
        self._client = Client(uri, **options)
        self._thread = ThreadPoolExecutor(1, "mm-milvus")
        self._closed = False

    async def __aenter__(self) -> Self:
        self._client.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if not self._closed:
            await self._run(self._client.close)
            self._closed = True
            self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        if self._closed:
            raise ConfigError(CLOSED)
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **options))

    async def ingest(self, source: str | os.PathLike[str], **options: Unpack[IngestOptions]) -> IngestReport:
        return await self._run(self._client.ingest, source, **options)

    async def verify(self, source: str | os.PathLike[str], **options: Unpack[IngestOptions]) -> VerifyReport:
        return await self._run(self._client.verify, source, **options)

    async def preview(self, source: str | os.PathLike[str], **options: Unpack[IngestOptions]) -> Preview:
        return await self._run(self._client.preview, source, **options)

    async def query(
        self,
        text: Entries | None = None,
        image: Any = None,
        id: Entries | None = None,
        *,
        crop: Crop | tuple[int, int, int, int] | str | None = None,
        **options: Unpack[QueryOptions],
    ) -> Page:
        return await self._run(self._client.query, text, image, id, crop=crop, **options)

    async def search(self, query: Query) -> Page:
        return await self._run(self._client.search, query)

    async def similar(self, id: str, **options: Unpack[QueryOptions]) -> Page:
        return await self._run(self._client.similar, id, **options)

    async def recommend(
        self,
        like: Entries,
        unlike: Entries = (),
        *,
        times: Mapping[str, float | str | date] | None = None,
        half_life: float = 30.0,
        skip_missing: bool = False,
        **options: Unpack[QueryOptions],
    ) -> Page:
        return await self._run(
            self._client.recommend,
            like,
            unlike,
            times=times,
            half_life=half_life,
            skip_missing=skip_missing,
            **options,
        )

    async def get(self, ids: str | Sequence[str]) -> list[Hit]:
        return await self._run(self._client.get, ids)

    async def count(self, filter: str | Condition | None = None) -> int:
        return await self._run(self._client.count, filter)

    async def delete(
        self, ids: str | Sequence[str] | None = None, *, filter: str | Condition | None = None
    ) -> int:
        return await self._run(self._client.delete, ids, filter=filter)

    async def calibrate(self, queries: Iterable[str] | str | os.PathLike[str] | None) -> int:
        return await self._run(self._client.calibrate, queries)

    async def info(self) -> CollectionInfo:
        return await self._run(self._client.info)

    async def collections(self) -> list[str]:
        return await self._run(self._client.collections)

    async def drop(self) -> None:
        await self._run(self._client.drop)
