"""What a training refuses is told with its rows, above all where nothing is left to train with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mm_milvus_cli.main import cli

from mm_milvus import Settings
from mm_milvus.errors import ConfigError, MmMilvusError
from mm_milvus.training import TrainSettings, train

FAST: dict[str, Any] = {"epochs": 1, "dim": 8}
GOOD = {"query": "blue", "product": "mug-blue-1"}


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def refused(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_pair_of_a_picture_that_cannot_be_read_keeps_its_row(shop: Settings, tmp_path: Path) -> None:
    lines = [
        GOOD,
        {"query": {"image": "no.jpg"}, "product": "mug-red-1"},
        {"query": {"image": "no.jpg"}, "product": "mug-blue-1", "split": "test"},
        {"query": {"image": "no.jpg"}, "product": "mug-blue-1", "grade": 0.5},
    ]
    pairs = written(tmp_path / "pairs.jsonl", *lines)
    report = train(TrainSettings(out=tmp_path / "v1", pairs=pairs, dev_share=0.0, **FAST), shop)
    found = {one["line"]: one for one in refused(tmp_path / "v1")}
    assert {line: (one["stage"], one["record"]) for line, one in found.items()} == {
        2: ("encode", lines[1]),
        3: ("read", lines[2]),  # the query is in another split already
        4: ("encode", lines[3]),
    }
    assert "no.jpg" in found[4]["reason"]
    assert report.rejected == 3
    # Repaired, that file is one of pairs itself.
    repaired = (tmp_path / "v1" / "rejects.jsonl").read_text().replace("no.jpg", "demo/images/mug-red-1.jpg")
    again = Path(shop.uri).parent / "repaired.jsonl"
    again.write_text(repaired.replace('"split": "test"', '"split": "train"'), encoding="utf-8")
    report = train(TrainSettings(out=tmp_path / "v2", pairs=again, dev_share=0.0, **FAST), shop)
    assert (report.rejected, report.pairs["train"]) == (0, 2)


def test_where_nothing_can_be_encoded_the_first_reason_and_the_file_are_named(
    shop: Settings, tmp_path: Path
) -> None:
    row = {"query": {"image": "no.jpg"}, "product": "mug-red-1"}
    args = ["train", str(written(tmp_path / "pairs.jsonl", row)), "--uri", shop.uri]
    out = tmp_path / "heads" / "v1"
    done = CliRunner().invoke(cli, [*args, "--out", str(out)])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "none of the queries to train with could be encoded; line 1: its picture cannot be read: " in line
    assert "no.jpg" in line and line.endswith(f"all that was refused: {out / 'rejects.jsonl'}")
    assert [one["record"] for one in refused(out)] == [row]
    # The folder is that of a training: the same command may be tried again.
    again = CliRunner().invoke(cli, [*args, "--out", str(out)])
    assert again.stderr == done.stderr


def test_where_all_lines_are_refused_they_are_all_written(shop: Settings, tmp_path: Path) -> None:
    lines = [{"query": "x", "product": "nobody"}, {"query": "x", "product": "mug-red-1", "grade": -1}]
    settings = TrainSettings(out=tmp_path / "v1", pairs=written(tmp_path / "pairs.jsonl", *lines), **FAST)
    with pytest.raises(
        ConfigError,
        match="no pair to train with: 2 lines were refused, 1 of them for products that are not stored; "
        "line 1: there is no product 'nobody'; all that was refused: .*rejects.jsonl",
    ):
        train(settings, shop)
    assert [one["record"] for one in refused(tmp_path / "v1")] == lines
    written(tmp_path / "pairs.jsonl", GOOD)
    assert train(settings, shop).rejected == 0
    assert not (tmp_path / "v1" / "rejects.jsonl").exists()


def test_pairs_that_are_all_of_other_splits_are_counted(shop: Settings, tmp_path: Path) -> None:
    lines = [{**GOOD, "split": "test"}, {"query": "x", "product": "mug-red-1", "split": "dev"}]
    lines.append({"query": "x", "product": "mug-blue-1", "split": "dev"})
    others = r"all of its pairs are of other splits \(2 dev, 1 test\), and some have to be of train"
    told = f"no pair to train with: {others}"
    with pytest.raises(ConfigError, match=f"{told}$"):
        train(
            TrainSettings(out=tmp_path / "v1", pairs=written(tmp_path / "pairs.jsonl", *lines), **FAST), shop
        )
    pairs = written(tmp_path / "pairs.jsonl", *lines, {"query": "x", "product": "nobody"})
    with pytest.raises(ConfigError, match=f"{told}; 1 line was refused, 1 of them for products that are not"):
        train(TrainSettings(out=tmp_path / "v1", pairs=pairs, **FAST), shop)


def test_a_single_query_is_never_held_out(shop: Settings, tmp_path: Path) -> None:
    pairs = written(tmp_path / "pairs.jsonl", GOOD)
    report = train(TrainSettings(out=tmp_path / "v1", pairs=pairs, dev_share=0.9, **FAST), shop)
    assert report.queries == {"train": 1, "dev": 0, "test": 0}


def test_an_empty_file_has_no_reason(shop: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no pair to train with$"):
        train(TrainSettings(out=tmp_path / "v1", pairs=written(tmp_path / "pairs.jsonl"), **FAST), shop)


def test_repaired_rows_are_not_overwritten_by_what_is_refused_anew(shop: Settings, tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    pairs = written(tmp_path / "v1" / "rejects.jsonl", GOOD)
    with pytest.raises(ConfigError, match="is where this training writes what it refuses: move it"):
        train(TrainSettings(out=tmp_path / "v1", pairs=pairs, **FAST), shop)
    assert json.loads(pairs.read_text()) == GOOD


@pytest.mark.parametrize("wrong", ["pairs", "collection", "held"])
def test_a_training_that_never_began_leaves_no_folder(shop: Settings, tmp_path: Path, wrong: str) -> None:
    pairs = written(tmp_path / "pairs.jsonl", GOOD)
    options: dict[str, Any] = {"pairs": tmp_path / "nowhere.jsonl" if wrong == "pairs" else pairs}
    place = shop.replace(collection="unknown") if wrong == "collection" else shop
    out = tmp_path / "heads" / "v1"
    if wrong == "held":  # by something else, which stays
        out.mkdir(parents=True)
        (out / "notes.txt").touch()
    with pytest.raises(MmMilvusError):
        train(TrainSettings(out=out, **options, **FAST), place)
    assert list(tmp_path.rglob("cache")) == []
    assert (tmp_path / "heads").exists() == (wrong == "held")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give a file of pairs, or --from-catalog"),
        (["pairs.jsonl", "--from-catalog"], "give not both a file of pairs and --from-catalog\n"),
        (["--from-catalog", "--dim", "100000"], "at most 32,768 dimensions, got 100,000"),
        (["--from-catalog", "--epochs", "0"], "epochs must be a whole number of at least 1, got 0"),
        (["--from-catalog", "--lr", "0"], "lr must be a number above 0"),
        (["--from-catalog", "--dropout", "1"], "dropout must be a number of at least 0 and at most 0.9"),
        (
            ["pairs.jsonl", "--crops", "1"],
            "crops are made of the products' own pictures: they go with --from-catalog",
        ),
        (["--from-catalog", "--fusion", "sum"], "needs pictures and texts of equal width"),
        (["--from-catalog", "--fusion", "attention", "--dim", "30"], "must be a multiple of its 8 heads"),
        (["--from-catalog", "--fusion", "ridge", "--shared"], "with sides of their own: leave out --shared"),
        (
            ["--from-catalog", "--fusion", "ridge", "--epochs", "3", "--lr", ".1", "--pairs-per-step", "9"],
            "the fusion ridge is calculated, without steps and with sides of their own: leave out --epochs and "
            "--pairs-per-step and --lr",
        ),
        (["nowhere.jsonl"], "the file of pairs cannot be used: cannot read nowhere.jsonl"),
    ],
)
def test_bad_options_are_one_line(shop: Settings, tmp_path: Path, args: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["train", *args, "--out", str(tmp_path / "x"), "--uri", shop.uri])
    assert done.exit_code in (2, 7)
    assert message in done.stderr
    assert not (tmp_path / "x" / "head.safetensors").exists()
