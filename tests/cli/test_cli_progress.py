"""What a long work says of itself while it runs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from mm_milvus_cli.demo_catalog import draw_catalog
from mm_milvus_cli.main import cli
from mm_milvus_cli.progress import Phases

from mm_milvus import Client, Settings

PROGRAM = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()"]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shop")
    settings = Settings(uri=str(folder / "demo.db"))
    with Client(config=settings) as client:
        client.ingest(draw_catalog(folder / "demo"))
    return settings.uri


def on_terminal(*args: str, columns: int = 0) -> str:
    """What the command writes to stderr, which is a terminal; 0 columns are those of one that nobody has opened."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([*PROGRAM, *args], stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        found = b""
        while part := _read(ours):
            found += part
    os.close(ours)
    assert process.returncode == 0, found
    return found.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # EIO: nobody holds the other end any more
        return b""


@pytest.mark.parametrize("columns", [0, 100])
def test_a_training_draws_a_bar_for_each_phase_on_a_terminal(uri: str, tmp_path: Path, columns: int) -> None:
    args = ["train", "--from-catalog", "--epochs", "1", "--dim", "16", "--uri", uri]
    found = on_terminal(*args, "--out", str(tmp_path / "v1"), columns=columns)
    for phase in ("reading products", "encoding texts", "training"):
        assert f"\r{phase}:   0%" in found


def test_with_json_there_is_no_bar(uri: str, tmp_path: Path) -> None:
    args = ["train", "--from-catalog", "--epochs", "1", "--dim", "16", "--uri", uri]
    assert on_terminal(*args, "--out", str(tmp_path / "v1"), "--json") == ""


def test_in_a_pipe_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with Phases(seconds=0) as tell:
        tell("reading products", 86, 1086)
        tell("training", 2, 4, "nDCG@10 0.431 -> 0.512")
    assert capsys.readouterr().err.splitlines() == [
        "reading products: 86 of 1,086",
        "training: 2 of 4, nDCG@10 0.431 -> 0.512",
    ]
    with Phases(seconds=60) as tell:
        tell("training", 1, 4)
    with Phases(seconds=0, quiet=True) as tell:
        tell("training", 1, 4)
    assert capsys.readouterr().err == ""


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A Ctrl-C when so many steps of the training are done; 0 for none any more."""

    def stop(at: int) -> None:
        def tell(_: Phases, phase: str, done: int, *more: object) -> None:
            if phase in ("training", "encoding tokens") and done == at:
                raise KeyboardInterrupt

        monkeypatch.setattr(Phases, "__call__", tell)

    return stop


def test_an_interrupted_training_says_how_it_goes_on(
    uri: str, tmp_path: Path, stopping: Callable[[int], None]
) -> None:
    args = [
        "train",
        "--from-catalog",
        "--epochs",
        "3",
        "--dim",
        "16",
        "--uri",
        uri,
        "--out",
        str(tmp_path / "v1"),
    ]
    stopping(1)
    early = CliRunner().invoke(cli, args)
    assert early.stderr.strip() == "error: interrupted; no epoch had ended: the same command begins again"
    steps = 3  # of an epoch: 551 pairs
    stopping(steps + 1)
    later = CliRunner().invoke(cli, args)
    assert (later.exit_code, later.stdout) == (130, "")
    assert later.stderr.strip() == "error: interrupted; the same command goes on from here"
    anew = CliRunner().invoke(cli, [*args, "--overwrite", "--json"])
    assert json.loads(anew.stdout) == {
        "error": "interrupted; the same command without --overwrite goes on from here",
        "kind": "Interrupted",
        "exit_code": 130,
    }
    stopping(0)
    done = CliRunner().invoke(cli, args)
    assert "of 3, 1 of them by an earlier run" in done.stdout
