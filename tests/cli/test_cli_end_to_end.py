"""The commands on a real embedded database, from the catalog file to the web page."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mm_milvus_cli.main import cli
from PIL import Image, ImageDraw

from tests.ingest.picture_host import picture_host

COLORS = {"red": (200, 20, 30), "blue": (20, 60, 200), "green": (20, 140, 60)}
Shop = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six products with pictures, one row that cannot be used; the columns have other names than ours."""
    folder = tmp_path_factory.mktemp("shop")
    rows: list[dict[str, Any]] = []
    for color, rgb in COLORS.items():
        for shape in ("ball", "box"):
            image = Image.new("RGB", (120, 120), "white")
            draw = ImageDraw.Draw(image)
            (draw.ellipse if shape == "ball" else draw.rectangle)((20, 20, 100, 100), fill=rgb)
            image.save(folder / f"{color}-{shape}.png")
            price = 10.5 * (len(rows) + 1)
            rows.append({"sku": f"{color}-{shape}", "name": f"{color} {shape}", "image_url": f"{color}-{shape}.png",
                         "price": price, "color": color})  # fmt: skip
    rows[0]["name"] = "red ball [bold]rouge[/bold] 红色"
    rows.append({"name": "a row without an id"})
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "catalog.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def _run(folder: Path, *args: str, expect: int = 0) -> Result:
    """Runs a command on the shop of ``folder``; errors that nobody planned are raised."""
    uri = [] if args[0] == "--version" else ["--uri", str(folder / "shop.db")]
    done = CliRunner(catch_exceptions=False).invoke(cli, [*args, *uri])
    assert done.exit_code == expect, done.output
    return done


@pytest.fixture(scope="module")
def ingested(folder: Path) -> Result:
    return _run(folder, "ingest", str(folder / "catalog.jsonl"), "--max-reject-rate", "0.2")


@pytest.fixture
def shop(folder: Path, ingested: Result) -> Shop:
    return lambda *args, **options: _run(folder, *args, **options)


def test_a_dry_run_shows_everything_and_stores_nothing(folder: Path, tmp_path: Path) -> None:
    uri = tmp_path / "none.db"
    args = [
        "ingest",
        str(folder / "catalog.jsonl"),
        "--dry-run",
        "--uri",
        str(uri),
        "--types",
        "price=varchar",
    ]
    text = CliRunner().invoke(cli, args)
    assert text.exit_code == 0
    assert "mapping: id <- sku, title <- name, image <- image_url" in text.stdout
    assert ["price", "varchar", "column"] in [line.split() for line in text.stdout.splitlines()]
    assert "red-ball: red ball [bold]rouge[/bold] 红色" in text.stdout
    assert "line 7: map: " in text.stdout
    told = "an ingest would exit with 4: that is more than the --max-reject-rate allows"
    lines = text.stdout.splitlines()
    assert lines[0].endswith("catalog.jsonl: jsonl, 7 rows looked at, 1 would be rejected, nothing stored")
    assert lines[1] == told
    assert told not in CliRunner().invoke(cli, [*args, "--max-reject-rate", "0.2"]).stdout
    found = json.loads(CliRunner().invoke(cli, [*args, "--json"]).stdout)
    assert (found["rows_read"], found["kind"]) == (7, "jsonl")
    assert (found["rows_rejected"], found["too_many_rejects"]) == (1, True)
    assert {"name": "price", "type": "varchar", "typed": True} in found["fields"]
    assert [(reject["line"], reject["stage"]) for reject in found["rejected"]] == [(7, "map")]
    assert not uri.exists()


def test_an_ingest_shows_its_mapping_and_its_numbers(folder: Path, ingested: Result) -> None:
    assert ingested.stderr == ""
    lines = ingested.stdout.splitlines()
    assert lines[0].startswith("mapping: id <- sku, title <- name, image <- image_url")
    assert "7 read · 6 written · 0 unchanged · 1 rejected · 0 kept, a picture missing" in lines
    assert lines[-1].startswith("products: ")


