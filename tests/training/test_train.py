"""Trainings of a real collection on Milvus Lite, from Python and from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mm_milvus_cli.main import cli
from PIL import Image

from mm_milvus import Client, Settings
from mm_milvus.errors import ConfigError, FusionError
from mm_milvus.fusion import load_head
from mm_milvus.training import Step, TrainSettings, train
from tests.encoders import tiny_models
from tests.training.shapes import Shop

FAST = {"epochs": 2, "dim": 32}


def test_pairs_teach_words_that_mean_nothing(shop: Settings, pairs: Path, tmp_path: Path) -> None:
    steps: list[Step] = []
    out = tmp_path / "heads" / "v1"
    settings = TrainSettings(
        out=out, pairs=pairs, fusion="gated", dim=64, epochs=30, lr=2e-3, pairs_per_step=16
    )
    report = train(settings, shop, progress=steps.append)
    assert report.ndcg_start is not None and report.ndcg is not None
    assert report.ndcg_start < 0.5
    assert report.ndcg > 0.9
    assert (report.won, report.p, report.judged_by) == (
        None,
        0.25,
        "dev",
    )  # three queries, all better: too few to tell
    assert (report.rejected, report.unknown_products, report.products) == (2, 1, 86)
    assert report.queries == {"train": 12, "dev": 3, "test": 0}
    assert {step.phase for step in steps} == {"reading products", "encoding texts", "training"}
    assert all(0 < step.done <= step.total for step in steps)
    assert {path.name for path in out.iterdir()} == {
        "cache", "config.json", "curves.png", "head.safetensors", "log.jsonl", "rejects.jsonl", "report.json",
    }  # fmt: skip
    reasons = [json.loads(line)["reason"] for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert reasons[0] == "there is no product 'nobody'"
    assert json.loads((out / "report.json").read_text())["ndcg"] == report.ndcg
    assert len((out / "log.jsonl").read_text().splitlines()) == report.epochs + 1
    with Image.open(out / "curves.png") as curves:
        assert curves.size == (900, 600)
    assert load_head(out)[0].config.kind == "gated"


def turned(pairs: Path, count: int) -> Path:
    """Tests of the wrong products beside them: what is learned is wrong for these."""
    lines = [
        line for line in map(json.loads, pairs.read_text().splitlines()[:-2]) if line["split"] == "train"
    ]
    words = {"zorv": "quell", "quell": "mibble", "mibble": "zorv"}
    wrong = [
        line | {"query": f"number {number} {words[line['query'].split()[-1]]}", "split": "test"}
        for line in lines[::5]
        for number in range(count)
    ]
    path = pairs.with_name("turned.jsonl")
    path.write_text(pairs.read_text() + "\n" + "".join(json.dumps(line) + "\n" for line in wrong))
    return path


def test_a_test_split_judges_and_chooses_nothing(shop: Settings, pairs: Path, tmp_path: Path) -> None:
    args = ["train", str(turned(pairs, 3)), "--out", str(tmp_path / "v1"), "--uri", shop.uri, "--dim", "64"]
    done = CliRunner(catch_exceptions=False).invoke(
        cli, [*args, "--lr", "0.002", "--pairs-per-step", "16", "--epochs", "10"]
    )
    report = json.loads((tmp_path / "v1" / "report.json").read_text())
    assert report["queries"] == {"train": 12, "dev": 3, "test": 9}
    assert report["ndcg"] > report["ndcg_start"] + 0.3
    assert report["test_ndcg"] < report["test_ndcg_start"]
    assert (report["won"], report["judged_by"]) == (False, "test")
    assert "the trained head is NOT better than its untrained start by 9 test queries" in done.stdout


def test_what_was_trained_is_what_the_shop_searches_with(shop: Settings, pairs: Path, tmp_path: Path) -> None:
    settings = TrainSettings(
        out=tmp_path / "head", pairs=pairs, dim=64, epochs=30, lr=2e-3, pairs_per_step=16
    )
    train(settings, shop)
    catalog = Path(shop.uri).parent / "demo" / "catalog.jsonl"
    with Client(config=shop, collection="taught") as client:
        client.ingest(catalog, fusion=str(tmp_path / "head"))
        found = client.query("some quell", mode="vector", limit=5, fields=["color"])
        client.drop()
    assert [hit.attributes["color"] for hit in found.hits] == ["blue"] * 5


@pytest.mark.parametrize("fusion", ["linear", "attention"])
def test_a_catalog_is_enough(shop: Settings, tmp_path: Path, fusion: Any) -> None:
    report = train(TrainSettings(out=tmp_path / "head", from_catalog=True, fusion=fusion, **FAST), shop)
    assert report.queries["train"] > 250
    assert report.pairs["train"] > report.queries["train"]


def test_words_find_products_without_a_text_by_what_the_catalog_says_of_looks(
    shop: Settings, tmp_path: Path
) -> None:
    """Three of every four products tell what they are; the others have nothing but a picture."""
    source = Path(shop.uri).parent / "demo"
    rows = [json.loads(line) for line in (source / "catalog.jsonl").read_text(encoding="utf-8").splitlines()]
    bare = {row["id"]: row["category"] for row in rows[::4]}
    kept = [{"id": row["id"], "image": row["image"]} if row["id"] in bare else row for row in rows]
    catalog = source / "bare.jsonl"  # pictures are beside it
    catalog.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    place = Settings(uri=str(tmp_path / "shop.db"))
    with Client(config=place) as client:
        client.ingest(catalog)
    report = train(TrainSettings(out=tmp_path / "head", from_catalog=True, fusion="ridge"), place)
    assert (report.fusion, report.dim, report.epochs) == ("ridge", 288 + 384, 1)
    assert load_head(tmp_path / "head")[0].config.kind == "linear"
    assert report.bridge is not None and set(report.bridge) == {"text", "image"}
    words = report.bridge["text"]
    assert words["ndcg_with"] > words["ndcg_without"] and words["share"] > 0
    assert report.p == words["p"]
    assert not (tmp_path / "head" / "curves.png").exists()
    with Client(config=place, collection="bridged") as client:
        client.ingest(catalog, fusion=str(tmp_path / "head"))
        right = []
        for category in sorted(set(bare.values())):
            found = client.query(category, mode="vector", filter="not has_text", limit=3)
            right += [bare[hit.id] == category for hit in found.hits]
    info = ["info", "--uri", place.uri, "--collection", "bridged"]
    assert str(tmp_path / "head") in CliRunner(catch_exceptions=False).invoke(cli, info).stdout
    share = sum(right) / len(right)
    assert share > 2 * max(list(bare.values()).count(one) for one in bare.values()) / len(bare)


def test_queries_may_be_pictures_products_and_mixtures(shop: Settings, tmp_path: Path) -> None:
    folder = Path(shop.uri).parent / "demo" / "images"
    lines = [
        {"query": {"image": f"{folder.name}/mug-red-1.jpg", "text": "blue"}, "product": "mug-blue-1"},
        {"query": {"id": "mug-red-1", "text": "blue"}, "product": "mug-blue-1"},
        {"query": {"image": f"{folder.name}/nowhere.jpg"}, "product": "mug-blue-1"},
        {"query": {"id": "mug-red-1"}, "product": "mug-blue-1", "split": "test"},
    ]
    path = folder.parent / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    report = train(TrainSettings(out=tmp_path / "head", pairs=path, dev_share=0.0, **FAST), shop)
    assert report.queries == {"train": 2, "dev": 0, "test": 1}
    assert (report.judged_by, report.p, report.ndcg) == ("test", 1.0, None)  # of one query that gains nothing
    assert report.test_ndcg is not None
    (refused,) = [json.loads(line) for line in (tmp_path / "head" / "rejects.jsonl").read_text().splitlines()]
    assert refused["line"] == 3
    assert refused["reason"].startswith("its picture cannot be read: ") and "nowhere.jpg" in refused["reason"]
    # What was wrong is still known where the vectors come from the folder of the run before.
    again = TrainSettings(out=tmp_path / "head", pairs=path, dev_share=0.0, overwrite=True, **FAST)
    train(again, shop)
    (same,) = [json.loads(line) for line in (tmp_path / "head" / "rejects.jsonl").read_text().splitlines()]
    assert same == refused


def test_crops_are_read_from_the_pictures(shop: Settings, tmp_path: Path) -> None:
    report = train(TrainSettings(out=tmp_path / "head", from_catalog=True, crops=1, epochs=1, dim=32), shop)
    plain = train(TrainSettings(out=tmp_path / "plain", from_catalog=True, epochs=1, dim=32), shop)
    assert sum(report.queries.values()) == sum(plain.queries.values()) + 86


def test_a_training_can_start_from_another_head(shop: Settings, tmp_path: Path) -> None:
    one = TrainSettings(out=tmp_path / "one", from_catalog=True, fusion="gated", **FAST)
    first = train(one, shop)
    second = train(replace(one, out=tmp_path / "two", init=tmp_path / "one", fusion=None, dim=None), shop)
    assert (second.fusion, second.dim) == ("gated", 32)
    assert second.ndcg_start == pytest.approx(first.ndcg)
    with pytest.raises(FusionError, match="has dim 32, not 64"):
        train(replace(one, out=tmp_path / "three", init=tmp_path / "one", dim=64), shop)


def test_a_head_is_not_replaced_unasked(shop: Settings, tmp_path: Path) -> None:
    settings = TrainSettings(out=tmp_path / "head", from_catalog=True, **FAST)
    train(settings, shop)
    with pytest.raises(ConfigError, match="there is a trained head .* --overwrite"):
        train(settings, shop)
    train(replace(settings, overwrite=True, seed=1), shop)


def test_folders_of_other_things_stay_as_they_are(shop: Settings, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(
        ConfigError, match=r"holds 'a.jpg' and no training: take a folder that is new or empty"
    ):
        train(TrainSettings(out=tmp_path / "photos", from_catalog=True), shop)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    with pytest.raises(ConfigError, match=r"cannot write to the folder '/proc/x/y'"):
        train(TrainSettings(out=Path("/proc/x/y"), from_catalog=True), shop)
    with pytest.raises(ConfigError, match=r"cannot write to the folder .*a.jpg"):
        train(TrainSettings(out=tmp_path / "photos" / "a.jpg", from_catalog=True), shop)


def test_only_a_collection_of_blocks_can_be_read(shop: Settings, tmp_path: Path) -> None:
    train(TrainSettings(out=tmp_path / "head", from_catalog=True, **FAST), shop)
    catalog = Path(shop.uri).parent / "demo" / "catalog.jsonl"
    with Client(config=shop, collection="fused") as client:
        client.ingest(catalog, fusion=str(tmp_path / "head"))
    fused = shop.replace(collection="fused")
    with pytest.raises(FusionError, match="training reads a collection of the fusion 'blocks'"):
        train(TrainSettings(out=tmp_path / "other", from_catalog=True), fused)
    with Client(config=fused) as client:
        client.drop()


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_says_what_was_read_what_came_of_it_and_what_is_next(
    shop: Settings, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["train", str(pairs), "--out", "heads/v1", "--uri", shop.uri, "--dim", "64", "--lr", "0.002"]
    done = CliRunner(catch_exceptions=False).invoke(cli, [*args, "--pairs-per-step", "16"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].endswith("queries: 12 train, 3 dev · 86 products · 2 rejected")
    assert (
        lines[1]
        == f"refused lines and why: heads{os.sep}v1/rejects.jsonl; 1 for products that are not stored"
    )
    assert lines[2].startswith("nDCG@10 of dev: 0.") and "untrained, " in lines[2]
    assert lines[-1].startswith("next: mm-milvus ingest CATALOG --fusion heads/v1 --collection products_v1")


def test_a_head_that_is_no_better_is_called_that(shop: Settings, tmp_path: Path) -> None:
    """With a learning rate of nearly nothing, nothing is learnt."""
    args = ["train", "--from-catalog", "--out", str(tmp_path / "head"), "--uri", shop.uri, "--lr", "1e-12"]
    done = CliRunner(catch_exceptions=False).invoke(cli, [*args, "--epochs", "1", "--dim", "32"])
    assert done.exit_code == 0
    assert "the trained head is NOT better than its untrained start" in done.stdout
    told = json.loads((tmp_path / "head" / "report.json").read_text())
    assert (told["won"], told["next"], told["then"]) == (False, None, None)
    assert "next: more pairs, another --fusion or --lr; or judge" in done.stdout
    assert "mm-milvus ingest" not in done.stdout
    assert load_head(tmp_path / "head")[0].config.dim == 32


def test_a_start_that_was_trained_is_not_called_untrained(shop: Settings, tmp_path: Path) -> None:
    train(TrainSettings(out=tmp_path / "one", from_catalog=True, **FAST), shop)
    args = ["train", "--from-catalog", "--init", str(tmp_path / "one"), "--uri", shop.uri, "--lr", "1e-12"]
    done = CliRunner(catch_exceptions=False).invoke(
        cli, [*args, "--epochs", "1", "--out", str(tmp_path / "two")]
    )
    assert "nDCG@10 of dev: 0." in done.stdout and " before, 0." in done.stdout
    assert f"the trained head is NOT better than its start {tmp_path / 'one'} by " in done.stdout
    assert "untrained" not in done.stdout


def test_importing_the_room_loads_no_torch() -> None:
    program = "import sys, mm_milvus.training; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_sigmoid_loss_teaches_as_well(shop: Settings, pairs: Path, tmp_path: Path) -> None:
    settings = TrainSettings(
        out=tmp_path / "v1", pairs=pairs, loss="sigmoid", dim=64, epochs=30, lr=2e-3, pairs_per_step=16
    )
    report = train(settings, shop)
    assert report.ndcg_start is not None and report.ndcg is not None
    assert report.ndcg_start < 0.5 and report.ndcg > 0.8


def test_a_product_of_both_can_be_trained_where_the_space_is_joint(tmp_path: Path) -> None:
    place = Shop(tmp_path, str(tiny_models.clip(tmp_path / "clip")))
    settings: dict[str, Any] = {
        "unfreeze": 0,
        "encoder_lr": None,
        "fusion": "product",
        "lr": 1e-2,
        "negatives": 0,
    }
    report = place.train(tmp_path / "v1", **settings)
    assert report.ndcg_start is not None and report.ndcg is not None
    assert report.ndcg > report.ndcg_start + 0.1
    with Client(config=place.asked, collection="multiplied") as client:
        client.ingest(place.catalog, fusion=str(tmp_path / "v1"))
        found = client.query("a leather", mode="vector", limit=6)
        client.drop()
    assert sum(hit.id.startswith("cross") for hit in found.hits) >= 2


def test_the_command_tells_what_a_bridge_is_worth(shop: Settings, tmp_path: Path) -> None:
    out = tmp_path / "ridge"
    args = ["train", "--from-catalog", "--fusion", "ridge", "--out", str(out), "--uri", shop.uri]
    done = CliRunner(catch_exceptions=False).invoke(cli, args)
    assert done.exit_code == 0, done.output
    bridge = json.loads((out / "report.json").read_text())["bridge"]["text"]
    assert (
        f"words, where three tenths of the products have lost their text: nDCG@10 {bridge['ndcg_without']:.3f} without "
        f"the bridge, {bridge['ndcg_with']:.3f} with it" in done.stdout
    )
    report = json.loads((out / "report.json").read_text())
    assert (report["judged_by"], bridge["split"]) == ("dev", "dev")
    assert "chance alone hardly makes such a gain: p " in done.stdout
    assert f" of {bridge['queries']} dev queries" in done.stdout
