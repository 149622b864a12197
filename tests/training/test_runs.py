"""Trainings that are interrupted, killed or repeated: what they find, what they refuse, what they tell again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mm_milvus_cli.main import cli

from mm_milvus import Client, Settings
from mm_milvus.errors import ConfigError
from mm_milvus.search.cache import QueryEncoder
from mm_milvus.training import TrainSettings, train
from mm_milvus.training.checkpoint import load_state, save_state
from tests.encoders import tiny_models
from tests.training.shapes import interrupted, make_catalog

FAST = {"epochs": 2, "dim": 32}


@pytest.mark.parametrize("kind", ["head", "reranker"])
def test_views_of_a_picture_that_is_gone_are_told(tmp_path: Path, kind: str) -> None:
    encoder = str(tiny_models.clip(tmp_path / "clip"))
    catalog = make_catalog(tmp_path / "catalog")
    place = Settings(uri=str(tmp_path / "shop.db"), encoder=encoder, device="cpu", dtype="float32")
    with Client(config=place) as client:
        client.ingest(catalog)
    (catalog.parent / "3.png").unlink()
    fusion: Any = "linear" if kind == "head" else "late-interaction"
    settings = TrainSettings(
        out=tmp_path / "v1", from_catalog=True, fusion=fusion, crops=2, epochs=1, dim=8, overwrite=True
    )
    for _ in range(2):  # what was wrong is known as well where vectors come from the folder of the run before
        report = train(settings, place)
        (refused,) = map(json.loads, (tmp_path / "v1" / "rejects.jsonl").read_text().splitlines())
        assert (report.rejected, report.unknown_products) == (1, 0)
        assert (refused["line"], refused["id"], refused["stage"]) == (0, "disc-orange", "encode")
        assert refused["reason"].startswith("its picture cannot be read: ") and "3.png" in refused["reason"]


@pytest.mark.parametrize("kind", ["linear", "late-interaction"])
def test_a_run_goes_on_only_from_the_head_that_it_started_from(tmp_path: Path, kind: Any) -> None:
    place = Settings(
        uri=str(tmp_path / "shop.db"), encoder=str(tiny_models.clip(tmp_path / "clip")), device="cpu"
    )
    with Client(config=place) as client:
        client.ingest(make_catalog(tmp_path / "catalog"))
    first = TrainSettings(out=tmp_path / "one", from_catalog=True, fusion=kind, epochs=2, dim=8)
    train(first, place)
    second = replace(first, out=tmp_path / "two", init=tmp_path / "one", dim=None)
    interrupted(second, place)
    train(replace(first, seed=1, overwrite=True), place)
    with pytest.raises(ConfigError, match="holds an unfinished run of other settings or other data"):
        train(second, place)
    train(replace(first, overwrite=True), place)  # the same again
    assert train(second, place).resumed_from == 1


def test_vectors_of_queries_are_made_once(
    shop: Settings, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    encode = QueryEncoder.encode_query_text

    def counted(self: Any, texts: Any) -> Any:
        calls.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(QueryEncoder, "encode_query_text", counted)
    settings = TrainSettings(out=tmp_path / "v1", pairs=pairs, overwrite=True, **FAST)
    train(settings, shop)
    assert sum(calls) == 15
    train(replace(settings, seed=1, lr=0.1), shop)
    assert sum(calls) == 15


def test_an_interrupt_while_a_state_is_saved_is_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: Any) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("unexpected pos 7476352 vs 7476240")

    save_state(tmp_path / "checkpoint.pt", {"identity": "1"})
    monkeypatch.setattr("torch.save", broken_off)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path / "checkpoint.pt", {"identity": "2"})
    assert load_state(tmp_path / "checkpoint.pt", "1") == {"identity": "1"}


def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(shop: Settings, tmp_path: Path) -> None:
    args = ["train", "--from-catalog", "--uri", shop.uri, "--dim", "32", "--fusion", "attention"]
    args += ["--epochs", "12", "--pairs-per-step", "16", "--patience", "12", "--json", "--out"]
    program = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()", *args]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = json.loads(subprocess.run([*program, str(whole)], capture_output=True, check=True).stdout)
    process = subprocess.Popen([*program, str(killed)], stdout=subprocess.DEVNULL)
    _wait_for_epochs(killed / "log.jsonl", 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "head.safetensors").exists()
    other = CliRunner().invoke(cli, [*args, str(killed), "--lr", "0.1"])
    assert (other.exit_code, json.loads(other.stdout)["kind"]) == (2, "ConfigError")
    finished = json.loads(subprocess.run([*program, str(killed)], capture_output=True, check=True).stdout)
    assert 0 < finished["resumed_from"] < 12
    assert undisturbed["resumed_from"] == 0
    assert (whole / "head.safetensors").read_bytes() == (killed / "head.safetensors").read_bytes()
    history = [_without_seconds(folder / "log.jsonl") for folder in (whole, killed)]
    assert history[0] == history[1]
    assert not (killed / "checkpoint.pt").exists()


def _wait_for_epochs(log: Path, count: int) -> None:
    ends = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > count):
        assert time.monotonic() < ends, "the run wrote no epochs"
        time.sleep(0.002)


def _without_seconds(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) | {"seconds": 0} for line in log.read_text().splitlines()]
