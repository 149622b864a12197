"""``mm-milvus eval``: what a person sees, what a program gets, and how it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mm_milvus_cli.demo_catalog import draw_catalog
from mm_milvus_cli.eval_table import signed
from mm_milvus_cli.main import cli

from mm_milvus import Client

LINES = [
    '{"query": "red running shoes", "relevant": {"runners-red-1": 2, "runners-red-2": 1}, "qid": "r"}',
    '{"query": "[bold]红色[/bold] T恤 👕", "relevant": ["tshirt-red-1", "nowhere"], "slice": "[red]odd"}',
    '{"query": {"image": "images/mug-red-1.jpg", "text": "blue"}, "relevant": ["mug-blue-1"]}',
    '{"query": {"image": "images/boots-red-1.jpg"}, "relevant": ["boots-red-1"]}',
    "not JSON",
    '{"query": "red"}',
]
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval") / "demo"
    with Client(folder / "demo.db") as shop:
        shop.ingest(draw_catalog(folder))
    (folder / "queries.jsonl").write_text("\n".join(LINES), encoding="utf-8")
    return folder


@pytest.fixture
def run(demo: Path) -> Run:
    def run(*args: str, expect: int = 0, file: str = "queries.jsonl") -> Result:
        arguments = ["eval", str(demo / file), "--uri", str(demo / "demo.db"), *args]
        done = CliRunner(catch_exceptions=False).invoke(cli, arguments)
        assert done.exit_code == expect, done.output
        return done

    return run


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_person_sees_tables_and_what_was_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    shown = run("--compare", "default,vector,text", "--metrics", "nDCG@10,MRR").stdout
    table = rows(shown)
    assert table[0] == ["variant", "nDCG@10", "MRR", "vectors", "encode", "median,", "p95"]
    assert [row[0] for row in table[1:4]] == ["default", "vector", "text"]
    assert table[1][2:] == [
        table[1][2], "0.2", "MB", table[1][5], "ms", table[1][7], "ms,", table[1][9], "ms",
    ]  # fmt: skip
    assert table[3][-6:-4] == ["none", "none"]  # by words alone nothing is encoded
    assert table[2][2][0] in "+-" and table[2][3] == "p"
    assert ["nDCG@10", "of", "queries", "default", "vector", "text"] in table
    assert "slice [red]odd" in shown
    assert "4 queries of" in shown and "86 products in products" in shown
    assert "text cannot answer 1 of them, which count as nothing found: the mode 'text' needs" in shown
    assert "2 lines left out\n  line 5: not JSON" in shown
    assert "  line 6: nothing says what is relevant" in shown
    assert "1 relevant product not in products, never to be found: nowhere" in shown
    assert "differences to default" in shown


def test_lines_left_out_that_are_not_shown_are_pointed_to(run: Run, demo: Path) -> None:
    lines = ['{"query": "red mug", "relevant": ["mug-red-1"]}', *("bad" for _ in range(8))]
    (demo / "bad.jsonl").write_text("\n".join(lines), encoding="utf-8")
    page = demo / "bad.html"
    shown = run("--html", str(page), file="bad.jsonl").stdout
    told = "... and 5 more: --json has all of them, in `rejected`"
    lines = shown.partition("8 lines left out\n")[2].splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["  line 2", "  line 3", "  line 4"]
    assert lines[3] == f"  {told}"
    assert told in page.read_text(encoding="utf-8")
    assert len(json.loads(run("--json", file="bad.jsonl").stdout)["rejected"]) == 8


def test_a_variant_that_says_nothing_to_some_queries_is_told_so(run: Run) -> None:
    shown = run("--compare", "default,composition=product", "--metrics", "MRR").stdout
    assert "composition=product says nothing to 3 of them, which are asked without the option" in shown
    assert "cannot answer" not in shown
    told = json.loads(run("--compare", "default,composition=product", "--json").stdout)
    assert [variant["not_applicable"] for variant in told["variants"]] == [0, 3]
    assert [variant["encoder"] for variant in told["variants"]] == ["offline", "offline"]
    for query in told["queries"]:
        if query["query"].keys() != {"text", "image"}:
            assert query["found"]["composition=product"] == query["found"]["default"]


@pytest.mark.parametrize(
    ("difference", "shown"),
    [(0.0244, "+0.024"), (-0.2, "-0.200"), (0.0, "+0.000"), (0.0004, "+0.0004"), (-0.00004, "-0.00004"),
     (0.0005001, "+0.001"), (1e-17, "+0.000"), (-1e-9, "+0.000")],
)  # fmt: skip
def test_a_small_difference_does_not_look_like_none(difference: float, shown: str) -> None:
    assert signed(difference) == shown


def test_a_narrow_terminal_gets_a_row_for_each_metric(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = run("--compare", "default,vector", "--metrics", "nDCG@10,MRR,R@50,P@1").stdout
    table = rows(shown)
    assert [row[:2] for row in table[1:9]] == [
        [variant, metric] for variant in ("default", "vector") for metric in ("nDCG@10", "MRR", "R@50", "P@1")
    ]
    assert all(len(line) <= 60 for line in shown.splitlines()[:12])


def test_one_variant_has_no_differences(run: Run) -> None:
    shown = run().stdout
    assert rows(shown)[0][:4] == ["variant", "nDCG@10", "MRR", "R@50"]
    assert "differences" not in shown and " p " not in shown


def test_a_program_gets_everything(run: Run) -> None:
    told: dict[str, Any] = json.loads(run("--compare", "hybrid,text", "--metrics", "MRR@10", "--json").stdout)
    assert told["metrics"] == ["MRR@10"] and told["baseline"] == "hybrid" and told["depth"] == 100
    assert [query["qid"] for query in told["queries"]] == ["r", "line 2", "line 3", "line 4"]
    first = told["queries"][0]
    assert first["query"] == {"text": ["red running shoes"]}
    assert first["relevant"] == {"runners-red-1": 2, "runners-red-2": 1}
    assert first["found"]["hybrid"][0].startswith("runners-")
    values = [query["values"]["hybrid"]["MRR@10"] for query in told["queries"]]
    assert told["variants"][0]["scores"]["MRR@10"] == {
        "value": pytest.approx(sum(values) / 4, abs=1e-6), "difference": None, "p": None, "p_holm": None,
    }  # fmt: skip
    assert 0 < told["variants"][1]["scores"]["MRR@10"]["p"] <= 1
    assert [bad["line"] for bad in told["rejected"]] == [5, 6]
    assert told["missing_relevant"] == ["nowhere"]


def test_a_trec_collection(run: Run, demo: Path) -> None:
    (demo / "topics.tsv").write_text("1\tred running shoes\n2\tunjudged\n", encoding="utf-8")
    (demo / "judged.qrels").write_text("1 0 runners-red-1 1\n3 0 x 1\n", encoding="utf-8")
    shown = run("--qrels", str(demo / "judged.qrels"), "--metrics", "AP", file="topics.tsv").stdout
    assert "1 query of" in shown
    assert "line 2: no relevant product" in shown
    assert "1 of the judged queries are not in" in shown


def test_tuning_says_what_it_found_and_what_to_do(run: Run, demo: Path) -> None:
    kinds = ("running shoes", "mug", "cap", "handbag", "teapot", "boots", "dress")
    ids = {"running shoes": "runners", "handbag": "handbag"}
    lines = [
        json.dumps({"query": f"red {kind}", "relevant": [f"{ids.get(kind, kind)}-red-1"]}) for kind in kinds
    ]
    (demo / "kinds.jsonl").write_text("\n".join(lines), encoding="utf-8")
    args = ("--tune", "--metrics", "MRR,P@1", "--dev-share", "0.4")
    shown = run(*args, file="kinds.jsonl").stdout.splitlines()
    assert "tuned for MRR, 40% of the queries choosing:" in shown
    assert shown[-2].startswith("  words alone: alpha=")
    assert "for 4 queries that had no say" in shown[-2]
    assert "keep the defaults" in shown[-2]  # four queries are too few to tell
    assert shown[-1] == "  mixtures with words: too few queries without weights of their own"
    told = json.loads(run(*args, "--json", file="kinds.jsonl").stdout)["tuning"]
    assert (told["metric"], told["dev_share"], told["seed"]) == ("MRR", 0.4, 0)
    assert [part["setting"] for part in told["settings"]] == ["alpha", "weights"]
    assert told["settings"][0]["gained"] is False


def test_tuning_looks_as_deep_as_the_evaluation(run: Run, demo: Path) -> None:
    """One of the right products stands further down than one is asked for: by MRR it counts as nothing in both."""
    asked = [
        ("red running shoes", "lamp-white-1"),
        ("blue mug", "chair-red-1"),
        *(("red handbag", id) for id in ("handbag-red-1", "boots-black-1")),
    ]
    lines = [json.dumps({"query": words, "relevant": [id]}) for words, id in asked]
    (demo / "deep.jsonl").write_text("\n".join(lines), encoding="utf-8")
    args = ("--tune", "--metrics", "MRR", "--depth", "1", "--json")
    told = json.loads(run(*args, file="deep.jsonl").stdout)
    values = {query["values"]["default"]["MRR"] for query in told["queries"]}
    assert values <= {0.0, 1.0}
    [words, _] = told["tuning"]["settings"]
    mean = told["variants"][0]["scores"]["MRR"]["value"]
    halves = words["dev_default"] * words["dev_queries"] + words["test_default"] * words["test_queries"]
    assert halves == pytest.approx(mean * len(asked))
    deeper = json.loads(run("--tune", "--metrics", "MRR", "--json", file="deep.jsonl").stdout)
    assert deeper["variants"][0]["scores"]["MRR"]["value"] > mean


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--metrics", "foo"], 2, "there is no metric 'foo'; there are nDCG@10, MRR"),
        (["--compare", "best"], 2, "there is no variant 'best'; write default, vector"),
        (["--compare", "sum"], 7, "the fusion 'sum' needs pictures and texts in one space"),
        (["--compare", "collection=other"], 25, "other"),
        (["--depth", "0"], 2, "0 is not in the range"),
        (["--qrels", "nowhere.qrels"], 2, "cannot read nowhere.qrels"),
        (["--html", "/nowhere/report.html"], 2, "cannot write the web page /nowhere/report.html"),
        (["--dev-share", "1"], 2, "1"),
        (["--metrics", ","], 2, "names with commas"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(run: Run, args: list[str], code: int, message: str) -> None:
    done = run(*args, expect=code)
    assert message in done.stderr.splitlines()[-1]


def test_without_the_library_the_error_names_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    done = run("--json", expect=6)
    assert json.loads(done.stdout)["kind"] == "MissingDependency"
    assert 'pip install "mm-milvus[evaluation]"' in done.stderr
