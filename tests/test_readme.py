"""README.md and docs/ stay true: their commands and programs run, their tables are those of the code.

python tests/test_readme.py      prints the tables of options and exit codes, to paste into README.md
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import shutil
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from mm_milvus_cli.demo_catalog import draw_catalog
from mm_milvus_cli.main import cli

from mm_milvus import Client, encoders, errors
from mm_milvus.config import ENV_PREFIX, Settings, load_settings
from mm_milvus.records import FieldType
from mm_milvus.store.filters import parse

from .encoders import tiny_models

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
SERVER = "http://localhost:19530"  # as the documents write it

# Commands that the walk through a document leaves out, each with the reason.
NOT_RUN = {
    "make ": "installs into .venv; test_demo.py runs the recipe, CI runs `make test`",
    "docker ": "needs a Docker engine; see test_compose_file.py",
    "pip ": "needs a package index",
    ".venv/bin/pip ": "needs a package index",
    "python3 -m venv ": "makes an environment",
    "source ": "is about the shell",
}
NO_HUB = "--encoder google/"  # the model would be downloaded
HUB_MODEL = "google/siglip2-base-patch16-224"
STAND_IN = {"late-interaction.md"}  # documents in which a tiny model of the same family takes its place
FOREIGN_OPTIONS = {"--index-url", "--data", "--names", "--no-deps", "--only"}  # of pip and of benchmarks
# What the filters in docs/filters.md ask for beyond the attributes of the demo catalog.
MORE_FIELDS = {"specs": FieldType.JSON, "net weight": FieldType.DOUBLE, "size-eu": FieldType.DOUBLE}


@dataclass(frozen=True)
class Block:
    """A fenced block; ``name`` is the file that it is, where its fence names one."""

    language: str
    name: str
    text: str


@dataclass(frozen=True)
class Command:
    line: str
    shown: str  # the output below it, "" where the document shows none
    exit_code: int

    @property
    def args(self) -> list[str]:
        return shlex.split(self.line, comments=True)


def blocks_of(document: Path) -> list[Block]:
    fences = re.finditer(
        r"^```(\w*) ?(\S*)\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [Block(*fence.groups()) for fence in fences]


def commands_of(block: Block) -> list[Command]:
    if block.language == "bash":
        return [_command(line, "") for line in block.text.splitlines()]
    if block.language != "console":
        return []
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert parts[0] == "", f"a console block begins with a command: {block.text}"
    return [_command(*part.partition("\n")[::2]) for part in parts[1:]]


def _command(line: str, shown: str) -> Command:
    code = re.search(r"# exits with (\d+)", line)
    return Command(line, shown, int(code[1]) if code else 0)


# --- the walk: everything that a document tells its reader to do, in its order, in one folder ---------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` leaves behind: demo/ with pictures, catalog and database."""
    folder = tmp_path_factory.mktemp("made")
    catalog = draw_catalog(folder / "demo")
    with Client(folder / "demo" / "demo.db") as shop:
        shop.ingest(catalog)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder after `make demo`, as the current one."""
    for name in Settings.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    # One process stands for many; loading the weights once is enough.
    monkeypatch.setattr(encoders, "load_encoder", functools.cache(encoders.load_encoder))
    shutil.copytree(made, tmp_path / "reader")
    monkeypatch.chdir(tmp_path / "reader")
    return tmp_path / "reader"


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_everything_in_a_document_runs(document: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ""  # of the last command
    model = str(tiny_models.siglip(folder / "model", side=64)) if document.name in STAND_IN else ""
    for block in blocks_of(document):
        if block.name and block.name != "mm-milvus.toml":  # that one would change what follows
            (folder / block.name).write_text(block.text, encoding="utf-8")
        for command in commands_of(block):
            here = replace(command, line=command.line.replace(HUB_MODEL, model)) if model else command
            answer = _follow(here, monkeypatch)
        if block.language == "python":
            exec(compile(block.text, document.name, "exec"), {"__name__": "__main__"})
        if block.language == "json" and document.name == "json.md":
            assert answer, f"no command stands before {block.text}"
            assert _shape(json.loads(block.text)) == _shape(json.loads(answer)), block.text
            answer = ""


def _follow(command: Command, monkeypatch: pytest.MonkeyPatch) -> str:
    if command.line.startswith(tuple(NOT_RUN)) or SERVER in command.line or NO_HUB in command.line:
        return ""
    program, *args = command.args
    if program == "export":
        monkeypatch.setenv(*args[0].split("=", 1))
        return ""
    assert program == "mm-milvus", f"what is {command.line!r}? name it in NOT_RUN if it cannot run here"
    done = CliRunner(catch_exceptions=False).invoke(cli, args)
    assert done.exit_code == command.exit_code, f"{command.line}\n{done.output}"
    if command.shown:
        _compare(command.shown, done.stdout)
    return done.stdout if "--json" in args else ""


def _compare(shown: str, printed: str) -> None:
    """A table of hits has the same products with nearly the same scores; anything else is the same text."""
    hits, expected = _hits(printed), _hits(shown)
    if not expected:
        assert _timeless(printed) == _timeless(shown)
    assert [id for id, _ in hits] == [id for id, _ in expected], printed
    assert [score for _, score in hits] == pytest.approx([score for _, score in expected], abs=0.01), printed


def _timeless(text: str) -> str:
    """Digits of times, and the blanks that fill columns up to them, are another machine's."""
    return re.sub(r" {2,}", "  ", re.sub(r"[\d.,]+ (m?s)\b", r"... \1", text))


