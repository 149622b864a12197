"""How the tests of connections look at a failure, in this process and through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from mm_milvus import Client
from mm_milvus.config import Settings
from mm_milvus.errors import MmMilvusError

PROGRAM = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()"]
SECRET = "hunter2-Zz"  # part of every wrong token; it may appear nowhere


@dataclass
class Failure:
    kind: type[BaseException]
    message: str
    seconds: float


def failure(uri: str, token: str | None = None, timeout: float = 5.0) -> Failure:
    """What listing the collections of ``uri`` raises."""
    started = time.monotonic()
    with Client(uri, token=token, config=Settings(timeout=timeout)) as shop:
        with pytest.raises(MmMilvusError) as caught:
            shop.collections()
        found = Failure(caught.type, str(caught.value), time.monotonic() - started)
    assert "\n" not in found.message
    assert SECRET not in found.message
    return found


def command(*args: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command line, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MM_MILVUS_")}
    done = subprocess.run(
        [*PROGRAM, *args],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert SECRET not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr
