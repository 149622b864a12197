"""``sync`` deletes what has gone from the catalog, within limits, and only when all of the catalog was read."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mm_milvus_cli.main import cli

from mm_milvus.encoders.base import Encoder
from mm_milvus.errors import DeletionRefused, TooManyRejects
from tests.ingest.shops import Shop, rows

PROGRAM = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()"]


def test_what_has_gone_is_deleted_and_only_with_the_flag(small: Shop) -> None:
    small.ingest(rows(20))
    plain = small.ingest(rows(18))
    assert (plain.deleted, len(small.ids())) == (0, 20)
    synced = small.ingest(rows(18), sync=True)
    assert (synced.deleted, synced.unchanged, synced.written) == (2, 18, 0)
    assert small.ids() == [f"p{n:04}" for n in range(18)]
    again = small.ingest(rows(18), sync=True)
    assert (again.deleted, again.unchanged) == (0, 18)


def test_new_changed_and_gone_at_once(small: Shop) -> None:
    small.ingest(rows(20))
    products = rows(23)[3:]
    products[0]["title"] = "another thing"
    report = small.ingest(products, sync=True)
    assert (report.written, report.unchanged, report.deleted) == (4, 16, 3)
    assert small.ids() == [f"p{n:04}" for n in range(3, 23)]


def test_too_much_at_once_is_refused_and_nothing_is_deleted(small: Shop) -> None:
    small.ingest(rows(20))
    with pytest.raises(DeletionRefused, match=r"5 of 21 stored products.*max_delete_rate of 0\.2") as caught:
        small.ingest(rows(21)[5:], sync=True)
    assert caught.value.exit_code == 12
    report = caught.value.report
    assert (report.read, report.written, report.unchanged, report.deleted) == (16, 1, 15, 0)
    assert len(small.ids()) == 21
    allowed = small.ingest(rows(21)[5:], sync=True, max_delete_rate=0.25)
    assert (allowed.deleted, len(small.ids())) == (5, 16)


def test_the_limit_itself_is_still_allowed(small: Shop) -> None:
    small.ingest(rows(20))
    assert small.ingest(rows(16), sync=True, max_delete_rate=0.2).deleted == 4
    with pytest.raises(DeletionRefused):
        small.ingest(rows(15), sync=True, max_delete_rate=0)
    assert small.ingest(rows(16), sync=True, max_delete_rate=0).deleted == 0


@pytest.mark.parametrize("answer", [True, False])
def test_somebody_may_be_asked(small: Shop, answer: bool) -> None:
    small.ingest(rows(20))
    asked: list[tuple[int, int]] = []

    def confirm(count: int, stored: int) -> bool:
        asked.append((count, stored))
        return answer

    if answer:
        assert small.ingest(rows(10), sync=True, confirm=confirm).deleted == 10
    else:
        with pytest.raises(DeletionRefused):
            small.ingest(rows(10), sync=True, confirm=confirm)
    assert asked == [(10, 20)]
    assert len(small.ids()) == (10 if answer else 20)
    assert small.ingest(rows(len(small.ids()) - 1), sync=True, confirm=confirm).deleted == 1
    assert len(asked) == 1  # below the limit nobody is


@pytest.mark.parametrize(
    ("line", "number"),
    [('{"title": "no id"}', 12), ("nonsense", 12), ('{"id": "p0011", "title": "a", "price": NaN}', 12)],
)
def test_a_row_that_could_be_any_product_forbids_it(small: Shop, line: str, number: int) -> None:
    small.ingest(rows(20))
    path = small.write(rows(19))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[11] = line
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DeletionRefused, match=f"nothing was deleted: line {number} of the catalog") as caught:
        small.client.ingest(path, sync=True, max_reject_rate=1, confirm=lambda *_: True)
    assert (caught.value.report.rejected, len(small.ids())) == (1, 20)


def test_a_damaged_file_forbids_it(small: Shop, encoder: Encoder) -> None:
    small.ingest(rows(200))
    data = small.write(rows(200)).read_bytes()
    damaged = small.folder / "damaged.jsonl.gz"
    whole = gzip.compress(data)
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DeletionRefused, match="nothing was deleted") as caught:
        small.client.ingest(damaged, sync=True, max_delete_rate=1, max_reject_rate=1)
    assert "damaged" in (caught.value.report.stopped or "")
    assert len(small.ids()) == 200
    # A cut between two rows of a plain file cannot be told from a shorter catalog: there the limit helps.
    (small.folder / "short.jsonl").write_bytes(b"\n".join(data.splitlines()[:50]))
    with pytest.raises(DeletionRefused, match="150 of 200"):
        small.client.ingest(small.folder / "short.jsonl", sync=True)
    assert len(small.ids()) == 200


def test_rejected_rows_are_in_the_catalog_all_the_same(small: Shop) -> None:
    small.draw("a.png")
    products = [*rows(20, price=1.0), {"id": "bare", "image": "a.png"}]
    small.ingest(products)
    products[3]["price"] = "cheap"  # type
    products[4]["image"] = 7  # map
    (small.folder / "a.png").unlink()  # fetch
    del products[19]
    report = small.ingest(products, sync=True, max_reject_rate=1)
    assert (report.rejected, report.kept, report.deleted) == (2, 1, 1)
    assert small.ids() == ["bare", *(f"p{n:04}" for n in range(19))]


def test_an_ingest_that_rejects_too_much_deletes_nothing(small: Shop) -> None:
    products = rows(20, price=1.0)
    small.ingest(products)
    for product in products[:4]:
        product["price"] = "cheap"
    with pytest.raises(TooManyRejects, match="nothing was deleted") as caught:
        small.ingest(products[:18], sync=True)
    assert (caught.value.report.deleted, caught.value.report.rejected) == (0, 4)
    assert len(small.ids()) == 20


def test_ids_that_are_hard_to_quote(small: Shop) -> None:
    odd = ["it's", 'say "so"', "back\\slash", "号" * 100, "a' or id != 'a", "%", "a  b", "👟"]
    small.ingest([{"id": id, "title": "thing"} for id in [*odd, "stays"]])
    report = small.ingest([{"id": "stays", "title": "thing"}], sync=True, max_delete_rate=1)
    assert (report.deleted, small.ids()) == (len(odd), ["stays"])


def test_thousands_at_once(small: Shop) -> None:
    products = [row | {"title": f"thing {n % 7}"} for n, row in enumerate(rows(3000))]
    assert small.ingest(products).texts_encoded == 7
    with pytest.raises(DeletionRefused, match="2,900 of 3,000"):
        small.ingest(products[::30], sync=True)
    report = small.ingest(products[::30], sync=True, max_delete_rate=0.99)
    assert (report.deleted, report.unchanged) == (2900, 100)
    assert small.ids() == [row["id"] for row in products[::30]]


# On the command line


def command(small: Shop, *args: str) -> Result:
    """The command in this process; no terminal is there to be asked."""
    small.reopen()
    arguments = ["ingest", str(small.catalog), "--uri", str(small.database), "--sync", *args]
    return CliRunner(catch_exceptions=False).invoke(cli, arguments)


def test_the_command_refuses_with_12_and_its_report(small: Shop) -> None:
    small.ingest(rows(20))
    small.write(rows(10))
    refused = command(small)
    assert refused.exit_code == 12
    assert refused.stderr == (
        "error: nothing was deleted: 10 of 20 stored products are not in the catalog, "
        "more than the max_delete_rate of 0.2 allows; --yes deletes them all the same\n"
    )
    assert "10 read · 0 written · 10 unchanged · 0 rejected" in refused.stdout
    as_json = command(small, "--json")
    found: dict[str, Any] = json.loads(as_json.stdout)
    assert (as_json.exit_code, found["kind"], found["exit_code"]) == (12, "DeletionRefused", 12)
    assert (found["report"]["read"], found["report"]["deleted"]) == (10, 0)
    assert len(small.ids()) == 20


@pytest.mark.parametrize("options", [["--yes"], ["--yes", "--json"], ["--max-delete-rate", "0.5"]])
def test_the_command_may_be_told_to(small: Shop, options: list[str]) -> None:
    small.ingest(rows(20))
    small.write(rows(10))
    done = command(small, *options)
    assert (done.exit_code, done.stderr) == (0, "")
    if "--json" in options:
        assert json.loads(done.stdout)["deleted"] == 10
    else:
        assert "10 deleted" in done.stdout
    assert len(small.ids()) == 10


@pytest.mark.slow
def test_a_person_at_a_terminal_is_asked(small: Shop, tmp_path: Path) -> None:
    small.ingest(rows(20))
    small.write(rows(10))
    small.reopen()
    for answer, code, left in ((b"n\n", 12, 20), (b"y\n", 0, 10)):
        terminal, other_end = pty.openpty()
        with subprocess.Popen(
            [*PROGRAM, "ingest", str(small.catalog), "--uri", str(small.database), "--sync"],
            stdin=other_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            os.write(terminal, answer)
            _, err = process.communicate(timeout=60)
        os.close(terminal)
        os.close(other_end)
        assert process.returncode == code, err
        assert b"Delete 10 of 20 products that are not in the catalog? [y/N]" in err
        assert len(small.ids()) == left
        small.reopen()
