"""kill -9 at random moments: what Milvus acknowledged is there, and the same command ends as if nothing had been."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from mm_milvus import Settings
from tests.encoders import tiny_models
from tests.ingest.killing import ROWS, Job, Processes, content, same, write_catalog

KILLS = int(os.environ.get("MM_MILVUS_TEST_KILLS", "0"))  # another number than the 12 and 4 of every day
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def processes() -> Processes:
    return Processes()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> dict[str, Any]:
    """Catalog, model, and what the undisturbed collection holds."""
    folder = tmp_path_factory.mktemp("world")
    catalog = write_catalog(folder / "shop")
    model = tiny_models.clip(folder / "clip")
    settings = Settings(
        uri=str(folder / "undisturbed.db"), encoder=str(model), device="cpu", dtype="float32", batch_size=8
    )
    _, report = processes.run(Job(catalog, settings))
    assert report is not None
    assert (report["read"], report["rejected"], report["kept"]) == (ROWS, 5, 10)
    return {"catalog": catalog, "settings": settings, "expected": content(settings)}


def _killed_until_done(world: dict[str, Any], processes: Processes, job: Job, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    acknowledged = 0  # by all runs together
    for index in range(kills):
        # From the first moments to the last ones, each time of what the kills before have left to do.
        left = ROWS - 5 - len(content(job.settings)) if index else ROWS
        at = draw.randrange(left // (kills - index + 1) + 1)
        written, report = processes.run(job, at, draw.uniform(0, 0.03))
        assert report is None, "it was done before it was killed"
        acknowledged += written
        print(f"killed after {written} more of {ROWS} rows")
        stored = content(job.settings)
        assert len(stored) >= acknowledged
        for id, (attributes, _) in stored.items():
            assert attributes == world["expected"][id][0]
    assert acknowledged > 0
    _, report = processes.run(job)
    assert report is not None
    assert report["read"] == ROWS
    assert report["unchanged"] >= acknowledged
    same(content(job.settings), world["expected"])
    _, again = processes.run(job)
    assert again is not None
    assert (again["written"], again["unchanged"], again["images_encoded"]) == (0, ROWS - 5, 0)


@pytest.mark.parametrize("round", range(3))
def test_an_ingest_into_an_embedded_database(
    world: dict[str, Any], processes: Processes, tmp_path: Path, round: int
) -> None:
    settings = world["settings"].replace(uri=str(tmp_path / "killed.db"))
    job = Job(world["catalog"], settings, memtable=1_000_000 if round else None)
    _killed_until_done(world, processes, job, -(-(KILLS or 12) // 3), seed=round)


@pytest.mark.server
def test_an_ingest_into_a_server(
    world: dict[str, Any], processes: Processes, server_uri: str, request: pytest.FixtureRequest
) -> None:
    settings = world["settings"].replace(uri=server_uri, collection=f"killed_{os.getpid()}")
    request.addfinalizer(lambda: _drop(settings))
    _killed_until_done(world, processes, Job(world["catalog"], settings), KILLS or 4, seed=9)


def _drop(settings: Settings) -> None:
    from mm_milvus import Client

    with Client(config=settings) as shop:
        shop.drop()
