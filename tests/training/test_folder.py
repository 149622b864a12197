"""The folder of a training: one at a time writes to it, and what is damaged in its cache is made anew."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from mm_milvus_cli.main import cli

from mm_milvus import Client, Settings
from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.trainable import trainable
from mm_milvus.errors import ConfigError
from mm_milvus.files import only_one
from mm_milvus.media import MediaReader
from mm_milvus.training import Step, TrainSettings, train
from mm_milvus.training.encode import load_array
from mm_milvus.training.pictures import read_pictures
from tests.encoders import tiny_models
from tests.training.shapes import draw, make_catalog

KINDS = ("linear", "ridge", "late-interaction")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """24 products in a database, by an encoder that has tokens."""
    folder = tmp_path_factory.mktemp("place")
    encoder = str(tiny_models.clip(folder / "clip"))
    settings = Settings(uri=str(folder / "shop.db"), encoder=encoder, device="cpu", dtype="float32")
    with Client(config=settings) as client:
        client.ingest(make_catalog(folder / "catalog"))
    return settings


def settings_of(out: Path, kind: Any, **options: Any) -> TrainSettings:
    steps: dict[str, Any] = {} if kind == "ridge" else {"epochs": 2, "dim": 8}
    return TrainSettings(out=out, from_catalog=True, fusion=kind, **steps | options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# --- two at once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_training_is_refused_and_disturbs_nothing(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--from-catalog", "--uri", place.uri, "--out", "heads/same", "--overwrite"]
    program = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()", *words, "--fusion", kind]
    refused: list[tuple[int, str, str]] = []

    def told(step: Step) -> None:
        if not refused or (step.phase == "training" and len(refused) < 2):  # at once, and in its midst
            done = subprocess.run(program, check=False, capture_output=True, text=True)
            refused.append((done.returncode, done.stdout, done.stderr))

    report = train(settings_of(Path("heads/same"), kind), place, progress=told)
    assert refused == [(2, "", "error: another training is running in 'heads/same'\n")] * 2
    assert report.resumed_from == 0
    train(settings_of(Path("heads/alone"), kind), place)
    assert contents(Path("heads/same")).keys() == contents(Path("heads/alone")).keys()
    for name in ("head.safetensors", "projection.safetensors"):
        assert contents(Path("heads/same")).get(name) == contents(Path("heads/alone")).get(name)
    # It is free again.
    train(settings_of(Path("heads/same"), kind, overwrite=True), place)


def test_what_a_killed_process_had_locked_is_free(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\nfrom mm_milvus.files import only_one\n"
        "with only_one(pathlib.Path(sys.argv[1])): print(1, flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    with only_one(tmp_path) as alone:
        assert not alone
    process.kill()
    process.communicate()
    with only_one(tmp_path) as alone:
        assert alone
    assert list(tmp_path.iterdir()) == []


# --- a damaged cache ---------------------------------------------------------------------------------------


def array(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


DAMAGES = {
    "empty": b"",
    "junk": b"junk\n" * 40,
    "zip": b"PK\x03\x04" + b"\0" * 40,
    "header": array(np.zeros(3, np.float32)).replace(b"'descr'", b"'descr("),
    "cut": array(np.zeros((40, 40), np.float32))[:-9],
    "objects": array(np.array([{"a": 1}], object)),
    "shape": array(np.zeros((2, 3), np.float32)),
    "type": array(np.zeros(2, "U5")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_array_that_is_damaged_or_other_than_expected_is_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npy"
    assert load_array(path, (2,), np.float32) is None
    path.write_bytes(array(np.ones(2, np.float32)))
    found = load_array(path, (2,), np.float32)
    assert found is not None and found.tolist() == [1, 1]
    path.write_bytes(DAMAGES[damage])
    assert load_array(path, (2,), np.float32) is None


@pytest.mark.parametrize(
    ("kind", "suffixes"), [("linear", [".npy"]), ("late-interaction", [".npy", ".bin", ".json"])]
)
def test_what_is_damaged_in_the_cache_is_made_anew(
    place: Settings, tmp_path: Path, kind: str, suffixes: list[str]
) -> None:
    settings = settings_of(tmp_path / "v1", kind, overwrite=True)
    train(settings, place)
    cache = tmp_path / "v1" / "cache"
    kept, made = contents(cache), contents(tmp_path / "v1")
    weights = next(name for name in made if name.endswith(".safetensors"))
    assert {Path(name).suffix for name in kept} == set(suffixes)
    for number, suffix in enumerate(suffixes):
        for name in kept:
            if name.endswith(suffix):
                (cache / name).write_bytes((b"", b"junk\n" * 40, kept[name][:-1])[number])
        train(settings, place)
        assert contents(cache) == kept
    assert contents(tmp_path / "v1")[weights] == made[weights]


@pytest.mark.parametrize("suffix", [".bin", ".json"])
@pytest.mark.parametrize("damage", [b"", b"[1, 2]", b'["a", null]', b"{}", b"[-1, 1]"])
def test_damaged_files_of_pictures_are_made_anew(tmp_path: Path, suffix: str, damage: bytes) -> None:
    draw(tmp_path / "a.png", "disc", "red")
    encoder = load_encoder(str(tiny_models.clip(tmp_path / "clip")), device="cpu", dtype="float32")
    compact, cache = trainable(encoder).compact, tmp_path / "cache"
    cache.mkdir()

    def read() -> Any:
        with MediaReader() as reader:
            return read_pictures(
                [("a.png", 0), ("no.png", 0)], encoder, compact, reader,
                base=tmp_path, cache=cache, progress=lambda *_: None,
            )  # fmt: skip

    path = read().path
    kept = contents(cache)
    path.with_suffix(suffix).write_bytes(damage)
    assert read().readable.tolist() == [True, False]
    assert contents(cache) == kept
    path.write_bytes(b"\xff" * len(kept[path.name]))  # of the same size, which no look at it tells
    with pytest.raises(ConfigError, match=rf"the pictures in .*{path.name}' are damaged .*delete that file"):
        read().load(np.array([0]))


# --- a folder that is used again ---------------------------------------------------------------------------


def test_a_head_that_was_trained_again_is_told_from_another_and_named_anew(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*args: str, code: int = 0) -> list[str]:
        done = CliRunner(catch_exceptions=False).invoke(cli, [*args, "--uri", place.uri, "--device", "cpu"])
        assert done.exit_code == code, done.output
        return (done.stderr if code else done.stdout).splitlines()

    monkeypatch.chdir(tmp_path)
    catalog = str(Path(place.uri).parent / "catalog" / "catalog.jsonl")
    words = ["train", "--from-catalog", "--dim", "8", "--epochs", "1", "--dev-share", "0"]
    words += ["--out", "heads/v1"]
    encoder = ["--encoder", str(place.encoder)]
    ingest = ["ingest", catalog, *encoder, "--fusion", "heads/v1", "--collection"]

    def proposed(*more: str) -> str:
        return run(*words, *more)[-1].partition("next: mm-milvus ")[2].split("--collection ")[1].split()[0]

    assert proposed() == "products_v1"
    run(*ingest, "products_v1")
    assert proposed("--overwrite", "--seed", "1") == "products_v1_2"
    (line,) = run(*ingest, "products_v1", code=8)
    found = json.loads(Path("heads/v1/report.json").read_text())
    assert "--collection products_v1_2" in found["next"]
    assert line.startswith("error: collection 'products_v1' was fused with the head fp:")
    assert " in '" + str(tmp_path / "heads" / "v1") + "', which was trained again since (fp:" in line
    advice = "; use another --collection, or remove this one first with mm-milvus drop products_v1"
    assert line.endswith(advice)
    # By another name of the same folder, too, and what is advised can be done.
    Path("linked").symlink_to("heads")
    linked = ["linked/v1" if word == "heads/v1" else word for word in ingest]
    assert run(*linked, "products_v1", code=8)[0].endswith(advice)
    run("drop", "products_v1", "--yes")
    run(*ingest, "products_v1")
    run("drop", "products_v1", "--yes")