def _hits(table: str) -> list[tuple[str, float]]:
    """(id, score) of each line of a table; processors differ in the last digits of a score."""
    found = re.findall(r"^ *\d+ +(-?[\d.]+) +(\S+)", table, flags=re.MULTILINE)
    return [(id, float(score)) for score, id in found]


def _shape(value: Any) -> Any:
    """Keys and types; the first element stands for a list."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shape(item) for item in value[:1]]
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "text"


@pytest.mark.server
def test_the_server_commands_run_on_a_server(
    server_uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MM_MILVUS_COLLECTION", f"readme_{uuid.uuid4().hex[:8]}")
    blocks = blocks_of(README)
    catalog = next(block for block in blocks if block.name == "catalog.jsonl")
    (folder / catalog.name).write_text(catalog.text, encoding="utf-8")
    lines = [command.line for block in blocks for command in commands_of(block) if SERVER in command.line]
    assert [shlex.split(line)[1] for line in lines] == ["ingest", "query"]
    try:
        for line in lines:
            args = shlex.split(line.replace(SERVER, server_uri))[1:]
            answer = CliRunner(catch_exceptions=False).invoke(cli, args)
            assert answer.exit_code == 0, answer.output
        assert _hits(answer.stdout)[0][0] == "mug-1"
    finally:
        with Client(server_uri) as shop:
            shop.drop()


# --- what the documents say about the code ------------------------------------------------------------------


def option_table() -> str:
    """The table of settings in README.md, from the settings themselves and from the options of the commands."""
    rows = ["| setting | option | variable | default | meaning |", "|---|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default in (None, (), {}) else f"`{json.dumps(default)}`".replace('"', "")
        variable = ENV_PREFIX + name.upper()
        rows.append(f"| `{name}` | `{_option(name)}` | `{variable}` | {shown} | {field.description} |")
    return "\n".join(rows)


def _option(name: str) -> str:
    options = (option for command in cli.commands.values() for option in command.params)
    return next(
        flag for option in options if option.name == name for flag in option.opts if flag.startswith("--")
    )


def exit_table() -> str:
    """The table of exit codes in README.md, from the drawing in errors.py."""
    drawn = re.findall(r"^[ │├└─]+(\w+) +(\d+) +(.+)$", errors.__doc__ or "", flags=re.MULTILINE)
    assert {name: int(code) for name, code, _ in drawn} == {
        name: getattr(errors, name).exit_code for name in errors.__all__
    }
    rows: dict[int, list[tuple[str, str]]] = {}
    for name, code, meaning in drawn:
        rows.setdefault(int(code), []).append((f"`{name}`", meaning))
    rows[0] = [("", "it went well")]
    lines = [
        f"| {code} | {', '.join(n for n, _ in rows[code])} | {'; '.join(m for _, m in rows[code])} |"
        for code in sorted(rows)
    ]
    return "\n".join(["| code | error | meaning |", "|---|---|---|", *lines])


def test_the_option_table_is_that_of_the_settings() -> None:
    assert option_table() in README.read_text(encoding="utf-8"), f"paste this:\n{option_table()}"


def test_the_exit_codes_are_those_of_the_errors() -> None:
    assert exit_table() in README.read_text(encoding="utf-8"), f"paste this:\n{exit_table()}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_option_that_is_named_exists(document: Path) -> None:
    known = {flag for command in cli.commands.values() for option in command.params for flag in option.opts}
    known |= {"--help", "--version", *FOREIGN_OPTIONS}
    named = re.findall(r"(?<![\w-])--[a-z][a-z-]*", document.read_text(encoding="utf-8"))
    assert sorted(set(named) - known) == []


def test_the_config_files_are_valid(tmp_path: Path) -> None:
    files = [block for document in DOCUMENTS for block in blocks_of(document) if block.language == "toml"]
    assert {file.name for file in files} == {"mm-milvus.toml", "shop.toml"}
    for file in files:
        path = tmp_path / file.name
        path.write_text(file.text, encoding="utf-8")
        settings = load_settings(path, environ={})
        assert settings.model_fields_set == set(tomllib.loads(file.text))


def test_the_filters_are_valid(made: Path) -> None:
    with Client(made / "demo" / "demo.db") as shop:
        fields = {field["name"]: FieldType(field["type"]) for field in shop.info().fields} | MORE_FIELDS
    blocks = [block for document in DOCUMENTS for block in blocks_of(document) if block.language == "filter"]
    lines = [line for block in blocks for line in block.text.splitlines()]
    assert len(lines) > 20
    for line in lines:
        parse(line, fields)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in _links(document):
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.is_file(), target
        assert not anchor or anchor in _anchors(file), target


def _links(document: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith(("https://", "http://")):
            yield target


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_document_can_be_reached_from_the_readme() -> None:
    assert {target for target in _links(README) if target.startswith("docs/")} == {
        f"docs/{document.name}" for document in DOCUMENTS[1:]
    }


def test_the_torch_that_is_installed_first_is_the_one_that_make_installs() -> None:
    named = re.search(
        r"^\.venv/bin/pip install (torch==\S+)", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert named is not None
    assert named[1] in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    click.echo(f"{option_table()}\n\n{exit_table()}")
