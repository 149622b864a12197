"""A catalog in which nearly everything is wrong: nothing crashes, every defect is explained, good rows are stored."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mm_milvus import Client
from mm_milvus.errors import CatalogError, ConfigError, TooManyRejects
from mm_milvus.ingest import pictures
from mm_milvus.media import MediaPolicy
from mm_milvus.records import IngestReport
from tests.ingest.hostile import (
    EMOJI,
    FINE,
    INJECTION,
    PICTURES,
    QUOTED,
    READ,
    RENAMED,
    ROWS,
    Case,
    draw,
    encode,
    web_cases,
    wrong,
)  # fmt: skip
from tests.media.web import serve

PROGRAM = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()"]


@dataclass
class Hostile:
    """The catalog, what must become of its lines, and the first ingest of it."""

    catalog: Path
    cases: list[Case]
    report: IngestReport
    requests: list[Any]  # that the web server was asked

    @property
    def database(self) -> Path:
        return self.catalog.with_name("shop.db")

    @property
    def rejects(self) -> list[dict[str, Any]]:
        lines = self.catalog.with_suffix(".rejects.jsonl").read_bytes().split(b"\n")
        assert lines.pop() == b""
        return sorted(map(json.loads, lines), key=lambda line: line["line"])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    folder = tmp_path_factory.mktemp("hostile")
    draw(folder)
    catalog = folder / "catalog.jsonl"
    with serve() as web, pytest.MonkeyPatch.context() as patch:
        # The same limits, in less time.
        patch.setattr(pictures, "MediaPolicy", partial(MediaPolicy, retries=0))
        cases = [FINE[0], *READ, *FINE[1:], *PICTURES, *web_cases(web.port), *ROWS]
        # A byte order mark in front, and no newline at the end.
        catalog.write_bytes(b"\xef\xbb\xbf" + b"\n".join(case.line for case in cases))
        with Client(folder / "shop.db") as shop:
            yield Hostile(catalog, cases, ingest(catalog, shop), web.requests)


def ingest(catalog: Path, shop: Client) -> IngestReport:
    with pytest.raises(TooManyRejects) as caught:
        shop.ingest(catalog, allow_private_hosts=True, url_timeout=0.3, url_deadline=2.0)
    shop.close()
    return caught.value.report


def flags(shop: Client, cases: list[Case]) -> dict[str, bool]:
    """id -> has_image of what is stored of the cases."""
    ids = [case.id for case in cases if case.id]
    return {id: row.has_image for id, row in shop._open().stored(ids).items()}


def test_every_defect_is_in_the_rejects_file_and_nothing_else(hostile: Hostile) -> None:
    wrong = {number: case for number, case in enumerate(hostile.cases, 1) if case.stage}
    assert [reject["line"] for reject in hostile.rejects] == list(wrong)
    for reject in hostile.rejects:
        case = wrong[reject["line"]]
        found = (reject["id"], reject["stage"], reject.get("kept", False))
        assert found == (case.id, case.stage, case.stored), reject
        assert case.reason in reject["reason"], (case.id, reject["reason"])
        assert reject["reason"].isprintable()


def test_what_can_be_stored_is_stored(hostile: Hostile) -> None:
    cases, report = hostile.cases, hostile.report
    stored = {case.id: case.image for case in cases if case.stored}
    assert (report.read, report.written, report.unchanged) == (len(cases), len(stored), 0)
    assert report.rejected == len(cases) - len(stored)
    assert report.kept == sum(case.stored and case.stage != "" for case in cases)
    with Client(hostile.database) as shop:
        assert shop.info().rows == len(stored)
        assert flags(shop, cases) == stored
        (names,) = shop.get("names")
        assert names.attributes == {"title": "plain shoe", **RENAMED}
        (brackets,) = shop.get("brackets")
        assert (brackets.attributes["price"], brackets.attributes["price_currency"]) == (1299.0, "€")


def test_the_same_again_gives_the_same_rejects_and_writes_nothing(hostile: Hostile) -> None:
    file = Path(hostile.report.rejects_file or "")
    before = file.read_bytes().splitlines()
    with Client(hostile.database) as shop:
        again = ingest(hostile.catalog, shop)
    assert (again.written, again.unchanged) == (0, hostile.report.written)
    assert (again.rejected, again.kept) == (hostile.report.rejected, hostile.report.kept)
    assert sorted(file.read_bytes().splitlines()) == sorted(before)


def test_odd_ids_are_found_and_deleted_alone(hostile: Hostile, tmp_path: Path) -> None:
    shutil.copytree(hostile.database, tmp_path / "shop.db")
    with Client(tmp_path / "shop.db") as shop:
        left = shop.info().rows
        for id in (EMOJI, QUOTED, INJECTION, "号" * 170):
            assert [hit.id for hit in shop.get(id)] == [id]
            like = shop.query(id=id, limit=100)
            assert id not in [hit.id for hit in like]
            assert (
                left - 2 <= like.total == len(like) < left
            )  # one product has no text, what some of them are alone
            assert shop.delete(id) == 1
            left -= 1
            assert shop.info().rows == left


def test_the_command_line_ends_with_4_or_with_0_where_that_is_allowed(
    hostile: Hostile, tmp_path: Path
) -> None:
    """Without --allow-private-hosts the pictures on loopback are not even asked for."""
    asked = len(hostile.requests)
    rejects = tmp_path / "refused.jsonl"
    command = [*PROGRAM, "ingest", str(hostile.catalog), "--rejects", str(rejects), "--json"]
    strict = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    failed = json.loads(strict.stdout)
    assert (strict.returncode, failed["kind"], failed["exit_code"]) == (4, "TooManyRejects", 4)
    assert strict.stderr == (
        f"error: {hostile.report.rejected} of {hostile.report.read} rows were rejected, "
        f"more than the max_reject_rate of 0.05 allows; see {rejects}\n"
    )
    reasons = {line["id"]: line["reason"] for line in map(json.loads, rejects.read_bytes().splitlines())}
    assert "the host 127.0.0.1 is at 127.0.0.1, which is not a public address" in reasons["web-red"]
    assert "--allow-private-hosts" in reasons["web-late"]
    assert len(hostile.requests) == asked
    lenient = subprocess.run(
        [*command, "--max-reject-rate", "1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    report = json.loads(lenient.stdout)
    assert (lenient.returncode, lenient.stderr) == (0, "")
    assert (report["written"], report["unchanged"]) == (0, failed["report"]["written"])


def test_a_repaired_rejects_file_is_a_catalog(hostile: Hostile, tmp_path: Path) -> None:
    shutil.copytree(hostile.database, tmp_path / "shop.db")
    repaired = []
    for number, reject in enumerate(hostile.rejects):
        record: Any = {"id": reject["id"] or f"repaired-{number}", "title": "repaired shoe", "price": 7.0}
        if "duplicate" in reject["reason"]:
            record["id"] += "-2"
        if isinstance(reject["record"], str):  # a line that could not be parsed stays text
            record = json.dumps(record)
        repaired.append(json.dumps(reject | {"record": record}))
    path = tmp_path / "repaired.jsonl"
    path.write_text("\n".join(repaired), encoding="utf-8")
    with Client(tmp_path / "shop.db") as shop:
        report = shop.ingest(path)
        assert (report.read, report.written) == (len(repaired), len(repaired))
        assert (report.rejected, report.kept, report.rejects_file) == (0, 0, None)
        assert shop.info().rows == hostile.report.written + hostile.report.rejected
        assert shop.query(text="shoe", filter="price == 7.0").total == len(repaired)
        assert [hit.attributes["title"] for hit in shop.get(["text-70k", "repaired-0"])] == [
            "repaired shoe",
            "repaired shoe",
        ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"\xef\xbb\xbf\n \n", "is empty"),
        (
            "a.jsonl",
            b"nonsense\n{\n",
            "holds no rows that can be read; the first problem is on line 1: not JSON",
        ),
        ("a.jsonl", b'[{"id": "a"}]', "the first problem is on line 1: expected a JSON object"),
        ("a.json", b'[{"id": "a"}]', "is one JSON array"),
        ("a.jsonl", b'{"price": 1}\n', "has no column that can be the id; it has price"),
        ("a.jsonl", '{"id": "a"}'.encode("utf-16"), "is UTF-16"),
        ("a.jsonl.gz", b"\x1f\x8b\x08garbage", "catalog"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"id,title\n", "holds no rows"),
        ("a.csv", b"id,id\na,b\n", "two columns called 'id'"),
        ("a.csv", b"id,\xff\na,b\n", "is not valid UTF-8"),
        ("a.parquet", b"PAR1 no PAR1", "cannot read"),
        ("a.xlsx", b"PK", "is of no kind that can be read"),
    ],
)
def test_a_catalog_without_rows_is_an_error_and_makes_no_database(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with Client(tmp_path / "shop.db") as shop, pytest.raises(CatalogError) as caught:
        shop.ingest(tmp_path / name)
    assert reason in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.exit_code == 3
    assert os.listdir(tmp_path) == [name]


def test_a_catalog_of_rejects_alone_stores_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": null, "title": "x"}\n{"id": "a"}\n')
    with Client(tmp_path / "shop.db") as shop:
        with pytest.raises(TooManyRejects, match="2 of 2 rows were rejected") as caught:
            shop.ingest(tmp_path / "a.jsonl")
        assert caught.value.report.written == 0
        assert shop.collections() == []  # a mapping that is mended starts anew
        assert shop.ingest(tmp_path / "a.jsonl", max_reject_rate=1).rejected == 2
        assert shop.collections() == []
        (tmp_path / "a.jsonl").write_bytes(b'{"id": "a", "title": "x"}\n')
        assert (shop.ingest(tmp_path / "a.jsonl").written, shop.collections()) == (1, ["products"])


def test_a_table_with_bad_rows(tmp_path: Path) -> None:
    rows = [
        b"sku;name;price;image",
        b"a;Red shoe;9,99;",
        b"b;Blue boot;1.299,00 EUR;missing.png",
        b"c;too;many;values;here",
        b'd;"stray" quote;1,00;',
        b"e;Gr\xf6\xdfe;1,00;",
        b";no id;2,00;",
        b"a;again;3,00;",
        b"g;shoe;ask us;",
        b"h",
        b"i;nul\x00shoe;4,00;",
    ]
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(rows))
    with Client(tmp_path / "shop.db") as shop:
        with pytest.raises(TooManyRejects):
            shop.ingest(tmp_path / "a.csv")
        found = [json.loads(line) for line in (tmp_path / "a.rejects.jsonl").read_bytes().splitlines()]
        assert sorted((line["line"], line["id"], line["stage"], line["reason"]) for line in found) == [
            (3, "b", "fetch", "no such file: missing.png"),
            (4, None, "read", "5 values for 4 columns"),
            (5, None, "read", "not CSV: ';' expected after '\"'"),
            (6, None, "read", "not valid UTF-8; save the file as UTF-8"),
            (7, None, "map", "no id"),
            (8, "a", "map", "duplicate id 'a'"),
            (9, "g", "type", "price: expected double, got 'ask us' (string)"),
            (10, "h", "map", "neither text nor a picture"),
            (11, "i", "type", "title: holds a NUL character"),
        ]
        assert [(hit.id, hit.attributes["price"]) for hit in shop.get(["a", "b", "h"])] == [
            ("a", 9.99),
            ("b", 1299.0),
        ]


def test_a_stray_quote_and_a_cut_off_end_cost_their_own_lines(tmp_path: Path) -> None:
    rows = [f"p{n},shoe {n},{n}.50" for n in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["id,title,price", *rows]), encoding="utf-8")
    with Client(tmp_path / "shop.db") as shop:
        assert shop.ingest(tmp_path / "a.csv").written == 40
        rows = [row.replace("shoe", "boot") for row in rows]
        rows[9] = 'p9,"boot 9,9.50'
        rows[-1] = "p39,boo"
        (tmp_path / "a.csv").write_text("\n".join(["id,title,price", *rows]), encoding="utf-8")
        with pytest.raises(TooManyRejects):
            shop.ingest(tmp_path / "a.csv", max_reject_rate=0.04)
        report = shop.ingest(tmp_path / "a.csv", max_reject_rate=0.05)
        assert (report.read, report.unchanged, report.rejected) == (40, 38, 2)
        found = [json.loads(line) for line in (tmp_path / "a.rejects.jsonl").read_bytes().splitlines()]
        assert [(line["line"], line["reason"]) for line in found] == [
            (11, "not CSV: a quote that is never closed"),
            (41, "the file ends within this row: 2 values for 3 columns"),
        ]
        assert [hit.attributes for hit in shop.get(["p9", "p10", "p39"])] == [
            {"title": "shoe 9", "price": 9.5},
            {"title": "boot 10", "price": 10.5},
            {"title": "shoe 39", "price": 39.5},
        ]


def test_a_gzip_that_is_cut_off_gives_the_rows_before_the_cut(tmp_path: Path) -> None:
    rows = b"".join(encode({"id": f"p{n}", "title": os.urandom(8).hex()}) + b"\n" for n in range(40))
    whole = gzip.compress(rows)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with Client(tmp_path / "shop.db") as shop:
        report = shop.ingest(path, max_reject_rate=1)
        (reject,) = map(json.loads, (tmp_path / "a.rejects.jsonl").read_bytes().splitlines())
        assert (reject["line"], reject["id"], reject["stage"]) == (report.read, None, "read")
        assert "the file is damaged, nothing after this point was read" in reject["reason"]
        assert report.stopped == f"line {report.read}: {reject['reason']}"
        assert 0 < report.written == report.read - 1 < 39
        last = f"p{report.written - 1}"
        assert [hit.id for hit in shop.get(["p0", last, f"p{report.written}"])] == ["p0", last]


def test_a_folder_that_takes_no_rejects_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b'{"id": "a", "title": "shoe"}\n{"title": "no id"}\n')
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with Client(tmp_path / "shop.db") as shop:
        with pytest.raises(ConfigError, match="the rejects file .* cannot be made: Permission denied"):
            shop.ingest(folder / "a.jsonl")
        report = shop.ingest(folder / "a.jsonl", rejects=tmp_path / "rejects.jsonl", max_reject_rate=1)
        assert (report.written, report.rejected) == (1, 1)


@pytest.mark.parametrize(
    ("rejects", "reason"),
    [
        ("precious.txt", "precious.txt is not a rejects file, it is not overwritten"),
        ("folder", "folder is not a rejects file"),
    ],
)
def test_a_rejects_file_that_cannot_be(rejects: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": "a", "title": "shoe"}\n{"title": "no id"}\n')
    (tmp_path / "precious.txt").write_bytes(b"my thesis")
    (tmp_path / "folder").mkdir()
    with Client(tmp_path / "shop.db") as shop, pytest.raises(CatalogError, match=reason):
        shop.ingest(tmp_path / "a.jsonl", rejects=tmp_path / rejects)
    assert (tmp_path / "precious.txt").read_bytes() == b"my thesis"


def test_a_place_for_rejects_is_looked_for_before_anything_is_done(tmp_path: Path) -> None:
    """Also where no row is rejected: the next catalog may have one."""
    name = "a" * 245  # and its rejects file has a name that is too long
    (tmp_path / f"{name}.jsonl").write_bytes(b'{"id": "a", "title": "shoe"}\n')
    with Client(tmp_path / "shop.db") as shop:
        for options in (
            {},
            {"rejects": tmp_path / "no" / "r.jsonl"},
            {"rejects": tmp_path / f"{name}.jsonl/r"},
        ):
            with pytest.raises(ConfigError, match="cannot be made: .*; say with --rejects FILE") as caught:
                shop.ingest(tmp_path / f"{name}.jsonl", **options)
            assert caught.value.exit_code == 2
            assert os.listdir(tmp_path) == [f"{name}.jsonl"]
        assert shop.ingest(tmp_path / f"{name}.jsonl", rejects=tmp_path / "r.jsonl").written == 1
    assert not (tmp_path / "r.jsonl").exists()


def test_an_interrupt_does_not_wait_for_a_silent_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MediaPolicy", partial(MediaPolicy, retries=0))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
    with socket.create_server(("127.0.0.1", 0)) as silent, Client(tmp_path / "shop.db") as shop:

        def interrupt() -> None:
            with silent.accept()[0]:
                os.kill(os.getpid(), signal.SIGINT)
                finished.wait(8)

        rows = [
            wrong(f"p{n}", image=f"http://127.0.0.1:{silent.getsockname()[1]}/{n}.jpg") for n in range(40)
        ]
        (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(encode, rows)))
        finished = threading.Event()
        host = threading.Thread(target=interrupt)
        host.start()
        with pytest.raises(KeyboardInterrupt):
            shop.ingest(tmp_path / "a.jsonl", allow_private_hosts=True, url_timeout=8.0)
        assert host.is_alive()  # it was not waited for
        finished.set()
        host.join()
        assert shop.info().rows == 0
    signal.signal(signal.SIGINT, before)