def test_an_ingest_says_what_went_wrong_with_its_pictures(tmp_path: Path) -> None:
    rows = [{"id": f"p{n}", "title": f"shoe {n}", "image": f"gone-{n}.png"} for n in range(3)]
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = _run(tmp_path, "ingest", str(catalog))
    lines = done.stdout.splitlines()
    assert lines[1] == "3 read · 3 written · 0 unchanged · 0 rejected · 3 kept, a picture missing"
    assert lines[2].startswith("  3 × fetch, first on line 1: ")
    assert done.stderr == (
        "warning: 3 of 3 products lack a picture that the catalog names; see the reasons above "
        "(relative paths start at the catalog, or at --image-root DIR)\n"
    )
    rows = [row | {"image": "http://127.0.0.1:1/a.png"} for row in rows]
    catalog.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = _run(tmp_path, "ingest", str(catalog), "--allow-private-hosts", "--url-timeout", "1")
    assert done.stderr == (
        "warning: 3 of 3 products lack a picture that the catalog names; see the reasons above\n"
    )
    catalog.write_text('{"id": "a", "title": "shoe"}\n', encoding="utf-8")
    done = _run(tmp_path, "ingest", str(catalog), "--collection", "words")
    assert done.stdout.splitlines()[0] == "mapping: id, title; no pictures"
    assert done.stderr == ""


