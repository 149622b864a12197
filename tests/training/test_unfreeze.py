"""Encoders whose last layers are trained on a shop's pairs: small models, real pictures, Milvus Lite."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mm_milvus_cli.main import cli
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel

from mm_milvus import Client, Settings
from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.trainable import trainable
from mm_milvus.errors import ConfigError, NotSupported
from mm_milvus.fusion import load_head
from mm_milvus.media import MediaReader
from mm_milvus.training import TrainSettings, finetune, train
from mm_milvus.training.pictures import read_pictures
from tests.encoders import tiny_models
from tests.training.shapes import COLOURS, WORDS, Shop, draw, make_catalog, make_pairs


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("joint")
    return Shop(folder, str(tiny_models.chinese_clip(folder / "clip")))


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("apart")
    return Shop(folder, f"towers:{tiny_models.vit(folder / 'vit')}+{tiny_models.bert(folder / 'bert')}")


# --- what it brings ----------------------------------------------------------------------------------------


def test_words_find_shapes_that_a_frozen_model_cannot_tell_apart(joint: Shop, tmp_path: Path) -> None:
    report = joint.train(tmp_path / "v1")
    layers = report.unfrozen
    assert layers is not None and layers.ndcg is not None and layers.ndcg_start is not None
    assert layers.test_ndcg is not None and layers.test_ndcg_start is not None
    assert max(layers.ndcg_start, layers.test_ndcg_start) < 0.5
    assert min(layers.ndcg - layers.ndcg_start, layers.test_ndcg - layers.test_ndcg_start) > 0.3
    assert (report.ndcg_start, report.test_ndcg_start) == (layers.ndcg_start, layers.test_ndcg_start)
    assert (layers.won, report.won, report.judged_by) == (None, None, "test")
    # Four queries are too few to tell: were all of them better, chance would do so in 2 of 16 cases.
    assert layers.p is not None and report.p is not None and min(layers.p, report.p) >= 0.125
    assert (layers.layers, layers.unread_pictures) == (2, 0)
    assert layers.parameters == sum(value.numel() for value in unfrozen(joint.encoder).values())
    head = joint.train(tmp_path / "head-alone", unfreeze=0, encoder_lr=None)
    assert head.ndcg_start == pytest.approx(layers.ndcg_start)  # both start where ``blocks`` ranks
    assert head.ndcg is not None and head.test_ndcg is not None
    assert layers.ndcg + layers.test_ndcg > head.ndcg + head.test_ndcg + 0.1
    assert head.unfrozen is None


def test_towers_learn_as_well(apart: Shop, tmp_path: Path) -> None:
    """Words cannot find pictures here: photos of one shape do."""
    lines = [
        {
            "query": {"image": f"catalog/{number}.png"},
            "product": f"{shape}-{COLOURS[other]}",
            "split": ("train", "dev", "test")[max(0, number % 6 - 3)],
        }
        for number, shape in ((n, list(WORDS)[n // 6]) for n in range(24))
        for other in range(6)
        if other != number % 6
    ]
    pairs = apart.folder / "photos.jsonl"
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    report = apart.train(tmp_path / "v1", pairs=pairs)
    layers = report.unfrozen
    assert layers is not None and layers.ndcg is not None and layers.ndcg_start is not None
    assert layers.encoder == f"towers:{tmp_path}/v1/encoder/image+{tmp_path}/v1/encoder/text"
    assert layers.ndcg > layers.ndcg_start + 0.1


def unfrozen(name: str, layers: int = 2) -> dict[str, torch.nn.Parameter]:
    return trainable(load_encoder(name, device="cpu", dtype="float32")).unfreeze(layers)


@pytest.mark.parametrize("layers", [1, 2])
def test_no_other_weight_changes(joint: Shop, tmp_path: Path, layers: int) -> None:
    joint.train(tmp_path / "v1", epochs=1, unfreeze=layers)
    # As they are loaded: transformers fills the row of the padding token with zeros.
    before, after = (
        AutoModel.from_pretrained(folder).state_dict()
        for folder in (joint.encoder, tmp_path / "v1" / "encoder")
    )
    assert before.keys() == after.keys()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    names = {name.partition(".")[2] for name in unfrozen(joint.encoder, layers)}
    # A bias of keys shifts all scores of a query alike: its gradient is nothing but rounding.
    assert changed <= names
    assert {name for name in names - changed if not name.endswith(("k_proj.bias", "key.bias"))} == set()


def test_the_gradients_of_parts_are_those_of_the_whole(joint: Shop, tmp_path: Path, monkeypatch: Any) -> None:
    joint.train(tmp_path / "parts", epochs=1)
    monkeypatch.setitem(finetune._AT_ONCE, "cpu", 1_000)
    joint.train(tmp_path / "whole", epochs=1)
    parts, whole = (
        load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("parts", "whole")
    )
    start = load_file(Path(joint.encoder) / "model.safetensors")
    moved = torch.cat([(whole[name] - start[name]).flatten() for name in start])
    apart = torch.cat([(whole[name] - parts[name]).flatten() for name in start])
    assert apart.norm() < 0.02 * moved.norm()


@pytest.mark.parametrize("kind", ["joint", "apart"])
def test_a_saved_encoder_gives_the_vectors_of_the_training(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: Any
) -> None:
    shop: Shop = request.getfixturevalue(kind)
    ends: list[Any] = []
    encoded = finetune.FineTuning.encoded

    def kept(self: Any) -> Any:
        products, queries, means = encoded(self)
        ends[:] = [products.image.copy(), products.text.copy(), products.ids]
        return products, queries, means

    monkeypatch.setattr(finetune.FineTuning, "encoded", kept)
    report = shop.train(tmp_path / "v1", epochs=2)
    assert report.unfrozen is not None
    encoder = load_encoder(report.unfrozen.encoder, device="cpu", dtype="float32")
    images, texts, ids = ends
    numbers = {f"{s}-{c}": n for n, (s, c) in enumerate((s, c) for s in WORDS for c in COLOURS)}
    pictures = [Image.open(shop.catalog.parent / f"{numbers[id]}.png").convert("RGB") for id in ids]
    np.testing.assert_allclose(encoder.encode_image(pictures).numpy(), images, atol=1e-5)
    found = encoder.encode_text([f"item {numbers[id]}" for id in ids]).numpy()
    np.testing.assert_allclose(found, texts, atol=1e-5)
    head, _ = load_head(tmp_path / "v1")
    assert (head.config.encoder, head.config.revision) == (encoder.spec.name, encoder.spec.revision)
    assert encoder.spec.revision != load_encoder(shop.encoder, device="cpu").spec.revision


# --- pictures ----------------------------------------------------------------------------------------------


def test_a_picture_that_is_gone_costs_no_more_than_itself(tmp_path: Path) -> None:
    shop = Shop(tmp_path, str(tiny_models.chinese_clip(tmp_path / "clip")))
    (shop.catalog.parent / "3.png").unlink()
    with shop.pairs.open("a", encoding="utf-8") as file:
        file.write(
            json.dumps({"query": {"image": "catalog/3.png"}, "product": "bar-red", "split": "train"}) + "\n"
        )
    report = shop.train(tmp_path / "v1", epochs=1)
    assert report.unfrozen is not None
    assert (report.unfrozen.unread_pictures, report.rejected) == (1, 1)
    reasons = (tmp_path / "v1" / "rejects.jsonl").read_text()
    assert "its picture cannot be read" in reasons
    for path in shop.catalog.parent.glob("*.png"):
        path.unlink()
    with pytest.raises(
        ConfigError, match="none of the pictures of the 24 products that have one can be read"
    ):
        shop.train(tmp_path / "v2", epochs=1)


def test_prepared_pictures_of_every_kind_come_back_from_their_file(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", "disc", "red")
    draw(tmp_path / "b.png", "ring", "blue")
    views = [("a.png", 0), ("nowhere.png", 0), ("b.png", 0), ("b.png", 1)]
    for family in ("clip", "siglip2_naflex"):
        encoder = load_encoder(
            str(tiny_models.JOINT[family](tmp_path / family)), device="cpu", dtype="float32"
        )
        compact = trainable(encoder).compact
        steps: list[tuple[int, int]] = []
        with MediaReader() as reader:
            for _ in range(2):
                file = read_pictures(
                    views, encoder, compact, reader,
                    base=tmp_path, cache=tmp_path, progress=lambda *step, steps=steps: steps.append(step),
                )  # fmt: skip
        assert steps == [(4, 4)]  # the second time they are all there
        assert file.readable.tolist() == [True, False, True, True]
        found = encoder.encode_prepared(file.load(np.array([0, 2])))
        pictures = [Image.open(tmp_path / name).convert("RGB") for name in ("a.png", "b.png")]
        torch.testing.assert_close(found, encoder.encode_image(pictures))


@pytest.mark.parametrize("family", ["siglip2_naflex", "altclip"])
def test_a_catalog_with_views_is_enough(family: str, tmp_path: Path) -> None:
    """Of models whose pictures are more than pixels, and whose texts go through layers of their own."""
    shop = Shop(tmp_path, str(tiny_models.JOINT[family](tmp_path / family)))
    report = shop.train(
        tmp_path / "v1", pairs=None, from_catalog=True, crops=1, epochs=5, fusion="sum", seed=3
    )
    assert report.unfrozen is not None and report.unfrozen.epochs == 5
    loss = [json.loads(line)["loss"] for line in (tmp_path / "v1" / "encoder.jsonl").read_text().splitlines()]
    assert min(loss[2:]) < loss[1]  # hard negatives are harder after the first epoch
    assert load_head(tmp_path / "v1")[0].config.kind == "sum"


# --- a run that is killed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["encoder.jsonl", "log.jsonl"])
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    joint: Shop, tmp_path: Path, log: str
) -> None:
    given = "--unfreeze 1 --encoder-lr 0.003 --epochs 30 --patience 30 --pairs-per-step 120 --device cpu --json --out"
    args = ["train", str(joint.pairs), "--uri", joint.settings.uri, *given.split()]
    program = [sys.executable, "-c", "from mm_milvus_cli.main import main; main()", *args]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*program, str(whole)], capture_output=True, check=True)
    process = subprocess.Popen([*program, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_epochs(killed / log, 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(ConfigError, match="holds an unfinished run with --unfreeze"):
        joint.train(killed, unfreeze=0, encoder_lr=None)
    with pytest.raises(ConfigError, match="holds an unfinished run of other settings"):
        joint.train(killed)
    assert not (killed / "head.safetensors").exists()
    finished = json.loads(subprocess.run([*program, str(killed)], capture_output=True, check=True).stdout)
    assert 0 < finished["unfrozen"]["resumed_from"] <= 30
    assert (finished["unfrozen"]["resumed_from"] < 30) is (log == "encoder.jsonl")
    assert (finished["resumed_from"] > 0) is (log == "log.jsonl")
    for name in ("encoder/model.safetensors", "head.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    histories = [
        [json.loads(line) | {"seconds": 0} for line in (folder / "encoder.jsonl").read_text().splitlines()]
        for folder in (whole, killed)
    ]
    assert histories[0] == histories[1]
    assert not (killed / "encoder.pt").exists() and not list((killed / "cache").glob("pictures-*"))


def wait_for_epochs(log: Path, count: int) -> None:
    ends = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > count):
        assert time.monotonic() < ends, "the run wrote no epochs"
        time.sleep(0.002)


def test_layers_that_are_no_better_are_not_put_to_use(joint: Shop, tmp_path: Path) -> None:
    done = run("train", str(joint.pairs), "--out", str(tmp_path / "v1"), "--unfreeze", "1", "--encoder-lr", "1e-12",
               "--pairs-per-step", "48", "--epochs", "1", "--uri", joint.settings.uri)  # fmt: skip
    assert "the trained layers are NOT better than frozen ones" in done
    assert done.splitlines()[-1].startswith("next: the same without --unfreeze, or with another --encoder-lr")
    assert "mm-milvus ingest" not in done
    assert json.loads((tmp_path / "v1" / "report.json").read_text())["next"] is None


def test_where_no_query_can_be_read_it_is_told_why(joint: Shop, tmp_path: Path) -> None:
    row = {"query": {"image": "no.png"}, "product": "disc-red"}
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"line 1: its picture cannot be read: .*no\.png; all that was refused: "
    ):
        joint.train(tmp_path / "v1", pairs=pairs)
    (refused,) = map(json.loads, (tmp_path / "v1" / "rejects.jsonl").read_text().splitlines())
    assert refused["record"] == row


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_ends_in_a_collection_that_is_searched_with_the_trained_encoder(
    joint: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(joint.catalog.parent)
    out = tmp_path / "shop-v1"
    done = run("train", str(joint.pairs), "--out", str(out), "--unfreeze", "2", "--encoder-lr", "0.005",
               "--pairs-per-step", "48", "--patience", "20", "--uri", joint.settings.uri)  # fmt: skip
    lines = done.splitlines()
    assert lines[1].startswith("nDCG@10 of dev: 0.") and "with the last 2 layers trained" in lines[1]
    assert any(line.startswith(f"{out / 'encoder'}: ") for line in lines)
    command = shlex.split(lines[-2].removeprefix("next: mm-milvus "))
    compare = "eval QUERIES --compare default,collection=products_shop_v1"
    assert lines[-1] == f"then: mm-milvus {compare} --uri {joint.settings.uri}"
    assert command[command.index("--encoder") + 1] == str(out / "encoder")
    command[command.index("CATALOG")] = joint.catalog.name
    run(*command, "--device", "cpu")
    asked = [
        "query",
        "--uri",
        joint.settings.uri,
        "--collection",
        "products_shop_v1",
        "--text",
        "leather for women",
    ]
    found = json.loads(run(*asked, "--mode", "vector", "--limit", "6", "--json", "--device", "cpu"))
    kinds = [hit["id"].partition("-")[0] for hit in found["hits"]]
    assert kinds.count("cross") >= 4
    # What follows works as it is printed, and the advice of errors leads there.
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"query": "leather for women", "relevant": ["cross-red"]}', encoding="utf-8")
    compare = [str(queries) if word == "QUERIES" else word for word in shlex.split(lines[-1])[2:]]
    assert "collection=products_shop_v1" in run(*compare, "--device", "cpu")
    compare[compare.index("--compare") + 1] = f"blocks,{out}"
    early = CliRunner().invoke(cli, compare)
    assert f"first ingest the catalog into a new collection (--fusion {out} --encoder" in early.stderr
    # All such folders are called "encoder".
    info = run("info", "--uri", joint.settings.uri, "--collection", "products_shop_v1").splitlines()
    assert [line.split() for line in info if line.split()[:1] == ["encoder"]] == [
        ["encoder", str(out / "encoder")]
    ]
    with Client(config=joint.settings.replace(encoder=None, collection="products_shop_v1")) as client:
        client.drop()


def run(*args: str) -> str:
    done = CliRunner(catch_exceptions=False).invoke(cli, args)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--unfreeze", "3"], "the picture model has 2 layers: --unfreeze 3 is more than there are"),
        (["--unfreeze", "-1"], "unfreeze must be a whole number of at least 0, got -1"),
        (["--unfreeze", "1", "--encoder-lr", "0"], "encoder_lr must be a number above 0"),
        (["--encoder-lr", "0.001"], "--encoder-lr is the learning rate of the layers that --unfreeze trains"),
        (["--unfreeze", "1", "--init", "heads/v1"], "a head of --init knows another encoder"),
        (["--unfreeze", "1", "--fusion", "late-interaction"], "late interaction is trained over a frozen encoder"),
    ],
)  # fmt: skip
def test_bad_options_are_one_line(joint: Shop, tmp_path: Path, args: list[str], message: str) -> None:
    all_args = ["train", str(joint.pairs), *args, "--out", str(tmp_path / "x"), "--uri", joint.settings.uri]
    done = CliRunner().invoke(cli, all_args)
    assert done.exit_code != 0
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "x" / "encoder").exists()


def test_the_offline_encoder_has_no_layers(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path / "catalog")
    settings = Settings(uri=str(tmp_path / "shop.db"))
    with Client(config=settings) as client:
        client.ingest(catalog)
    with pytest.raises(
        NotSupported, match=r"'offline' has no layers .* CLIP-type model or with towers:IMAGE\+TEXT"
    ):
        train(TrainSettings(out=tmp_path / "x", pairs=make_pairs(tmp_path / "p.jsonl"), unfreeze=1), settings)


def test_the_usual_rate_is_the_same_whether_it_is_given_or_not(tmp_path: Path) -> None:
    settings = [
        TrainSettings(out=tmp_path, from_catalog=True, unfreeze=1, encoder_lr=rate)
        for rate in (None, 1e-5, 1e-4)
    ]
    usual, given, other = (one.identity() for one in settings)
    assert usual == given != other
