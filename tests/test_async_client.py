"""The same methods, awaited."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path

import pytest

from mm_milvus import AsyncClient, Client, F
from mm_milvus.errors import ConfigError, ProductNotFound


def test_a_shop_from_ingest_to_delete(tmp_path: Path) -> None:
    rows = [
        {"id": f"p{n}", "title": f"{colour} mug", "price": n}
        for n, colour in enumerate(("red", "blue", "green"))
    ]
    (tmp_path / "shop.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    async def use() -> None:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.001)

        heart = asyncio.create_task(beat())
        async with AsyncClient(tmp_path / "shop.db") as shop:
            assert (await shop.preview(tmp_path / "shop.jsonl")).rows_read == 3
            assert (await shop.ingest(tmp_path / "shop.jsonl")).written == 3
            assert beats > 5  # the loop went on meanwhile
            assert (await shop.verify(tmp_path / "shop.jsonl")).ok
            red, few = await asyncio.gather(shop.query("red", limit=1), shop.query("mug", filter=F.price < 2))
            assert [hit.id for hit in red] == ["p0"]
            assert sorted(hit.id for hit in few) == ["p0", "p1"]
            assert (await shop.similar("p0", limit=1))[0].id != "p0"
            assert {hit.id for hit in await shop.recommend("p0", unlike="p1")} == {"p2"}
            assert [hit.id for hit in await shop.get("p1")] == ["p1"]
            assert (await shop.info()).rows == await shop.count() == 3
            with pytest.raises(ProductNotFound):
                await shop.similar("nowhere")
            with pytest.raises(ConfigError, match="did you mean facets"):
                await shop.query("red", facet="price")  # type: ignore[call-arg]
            assert (await shop.query("mug", sort="-price"))[0].id == "p2"
            assert await shop.delete(["p1"]) == 1
            assert await shop.collections() == ["products"]
        heart.cancel()

    asyncio.run(use())
    with Client(tmp_path / "shop.db") as shop:  # closed by now
        assert shop.count() == 2

    async def drop() -> None:
        async with AsyncClient(tmp_path / "shop.db") as shop:
            await shop.drop()
            assert await shop.collections() == []

    asyncio.run(drop())


def test_it_has_the_names_and_parameters_of_the_client() -> None:
    def public(kind: type[object]) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"}

    ours = public(AsyncClient)
    assert ours == public(Client)
    assert all(inspect.iscoroutinefunction(getattr(AsyncClient, name)) for name in ours)
    for name in ours - {"ingest", "verify"}:  # those without the calls back
        theirs = inspect.signature(getattr(Client, name)).parameters
        assert list(inspect.signature(getattr(AsyncClient, name)).parameters) == list(theirs), name


def test_a_closed_client_stays_closed(tmp_path: Path) -> None:
    async def use() -> None:
        shop = AsyncClient(tmp_path / "shop.db")
        async with shop:
            with pytest.raises(ConfigError, match="entered already"):
                await shop.__aenter__()
        await shop.close()  # again does no harm
        with pytest.raises(ConfigError, match=r"^this client is closed; make another one$"):
            await shop.count()

    asyncio.run(use())
