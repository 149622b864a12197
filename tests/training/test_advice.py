"""What to type after a training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from mm_milvus_cli.main import cli

from mm_milvus import Settings
from mm_milvus.training import TrainReport, UnfrozenReport
from mm_milvus.training.advice import advised, free_collection

REPORT = TrainReport(
    out="heads/v1", fusion="linear", dim=512, shared=False, encoder="offline", collection="products", products=86,
    queries={"train": 12, "dev": 3, "test": 0}, pairs={"train": 12, "dev": 3, "test": 0}, rejected=0,
    unknown_products=0, ndcg_start=0.2, ndcg=0.9, test_ndcg_start=None, test_ndcg=None, won=True, p=0.01,
    judged_by="dev", epochs=3, best_epoch=3, resumed_from=0, seconds=1.0,
)  # fmt: skip
LAYERS = UnfrozenReport(
    layers=2, parameters=10, encoder="heads/v1/encoder", unread_pictures=0, ndcg_start=0.2, ndcg=0.3,
    test_ndcg_start=None, test_ndcg=None, won=True, p=0.01, epochs=3, best_epoch=3, resumed_from=0,
)  # fmt: skip
ELSEWHERE = Settings(uri="shop.db", collection="tiny")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "training.md"
INGEST = "mm-milvus ingest CATALOG --fusion heads/v1"


def commands(report: TrainReport, shop: Settings) -> tuple[str | None, str | None]:
    found = advised(report, shop, f"{shop.collection}_v1")
    return found.next, found.then


def test_a_head_is_ingested_with() -> None:
    assert commands(REPORT, Settings()) == (f"{INGEST} --collection products_v1", None)
    assert commands(replace(REPORT, out="v1"), ELSEWHERE) == (
        "mm-milvus ingest CATALOG --fusion ./v1 --collection tiny_v1 --uri shop.db",
        None,
    )


def test_a_reranker_makes_tokens() -> None:
    report = replace(REPORT, fusion="late-interaction")
    assert commands(report, ELSEWHERE) == ("mm-milvus tokens heads/v1 --collection tiny --uri shop.db", None)
    assert commands(report, Settings()) == ("mm-milvus tokens heads/v1", None)


def test_what_words_find_by_ridge_is_tuned_for() -> None:
    bridge = {"text": {"queries": 9}, "image": {"queries": 9}}
    assert commands(replace(REPORT, fusion="ridge", bridge=bridge), ELSEWHERE) == (
        f"{INGEST} --collection tiny_v1 --uri shop.db",
        "mm-milvus eval QUERIES --tune --collection tiny_v1 --uri shop.db",
    )


def test_an_encoder_of_its_own_is_compared_in_its_own_collection() -> None:
    assert commands(replace(REPORT, unfrozen=LAYERS), ELSEWHERE) == (
        f"{INGEST} --encoder heads/v1/encoder --collection tiny_v1 --uri shop.db",
        "mm-milvus eval QUERIES --compare default,collection=tiny_v1 --collection tiny --uri shop.db",
    )


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, won=False),
        replace(REPORT, fusion="late-interaction", won=False),
        replace(REPORT, unfrozen=replace(LAYERS, won=False)),  # the head alone would do
    ],
    ids=["head", "reranker", "layers"],
)
def test_what_is_no_better_is_not_put_to_use(report: TrainReport) -> None:
    assert commands(report, ELSEWHERE) == (None, None)


def test_where_chance_or_nothing_decides_the_command_is_told() -> None:
    for p in (0.3, None):
        found = advised(replace(REPORT, won=None, p=p), ELSEWHERE, "tiny_v1")
        assert found.next == f"{INGEST} --collection tiny_v1 --uri shop.db"


def test_a_collection_is_named_like_its_head_and_unlike_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(out: str, *taken: str, shop: Settings = ELSEWHERE) -> str:
        found = free_collection(Path(out), shop, lambda name: name in taken)
        assert Settings(collection=found).collection == found
        return found

    assert name("heads/shop-v1") == "tiny_shop_v1"
    assert name("heads/v1", "tiny_v1", "tiny_v1_3") == "tiny_v1_2"
    assert name("heads/v1", "tiny_v1", "tiny_v1_2") == "tiny_v1_3"
    assert name("heads/über-1") == "tiny__ber_1"
    # Without a letter of ASCII, all would be lines.
    others = [name(f"heads/{word}") for word in ("靴", "鞄", "靴下", "-", "_")]
    assert len(set(others)) == 5 and all(other.startswith("tiny_head_") for other in others)
    assert name("heads/靴") == others[0]
    (tmp_path / "v7").mkdir()
    monkeypatch.chdir(tmp_path / "v7")
    assert name(".") == "tiny_v7"
    assert len(name("v" * 250, "tiny_" + "v" * 245, shop=ELSEWHERE)) <= 255


def test_the_example_of_the_docs_ends_with_the_command_that_they_promise(
    shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(shop.uri).parent)
    pairs = DOCS.read_text(encoding="utf-8").partition("```jsonl pairs.jsonl\n")[2].partition("```")[0]
    Path("pairs.jsonl").write_text(pairs, encoding="utf-8")
    args = ["train", "pairs.jsonl", "--out", "heads/shop-v1", "--uri", "demo.db"]
    done = CliRunner(catch_exceptions=False).invoke(cli, args)
    assert " · 0 rejected\n" in done.stdout
    assert "the gain may be chance (p 1.000 of 1 test query)" in done.stdout
    command = "mm-milvus ingest CATALOG --fusion heads/shop-v1 --collection products_shop_v1 --uri "
    assert done.stdout.splitlines()[-1] == f"next: {command}demo.db"
    assert f"`{command}demo/demo.db`" in DOCS.read_text(encoding="utf-8")
    args[args.index("heads/shop-v1")] = "heads/ridge-v1"
    bridged = CliRunner(catch_exceptions=False).invoke(cli, [*args, "--fusion", "ridge"])
    assert "1 held-out query is too few to tell: label more pairs, or raise --dev-share" in bridged.stdout


def test_a_single_query_needs_company_first(shop: Settings, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"query": "blue", "product": "mug-blue-1"}), encoding="utf-8")
    args = ["train", str(pairs), "--epochs", "1", "--dim", "16", "--uri", shop.uri, "--out"]
    done = CliRunner().invoke(cli, [*args, str(tmp_path / "v1")])
    *_, verdict, _, label, command = done.stdout.splitlines()
    assert verdict == "no queries were held out: whether the head is any better is not known"
    assert label == "next: label more pairs: there were too few queries to hold one out that would tell"
    assert command.startswith(f"as it is: mm-milvus ingest CATALOG --fusion {tmp_path / 'v1'} ")
    # Who wants none held out knows.
    wanted = CliRunner().invoke(cli, [*args, str(tmp_path / "v2"), "--dev-share", "0"])
    assert wanted.stdout.splitlines()[-1].startswith("next: mm-milvus ingest CATALOG ")
