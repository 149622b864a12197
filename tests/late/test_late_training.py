"""Late interaction is trained where words matter one by one, and says whether that helps."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mm_milvus_cli.main import cli

from mm_milvus import Client, Settings
from mm_milvus.errors import ConfigError, NotSupported
from mm_milvus.evaluation import evaluate
from mm_milvus.late import ProjectionConfig, load_projection, make_tokens, maxsim
from mm_milvus.training import Step, TrainSettings, late_model, train
from mm_milvus.training.late_model import LateModel, _Tokens, cosines, start_projection
from mm_milvus.training.late_tokens import LateInputs, TokenTable

from . import shops, worlds

LATE: dict[str, Any] = {"fusion": "late-interaction"}


@pytest.fixture(scope="module")
def world(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    return worlds.word_shop(tmp_path_factory.mktemp("words"), encoder)


def test_training_raises_what_is_held_out_and_the_shop_then_finds_so(
    world: tuple[Settings, Path], tmp_path: Path
) -> None:
    shop, pairs = world
    steps: list[Step] = []
    out = tmp_path / "rerankers" / "v1"
    report = train(TrainSettings(out=out, pairs=pairs, **LATE), shop, progress=steps.append)
    assert report.ndcg_first is not None and report.ndcg_start is not None and report.ndcg is not None
    # Of pairs of words that no training query names; docs/late-interaction.md has the numbers.
    print(
        f"nDCG@10: {report.ndcg_first:.3f} by vectors, {report.ndcg_start:.3f} by untrained tokens, "
        f"{report.ndcg:.3f} by trained ones"
    )
    assert report.ndcg_first + 0.1 < report.ndcg_start < report.ndcg - 0.1
    assert (report.won, report.judged_by) == (True, "dev")
    assert (report.fusion, report.dim, report.shared) == ("late-interaction", 64, True)
    assert report.next == f"mm-milvus tokens {out} --uri {shop.uri}"
    assert [step.phase for step in steps if step.done == step.total][:3] == [
        "reading products", "encoding texts", "encoding tokens",
    ]  # fmt: skip
    assert {path.name for path in out.iterdir()} == {
        "cache", "config.json", "curves.png", "log.jsonl", "projection.safetensors", "report.json",
    }  # fmt: skip
    make_tokens(out, shop)
    lines = [json.loads(line) for line in pairs.read_text().splitlines()]
    wanted: dict[str, list[str]] = {}
    for line in lines:
        if line["split"] == "dev":
            wanted.setdefault(line["query"], []).append(line["product"])
    asked = tmp_path / "queries.jsonl"
    asked.write_text("".join(json.dumps({"query": q, "relevant": ids}) + "\n" for q, ids in wanted.items()))
    with Client(config=shop) as client:
        found = evaluate(
            client, asked, metrics=["nDCG@10"], compare=["vector", "vector;rerank=late-interaction"]
        )
    plain, reranked = (variant.scores["nDCG@10"].value for variant in found.variants)
    assert reranked > plain + 0.3
    assert reranked == pytest.approx(report.ndcg, abs=0.05)  # of candidates that are not centred


def test_a_test_split_judges(world: tuple[Settings, Path], tmp_path: Path) -> None:
    """Of queries that want others than those of the training did: what is learned makes them worse."""
    shop, pairs = world
    lines = [json.loads(line) for line in pairs.read_text().splitlines()]
    asked = list(dict.fromkeys(line["query"] for line in lines if line["split"] == "train"))
    other = dict(zip(asked, [*asked[40:], *asked[:40]], strict=True))
    wrong = [
        line | {"query": " ".join(reversed(other[line["query"]].split())), "split": "test"}
        for line in lines
        if line["split"] == "train"
    ]
    path = tmp_path / "turned.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *wrong]), encoding="utf-8")
    report = train(TrainSettings(out=tmp_path / "v1", pairs=path, epochs=2, **LATE), shop)
    assert report.ndcg is not None and report.ndcg_start is not None and report.ndcg_first is not None
    assert report.ndcg > max(report.ndcg_start, report.ndcg_first)
    assert (report.won, report.judged_by) == (False, "test")


def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    world: tuple[Settings, Path], tmp_path: Path
) -> None:
    shop, pairs = world
    args = ["train", str(pairs), "--fusion", "late-interaction", "--uri", shop.uri, "--device", "cpu"]
    args += ["--epochs", "8", "--patience", "8", "--json", "--out"]
    program = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()", *args]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*program, str(whole)], capture_output=True, check=True)
    process = subprocess.Popen([*program, str(killed)], stdout=subprocess.DEVNULL)
    ends = time.monotonic() + 120
    while not ((log := killed / "log.jsonl").exists() and len(log.read_text().splitlines()) > 2):
        assert time.monotonic() < ends, "the run wrote no epochs"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "projection.safetensors").exists()
    finished = json.loads(subprocess.run([*program, str(killed)], capture_output=True, check=True).stdout)
    assert 0 < finished["resumed_from"] < 8
    assert load_projection(whole)[1] == load_projection(killed)[1]
    histories = [
        [json.loads(line) | {"seconds": 0} for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (whole, killed)
    ]
    assert histories[0] == histories[1]
    assert not (killed / "checkpoint.pt").exists()


def test_a_catalog_is_enough_pictures_and_products_may_ask(
    shop: Settings, made: Path, tmp_path: Path
) -> None:
    train(TrainSettings(out=tmp_path / "v1", from_catalog=True, epochs=1, crops=1, **LATE), shop)
    lines = [
        {"query": {"image": "0.png", "text": "blue"}, "product": "shoes"},
        {"query": {"id": "tea", "text": "long"}, "product": "bag"},
        {"query": {"id": "photo"}, "product": "watch", "split": "test"},
        {"query": "leather", "product": "bag", "split": "dev"},
    ]
    pairs = made / "mixed.jsonl"
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    report = train(TrainSettings(out=tmp_path / "v2", pairs=pairs, epochs=2, dim=8, **LATE), shop)
    assert report.queries == {"train": 2, "dev": 1, "test": 1}
    assert report.test_ndcg_first is not None and report.test_ndcg is not None
    again = TrainSettings(out=tmp_path / "v3", pairs=pairs, epochs=1, lr=1e-12, init=tmp_path / "v2", **LATE)
    train(again, shop)
    one, other = (load_projection(tmp_path / name)[0].weights for name in ("v2", "v3"))
    assert all(np.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_hard_negatives_and_dropout_change_what_is_learned(shop: Settings, tmp_path: Path) -> None:
    options: dict[str, dict[str, Any]] = {
        "plain": {"negatives": 0, "dropout": 0.0},
        "negatives": {"negatives": 3, "dropout": 0.0},
        "dropout": {"negatives": 0, "dropout": 0.5},
    }
    found = {}
    for name, given in options.items():
        settings = TrainSettings(
            out=tmp_path / name, from_catalog=True, epochs=1, dim=8, pairs_per_step=2, **given, **LATE
        )
        train(settings, shop)
        found[name] = load_projection(tmp_path / name)[0].weights["text"]
    assert not np.allclose(found["plain"], found["negatives"], atol=1e-5)
    assert not np.allclose(found["plain"], found["dropout"], atol=1e-5)


def test_what_is_dropped_has_no_tokens(encoder: str) -> None:
    rng = np.random.default_rng(0)
    projection = shops.projection(encoder, dim=8)
    starts = np.array([0, 2, 5])
    table = {
        name: TokenTable(rng.standard_normal((5, width)).astype(np.float16), starts)
        for name, width in (("text", projection.config.text_dim), ("image", projection.config.image_dim))
    }
    nothing = np.full(0, -1)
    inputs = LateInputs(
        **table, row_of=np.arange(2), present=None, texts=table["text"], images=table["image"],
        text_at=nothing, image_at=nothing, shown_at=nothing, product_at=nothing,
        weights=np.empty((0, 3), np.float32), unread=0,
    )  # fmt: skip
    model, places = LateModel(projection), torch.arange(2)
    counts = model.products(inputs, places, torch.tensor([[True, False], [False, True]])).counts.sum(dim=1)
    assert counts.tolist() == [2, 3]
    assert model.products(inputs, places).counts.sum(dim=1).tolist() == [4, 6]


@pytest.mark.parametrize("joint", [True, False])
def test_a_projection_starts_with_what_the_tokens_differ_in_in_little_memory(
    joint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As numpy says of all of them at once, in memory that does not grow with them."""
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((100_000, 24)) * np.linspace(1, 3, 24) + 1).astype(np.float16)
    table = TokenTable(rows, np.array([0, len(rows)]))
    other = TokenTable(rows[:50_000, ::-1], np.array([0, 50_000]))
    inputs = cast("LateInputs", SimpleNamespace(text=table, image=other))
    monkeypatch.setattr(late_model, "_ROWS", 1_000)
    tracemalloc.start()
    found = start_projection(ProjectionConfig(5, 24, 24, "x", "1", "r"), inputs, joint=joint).weights
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    centred = [
        one.rows.astype(np.float64) - one.rows.astype(np.float64).mean(axis=0) for one in (table, other)
    ]
    kinds = {"text": np.concatenate(centred) if joint else centred[0]}
    kinds["image"] = kinds["text"] if joint else centred[1]
    for name, all_rows in kinds.items():
        own = found[name] if joint or name == "text" else found[name][::-1]
        expected = np.linalg.svd(all_rows, full_matrices=False)[2][:5]
        np.testing.assert_allclose(np.abs((own * expected).sum(axis=1)), 1, atol=1e-5)
    np.testing.assert_allclose(found["text_mean"], rows.astype(np.float64).mean(axis=0), atol=1e-5)