def test_an_ingest_notes_words_that_come_too_late_to_be_embedded(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text('{"id": "a", "title": "shoe"}\n', encoding="utf-8")
    assert _run(tmp_path, "ingest", str(catalog)).stderr == ""
    catalog.write_text('{"id": "a", "title": "shoe", "brand": "Acme"}\n', encoding="utf-8")
    told = _run(tmp_path, "ingest", str(catalog)).stderr
    assert told.startswith("note: this collection embeds title: brand is stored and can be filtered by, but ")
    assert told.count("\n") == 1


def test_a_catalog_without_a_known_title_is_told_how_to_name_it(tmp_path: Path) -> None:
    catalog = tmp_path / "shop.csv"
    catalog.write_text("sku,Was es ist\n1,shoe\n", encoding="utf-8")
    lines = _run(tmp_path, "ingest", str(catalog), "--dry-run").stdout.splitlines()
    assert lines[2] == "mapping: id <- sku; no title, no pictures: --mapping title=COLUMN names one"
    done = _run(tmp_path, "ingest", str(catalog), expect=4)
    assert "neither text nor a picture" in done.stdout
    # Nothing of the first try is left that would decide which text is embedded.
    _run(tmp_path, "query", "--text", "shoe", expect=25)
    done = _run(tmp_path, "ingest", str(catalog), "--mapping", "title=Was es ist")
    assert {"text: title", "encoded: 1 text"} <= set(done.stdout.splitlines())
    assert done.stderr == ""
    told = _run(tmp_path, "verify", str(catalog), "--mapping", "title=Was es ist").stdout
    assert told.startswith("1 row in the catalog (0 unusable) · 1 product stored\n")


def test_a_second_ingest_changes_nothing_and_json_is_all_that_is_printed(folder: Path, shop: Shop) -> None:
    done = shop("ingest", str(folder / "catalog.jsonl"), "--max-reject-rate", "0.2", "--json")
    report = json.loads(done.stdout)
    assert (report["read"], report["written"], report["unchanged"], report["rejected"]) == (7, 0, 6, 1)
    assert done.stderr == ""


def test_a_query_picture_on_a_private_host_needs_the_option_that_the_error_names(shop: Shop) -> None:
    with picture_host() as host:
        host.numbers["0"] = 0
        asked = ["query", "--image", host.url(0), "--limit", "1", "--json"]
        assert "use --allow-private-hosts if you trust it" in shop(*asked, expect=5).stderr
        assert len(json.loads(shop(*asked, "--allow-private-hosts").stdout)["hits"]) == 1


def test_an_id_may_be_among_the_fields(shop: Shop) -> None:
    done = shop("query", "--text", "red", "--fields", "id,price", "--limit", "1", "--json")
    (hit,) = json.loads(done.stdout)["hits"]
    assert (set(hit), set(hit["attributes"])) == ({"id", "score", "attributes"}, {"price"})


def test_too_many_rejects_exit_with_4_after_the_report(folder: Path, shop: Shop) -> None:
    done = shop("ingest", str(folder / "catalog.jsonl"), expect=4)
    assert "6 unchanged · 1 rejected" in done.stdout
    assert done.stderr.startswith("error: ")
    found = json.loads(shop("ingest", str(folder / "catalog.jsonl"), "--json", expect=4).stdout)
    assert (found["kind"], found["report"]["rejected"]) == ("TooManyRejects", 1)


def test_words_pictures_and_products_find_their_like(folder: Path, shop: Shop) -> None:
    def first(*args: str) -> str:
        best: str = json.loads(shop("query", *args, "--limit", "1", "--json").stdout)["hits"][0]["id"]
        return best

    assert first("--image", str(folder / "blue-box.png")) == "blue-box"
    assert first("--text", "green ball") == "green-ball"
    like = json.loads(shop("query", "--id", "red-box", "--json").stdout)
    assert (like["total"], len(like["hits"])) == (5, 5)
    assert "red-box" not in [hit["id"] for hit in like["hits"]]  # a product is not its own like


def test_json_is_the_page_of_the_library(folder: Path, shop: Shop) -> None:
    from mm_milvus import Client

    done = shop(
        "query", "--text", "ball", "--filter", "price < 40", "--limit", "2", "--offset", "1", "--json"
    )
    with Client(folder / "shop.db") as client:
        page = client.query("ball", filter="price < 40", limit=2, offset=1).to_dict()
    found = json.loads(done.stdout)
    assert done.stdout == json.dumps(found, ensure_ascii=False, indent=2) + "\n"
    assert found | {"took_ms": 0} == page | {"took_ms": 0}
    assert (found["total"], found["limit"], found["offset"], len(found["hits"])) == (3, 2, 1, 2)


def test_the_table_prints_markup_literally_and_counts_what_passes_the_filter(shop: Shop) -> None:
    done = shop("query", "--text", "red ball", "--filter", 'color == "red"', "--limit", "1")
    header, row, blank, line = done.stdout.splitlines()
    assert header.split() == ["#", "score", "id", "title", "price", "color"]
    assert "red ball [bold]rouge[/bold] 红色" in row
    assert row.split()[-2:] == ["10.5", "red"]
    assert blank == ""
    assert line.startswith("1 of 2 products · ")
    assert line.endswith(" ms")


def test_chosen_fields_come_with_the_title_in_the_table_and_alone_in_json(shop: Shop) -> None:
    table = shop("query", "--text", "red ball", "--fields", "color", "--limit", "1").stdout.splitlines()
    assert table[0].split() == ["#", "score", "id", "title", "color"]
    found = json.loads(
        shop("query", "--text", "red ball", "--fields", "color", "--limit", "1", "--json").stdout
    )
    assert list(found["hits"][0]["attributes"]) == ["color"]
    assert "'size'" in shop("query", "--text", "x", "--fields", "size", expect=11).stderr


def test_a_weight_and_its_sign_reach_the_search(folder: Path, shop: Shop) -> None:
    def order(weight: str) -> list[str]:
        signals = ("--text", "box^0.1", "--image", f"{folder / 'blue-box.png'}^{weight}")
        return [hit["id"] for hit in json.loads(shop("query", *signals, "--json").stdout)["hits"]]

    assert order("2")[0] == "blue-box"
    assert order("-2")[-1] == "blue-box"


def test_likes_dislikes_and_what_is_left_out(folder: Path, shop: Shop) -> None:
    from mm_milvus import Client

    def order(*args: str) -> list[str]:
        return [hit["id"] for hit in json.loads(shop("query", *args, "--json").stdout)["hits"]]

    liked = ("--like", "red-ball^0.5", "--unlike", "blue-box")
    with Client(folder / "shop.db") as client:
        expected = [hit.id for hit in client.recommend({"red-ball": 0.5}, unlike="blue-box")]
    assert order(*liked) == expected
    assert order(*liked, "--exclude", expected[0], "--exclude", expected[2]) == [expected[1], expected[3]]
    assert order("--id", "red-ball^-1")[-1] == expected[0]  # a weight of --id may push away


def test_the_number_of_all_products_is_counted_unless_it_is_not_asked_for(shop: Shop) -> None:
    asked = ("query", "--id", "red-ball", "--limit", "2")
    page = json.loads(shop(*asked, "--json").stdout)
    assert (page["total"], page["total_exact"]) == (5, True)
    page = json.loads(shop(*asked, "--no-count", "--json").stdout)
    assert (page["total"], page["total_exact"], len(page["hits"])) == (2, False, 2)
    assert "2 of at least 2 products" in shop(*asked, "--no-count").stdout


def test_nothing_found_is_a_success(shop: Shop) -> None:
    assert shop("query", "--text", "x", "--filter", "price > 1000").stdout == "no products match\n"


def test_errors_of_a_query_have_their_exit_codes(folder: Path, shop: Shop) -> None:
    assert "prize" in shop("query", "--text", "x", "--filter", "prize < 3", expect=11).stderr
    assert "nobody" in shop("query", "--id", "nobody", expect=26).stderr
    assert shop("query", "--image", str(folder / "catalog.jsonl"), expect=5).stderr.count("\n") == 1
    assert "give group_by, too" in shop("query", "--text", "x", "--group-size", "3", expect=2).stderr
    assert "did you mean 'price'?" in shop("query", "--text", "x", "--facet", "prise", expect=11).stderr
    assert shop("info", "--collection", "other", expect=25).stderr.count("\n") == 1


def test_a_web_page_holds_the_pictures(folder: Path, shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "answer.html"
    done = shop("query", "--image", f"{folder / 'red-ball.png'}^0.7", "--limit", "3", "--html", str(file))
    assert done.stdout.endswith(f"wrote {file}\n")
    page = file.read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 4
    assert "red ball [bold]rouge[/bold] 红色" in page
    assert str(folder) not in page
    refused = shop("query", "--text", "x", "--html", str(tmp_path / "no" / "x.html"), expect=2)
    assert "cannot write the web page" in refused.stderr


def test_get_shows_products_in_the_order_asked_for(shop: Shop) -> None:
    found = json.loads(shop("get", "blue-box", "red-ball", "--json").stdout)
    assert [product["id"] for product in found] == ["blue-box", "red-ball"]
    assert found[1]["attributes"]["title"] == "red ball [bold]rouge[/bold] 红色"
    text = shop("get", "blue-box").stdout.splitlines()
    assert text[0] == "blue-box"
    assert "  color  blue" in text
    some = shop("get", "blue-box", "nobody", "red-ball", "nothing", expect=26)
    assert some.stderr == "error: not stored: 'nobody', 'nothing'\n"
    assert [line for line in some.stdout.splitlines() if line[:1].strip()] == ["blue-box", "red-ball"]
    assert shop("get", "nobody", expect=26).stdout == ""
    refused = json.loads(shop("get", "blue-box", "nobody", "--json", expect=26).stdout)
    assert (refused["kind"], refused["exit_code"]) == ("ProductNotFound", 26)


def test_info_and_collections(folder: Path, shop: Shop) -> None:
    found = json.loads(shop("info", "--json").stdout)
    assert (found["collection"], found["rows"], found["uri"]) == ("products", 6, str(folder / "shop.db"))
    assert {"name": "price", "type": "double", "typed": True} in found["fields"]
    text = shop("info").stdout
    assert ["rows", "6"] in [line.split() for line in text.splitlines()]
    assert ["price", "double", "column"] in [line.split() for line in text.splitlines()]
    names = [line[2:15].strip() for line in text.split("\n\n")[0].splitlines()]
    assert names == ["uri", "collection", "rows", "server", "encoder", "fusion", "text fields", "index",
                     "created by"]  # fmt: skip
    assert "stamp.preprocessing" in shop("info", "--verbose").stdout
    assert json.loads(shop("info", "--verbose", "--json").stdout) == found
    assert shop("collections").stdout == "products\n"
    assert json.loads(shop("collections", "--json").stdout) == ["products"]


def test_delete_and_drop(folder: Path, tmp_path: Path) -> None:
    def run(*args: str, expect: int = 0) -> Result:
        return _run(tmp_path, *args, expect=expect)

    run("ingest", str(folder / "catalog.jsonl"), "--max-reject-rate", "0.2")
    assert run("delete", "--id", "red-ball", "--id", "nobody").stdout == "deleted 1 product\n"
    assert json.loads(run("delete", "--filter", "price > 50", "--yes", "--json").stdout) == {"deleted": 2}
    refused = run("delete", "--filter", "prize > 50", expect=11)
    assert refused.stderr.startswith("error: ")
    assert "prize" in refused.stderr
    assert "not a terminal, pass --yes" in run("delete", "--filter", "price > 1", expect=2).stderr
    assert "not a terminal, pass --yes" in run("drop", expect=2).stderr
    assert "--json asks no questions, pass --yes" in run("drop", "--json", expect=2).stderr
    conflict = run("drop", "other", "--collection", "products", "--yes", expect=2).stderr
    assert "'other' and --collection 'products' are two collections; give one" in conflict
    assert "there is no collection 'sku_1'" in run("drop", "sku_1", "--yes", expect=25).stderr
    assert run("drop", "products", "--yes").stdout == "dropped products with 3 products\n"
    assert run("info", expect=25).stdout == ""


_AT_THE_END = """
import atexit, gc, sys
from mm_milvus_cli.main import main
heavy = {"torch", "scipy", "transformers"}
tell = lambda: print(gc.isenabled(), gc.get_freeze_count() > 0, heavy & set(sys.modules), file=sys.stderr)
atexit.register(tell)
main()
"""


@pytest.mark.parametrize(
    ("args", "end"),
    [
        (["query", "--text", "red ball"], "False True set()"),
        (["query", "--text", "red ball", "--mode", "vector"], "False True set()"),
        (["get", "red-ball"], "False True set()"),
        (["verify", "catalog.jsonl"], "True True set()"),
    ],
)
def test_a_short_command_loads_little_and_looks_for_no_garbage(
    folder: Path, shop: Shop, args: list[str], end: str
) -> None:
    """A long one may make some; at the end none does."""
    program = [sys.executable, "-c", _AT_THE_END, *args, "--uri", "shop.db"]
    done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=folder)
    assert done.stderr.splitlines()[-1] == end


@pytest.mark.parametrize(
    ("args", "question"),
    [
        (["drop"], b"with its 6 products? [y/N]"),
        (["delete", "--filter", "price < 11"], b"Delete 1 product with price < 11? [y/N]"),
    ],
)
def test_a_person_at_a_terminal_is_asked_first(
    folder: Path, shop: Shop, args: list[str], question: bytes
) -> None:
    terminal, other_end = pty.openpty()
    program = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()"]
    with subprocess.Popen(
        [*program, *args, "--uri", str(folder / "shop.db")],
        stdin=other_end,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.write(terminal, b"n\n")
        out, err = process.communicate(timeout=60)
    os.close(terminal)
    os.close(other_end)
    assert (process.returncode, out) == (1, b"")
    assert question in err
    assert err.endswith(b"nothing was deleted\n")


def test_doctor_checks_and_demo_catalog_draws(tmp_path: Path) -> None:
    found = json.loads(_run(tmp_path, "doctor", "--json").stdout)
    assert found["ok"] is True
    assert {check["status"] for check in found["checks"]} <= {"ok", "warn"}
    assert _run(tmp_path, "doctor", "--verbose").stdout.count("\n") == len(found["checks"])
    drawn = CliRunner().invoke(cli, ["demo-catalog", str(tmp_path / "demo"), "--json"])
    catalog = Path(json.loads(drawn.stdout)["catalog"])
    assert catalog == tmp_path / "demo" / "catalog.jsonl"
    assert json.loads(catalog.read_text(encoding="utf-8").splitlines()[0])["image"].startswith("images/")


def test_own_queries_calibrate_mixtures_and_nothing_else(shop: Shop, folder: Path) -> None:
    def scores(*args: str) -> dict[str, float]:
        return {hit["id"]: hit["score"] for hit in json.loads(shop("query", *args, "--json").stdout)["hits"]}

    mixed = ("--image", str(folder / "red-ball.png"), "--text", "blue")
    before, words = scores(*mixed), scores("--text", "blue")
    queries = folder / "queries.txt"
    queries.write_text(
        "\ufeff" + "\n".join(f"blue box number {n} 蓝色\r" for n in range(30)), encoding="utf-8"
    )
    done = shop("calibrate", str(queries))
    assert done.stdout == "products: calibrated by 30 queries\n"
    assert json.loads(shop("info", "--json").stdout)["stamp"]["calibrated_by"] == 30
    after = scores(*mixed)
    assert after.keys() == before.keys()
    assert max(abs(after[id] - before[id]) for id in before) > 0.01
    assert scores("--text", "blue") == pytest.approx(words, abs=1e-6)
    assert json.loads(shop("calibrate", "--reset", "--json").stdout) == {
        "collection": "products",
        "calibrated_by": 0,
    }
    assert scores(*mixed) == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "at least 20 different queries, the more the better; here are 0"),
        (b"red\n" * 40, "here are 1"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_what_is_no_file_of_queries_is_said(
    shop: Shop, tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "queries.txt"
    if content is not None:
        file.write_bytes(content)
    assert message in shop("calibrate", str(file), expect=2).stderr
    assert "give either a file of queries or --reset" in shop("calibrate", expect=2).stderr
    assert "give either" in shop("calibrate", str(file), "--reset", expect=2).stderr


def test_explain_tells_signals_weights_and_how_they_mix(shop: Shop, folder: Path) -> None:
    shown = shop("query", "--image", str(folder / "red-ball.png"), "--text", "blue", "--explain").stdout
    assert "signals: text 'blue' 0.5 · image " in shown
    assert "red-ball.png' 0.5" in shown
    assert "composition sum" in shown
    assert "bridge 0.3" in shown
    shown = shop(
        "query", "--like", "red-ball", "--like", "blue-box", "--strategy", "best_score", "--explain"
    ).stdout
    assert "strategy best_score" in shown
