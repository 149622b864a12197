"""What a failing command prints and returns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from mm_milvus_cli.failures import reported
from mm_milvus_cli.main import cli

from mm_milvus import errors
from mm_milvus.errors import MmMilvusError, TooManyRejects
from mm_milvus.records import IngestReport

PROGRAM = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()"]
OURS = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, MmMilvusError)
]


def _failing(error: BaseException, *args: str) -> tuple[int, str, str]:
    @click.command()
    def fail() -> None:
        with reported(args):
            raise error

    done = CliRunner().invoke(fail, [])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_error_of_ours_is_one_line_and_its_exit_code(kind: type[MmMilvusError]) -> None:
    report = IngestReport("products", read=10, written=4, rejected=6)
    more = (report,) if kind in (TooManyRejects, errors.DeletionRefused) else ()
    error = kind("bad \x1b[31mthing\nhere", *more)
    assert _failing(error) == (kind.exit_code, "", "error: bad [31mthing here\n")


def test_with_json_the_error_is_an_object_too() -> None:
    code, out, err = _failing(errors.FilterError('no field "prize"'), "query", "--json")
    assert json.loads(out) == {"error": 'no field "prize"', "kind": "FilterError", "exit_code": 10}
    assert (code, err) == (10, 'error: no field "prize"\n')


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "没有 'é'"), ("ascii", "\\u6ca1\\u6709 '\\u00e9'")]
)
def test_with_json_the_error_is_utf8_and_escaped_where_the_terminal_lacks_it(
    encoding: str, shown: str
) -> None:
    program = (
        "from mm_milvus.errors import CatalogError; from mm_milvus_cli.failures import reported\n"
        "with reported(['--json']): raise CatalogError(\"没有 'é'\")"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert f'"error": "{shown}"'.encode() in done.stdout
    assert json.loads(done.stdout)["error"] == "没有 'é'"
    assert b"Traceback" not in done.stderr


def test_too_many_rejects_brings_its_report_along() -> None:
    report = IngestReport("products", read=10, written=4, rejected=6)
    code, out, _ = _failing(TooManyRejects("6 of 10 rows were rejected", report), "--json")
    assert code == 4
    assert json.loads(out)["report"] == report.to_dict()


def test_an_interrupt_exits_with_130() -> None:
    assert _failing(KeyboardInterrupt()) == (130, "", "error: interrupted\n")


def test_an_exception_that_nobody_planned_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reported([]):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["query"], "nothing to search for: give --text, --image or --id"),
        (["query", "--text", "x", "--crop", "1,2,3,4"], "--crop needs exactly one --image"),
        (["query", "--text", "x", "--crop", "1,2"], "expected x,y,width,height in whole pixels, got '1,2'"),
        (["query", "--text", "^3"], "Invalid value for '--text': there is nothing to search for"),
        (["query", "--text", "x", "--limit", "0"], "Invalid value for '--limit'"),
        (["query", "--txt", "x"], "No such option"),
        (["query", "--id", "a", "--unlike", "b^-0.5"], "'--unlike': the weight of 'b' has to be above 0"),
        (["query", "--like", "a^-0.4"], "'--like': the weight of 'a' has to be above 0"),
        (
            ["query", "red", "shoes"],
            "words are asked for with --text, pictures with --image: --text 'red shoes'",
        ),
        (["ingest"], "Missing argument 'CATALOG'"),
        (["ingest", "c.csv", "--mapping", "title"], "expected FIELD=VALUE, got 'title'"),
        (["ingest", "c.csv", "--mapping", "id=a", "--mapping", "id=b"], "'id' is given twice"),
        (["get"], "Missing argument 'ID...'"),
        (["delete"], "give either --id or --filter"),
        (["delete", "--id", "a", "--filter", "price > 1"], "give either --id or --filter"),
        (["sell"], "No such command 'sell'"),
    ],
)
def test_a_wrong_use_exits_with_2_and_says_what_is_wrong(args: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    named = args[0] if args[0] in cli.commands else ""
    assert done.stderr.endswith(f" (see {' '.join(('cli', named)).strip()} --help)\n")
    as_json = CliRunner().invoke(cli, [*args, "--json"])
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["exit_code"] == 2


def test_a_bad_setting_is_named_whether_it_comes_from_option_environment_or_file(tmp_path: Path) -> None:
    def stderr(args: list[str], env: dict[str, str] | None = None) -> str:
        done = CliRunner().invoke(cli, ["info", *args], env=env)
        assert done.exit_code == 2
        return done.stderr

    file = tmp_path / "shop.toml"
    file.write_text("colection = 'x'\n", encoding="utf-8")
    assert "bad value for 'device'" in stderr(["--device", "gpu"])
    assert "bad value for 'ef'" in stderr([], {"MM_MILVUS_EF": "0"})
    assert "unknown setting 'colection'" in stderr(["--config", str(file)])
    assert "cannot read the config file" in stderr(["--config", str(tmp_path / "none.toml")])


def test_a_database_that_does_not_exist_is_one_line_without_the_noise_of_libraries(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "info", "--uri", "none.db"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (23, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert os.listdir(tmp_path) == []


def test_a_server_that_does_not_answer_is_one_line_without_the_noise_of_libraries(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "info", "--uri", "http://127.0.0.1:1", "--timeout", "2"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (21, "", 1)


def test_a_reader_that_leaves_early_is_no_error_worth_a_message() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*PROGRAM, "query", "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_control_c_while_a_command_that_is_done_ends_brings_no_traceback() -> None:
    """As of a library that cleans up for a while."""
    slow = (
        "import atexit, os, signal, time\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(30)))\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", slow + PROGRAM[-1], "--version"],
        capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")
    assert done.stdout.startswith("mm-milvus ")


def test_control_c_ends_a_running_command_with_130(tmp_path: Path) -> None:
    fifo = tmp_path / "shop.toml"
    os.mkfifo(fifo)  # reading its settings blocks for ever
    listening = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # even in the background
    )
    program = [sys.executable, "-c", listening + PROGRAM[-1], "info", "--config", str(fifo)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process, fifo.open("w"):  # the open waits for the reader
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, "", "error: interrupted")