def test_torch_and_numpy_compare_alike() -> None:
    rng = torch.Generator().manual_seed(0)
    queries = torch.nn.functional.normalize(torch.randn(3, 4, 8, generator=rng), dim=-1)
    products = torch.nn.functional.normalize(torch.randn(5, 6, 8, generator=rng), dim=-1)
    there = torch.tensor([[1.0] * (n + 1) + [0.0] * (5 - n) for n in range(5)])
    found = cosines(_Tokens(queries, torch.ones(3, 4)), _Tokens(products, there))
    for row in range(3):
        expected = maxsim(queries[row].numpy(), products.numpy(), there.numpy() > 0)
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
    nothing = cosines(_Tokens(queries, torch.ones(3, 4)), _Tokens(products, torch.zeros(5, 6)))
    assert nothing.abs().max() == 0


def test_what_makes_no_sense(shop: Settings, tmp_path: Path, made: Path) -> None:
    with pytest.raises(ConfigError, match="share their weights"):
        TrainSettings(out=tmp_path, from_catalog=True, shared=False, **LATE)
    with pytest.raises(ConfigError, match="the ranking that it reorders: leave out --refresh"):
        TrainSettings(out=tmp_path, from_catalog=True, refresh=3, **LATE)
    offline = Settings(uri=str(tmp_path / "offline.db"))
    with Client(config=offline) as client:
        client.ingest(made / "catalog.jsonl")
    with pytest.raises(NotSupported, match="'offline' has no token vectors"):
        train(TrainSettings(out=tmp_path / "no", from_catalog=True, **LATE), offline)
    out = tmp_path / "v1"
    train(TrainSettings(out=out, from_catalog=True, epochs=1, **LATE), shop)
    with pytest.raises(ConfigError, match=r"there is a trained late interaction in .*--overwrite"):
        train(TrainSettings(out=out, from_catalog=True, epochs=1, **LATE), shop)
    with pytest.raises(ConfigError, match="holds a trained late interaction"):
        train(TrainSettings(out=out, from_catalog=True, epochs=1), shop)
    train(TrainSettings(out=out, from_catalog=True, epochs=1, overwrite=True, **LATE), shop)


def test_a_reranker_that_is_no_better_is_called_that(world: tuple[Settings, Path], tmp_path: Path) -> None:
    """With a learning rate of nearly nothing, nothing is learnt."""
    shop, pairs = world
    args = ["train", str(pairs), "--fusion", "late-interaction", "--out", str(tmp_path / "v1")]
    args += ["--uri", shop.uri, "--lr", "1e-12", "--epochs", "1"]
    done = CliRunner(catch_exceptions=False).invoke(cli, args)
    assert "by vectors, before any reranking" in done.stdout
    assert "the trained reranker is NOT better than its untrained start" in done.stdout
    assert done.stdout.splitlines()[-1] == "next: more pairs, or another --lr"
    assert " head" not in done.stdout
