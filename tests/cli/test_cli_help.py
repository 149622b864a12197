from __future__ import annotations

import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner
from mm_milvus_cli.main import cli
from mm_milvus_cli.options import catalog_options, ingest_options, search_options, shared_options

from mm_milvus.config import Settings

HEAVY = (
    "torch",
    "transformers",
    "pymilvus",
    "pandas",
    "pyarrow",
    "pydantic",
    "rich",
    "numpy",
    "PIL",
    "httpx",
    "tqdm",
)
COMMANDS = {
    "ingest",
    "verify",
    "query",
    "calibrate",
    "tokens",
    "train",
    "eval",
    "info",
    "get",
    "collections",
    "delete",
    "drop",
    "doctor",
    "demo-catalog",
}


def test_the_commands_are_these() -> None:
    assert set(cli.commands) == COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_every_option_has_help(name: str) -> None:
    command = cli.commands[name]
    assert command.help
    assert command.short_help
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []
    assert "\\b" not in CliRunner().invoke(cli, [name, "--help"]).stdout


@pytest.mark.parametrize("name", sorted(COMMANDS - {"demo-catalog"}))
def test_every_command_that_opens_a_collection_takes_the_shared_options(name: str) -> None:
    flags = {flag for param in cli.commands[name].params for flag in param.opts}
    assert flags >= {"--uri", "--token", "--collection", "--encoder", "--device", "--config", "--json"}


def test_every_setting_is_an_option_and_no_option_has_a_default_of_its_own() -> None:
    @click.command()
    @ingest_options
    @catalog_options
    @search_options
    @shared_options
    def everything(as_json: bool) -> None: ...

    own = {"config", "as_json"}
    assert {param.name for param in everything.params} - own == set(Settings.model_fields)
    assert everything.make_context("x", []).meta.get("mm_milvus.given") is None


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom mm_milvus_cli.main import cli\n"
        "try: cli(['query', '--help'])\nexcept SystemExit: pass\n"
        f"print('LOADED', sorted(set(sys.modules) & {set(HEAVY)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.alone
def test_help_starts_in_a_quarter_of_the_time_of_pymilvus() -> None:
    help_time = _fastest("from mm_milvus_cli.main import main; main()", "--help")
    assert help_time < _fastest("import pymilvus") / 4, f"--help took {help_time:.3f} s"


def _fastest(program: str, *args: str) -> float:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", program, *args], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began

    return min(once() for _ in range(4))


def test_version() -> None:
    done = CliRunner().invoke(cli, ["--version"])
    assert (done.exit_code, done.stdout) == (0, "mm-milvus 0.1.0\n")


def test_no_command_shows_the_help_and_fails() -> None:
    done = CliRunner().invoke(cli, [])
    assert done.exit_code == 2
    assert "demo-catalog" in done.output
