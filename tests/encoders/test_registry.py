"""From a name to an encoder: names, identity, damaged folders, devices, the hub with and without a network."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mm_milvus.encoders import describe_encoders, load_encoder
from mm_milvus.encoders.pretrained import choose_device, choose_dtype, quiet
from mm_milvus.encoders.source import fingerprint, locate
from mm_milvus.errors import EncoderError

from .tiny_models import bert, clip, siglip2_fixed, vit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("original") / "shop-clip")


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    """A CLIP folder that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "shop-clip"))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


# Identity


def test_identity_is_the_content_and_not_the_place(original: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(original, tmp_path / "elsewhere" / "shop-clip"))
    os.utime(moved / "model.safetensors", (1, 1))
    (moved / "README.md").write_text("not part of the model")
    here, there = load_encoder(str(original)).spec, load_encoder(f"{moved}/").spec
    assert here == there
    assert here.name == "shop-clip"
    assert here.revision == fingerprint(original)
    assert len(here.revision) == len("fp:") + 16


@pytest.mark.parametrize(
    "file", ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_every_setting_counts(model: Path, file: str) -> None:
    before = fingerprint(model)
    (model / file).write_text((model / file).read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert fingerprint(model) != before


def test_one_changed_number_of_a_small_model_counts(model: Path) -> None:
    before = fingerprint(model)

    def nudge(weights: dict[str, torch.Tensor]) -> None:
        weights["text_projection.weight"][11, 5] += 1e-3

    change_weights(model, nudge)
    assert fingerprint(model) != before


@pytest.mark.alone
def test_a_trained_tensor_of_a_large_model_counts_and_few_bytes_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = {"table": torch.zeros(20_000_000), "head": torch.zeros(300, 300)}  # 80 MB
    save_file(weights, tmp_path / "model.safetensors")
    seconds = time.perf_counter()
    before = fingerprint(tmp_path)
    assert time.perf_counter() - seconds < 0.5
    weights["head"] += 1e-6
    save_file(weights, tmp_path / "model.safetensors")
    trained = fingerprint(tmp_path)
    weights["table"][-1] = 1
    save_file(weights, tmp_path / "model.safetensors")
    assert len({before, trained, fingerprint(tmp_path)}) == 3


# Names


def test_a_folder_may_hold_an_at_sign_or_a_plus(original: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(original, tmp_path / "clip+v2@best"))
    assert load_encoder(str(odd)).spec.name == "clip+v2@best"
    image, text = vit(tmp_path / "vit+a"), bert(tmp_path / "bert@b")
    assert load_encoder(f"towers:{image}+{text}").spec.name == "towers:vit+a+bert@b"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "name of the encoder is empty"),
        ("./missing", "no such folder, and it is not a model name"),
        ("C:\\models\\clip@main", "no such folder, and it is not a model name"),
        ("owner/model@", "ends with '@'"),
        ("towers:only-one", "write towers:IMAGE\\+TEXT"),
        ("towers:+text", "write towers:IMAGE\\+TEXT"),
        ("towers:a+b+c", "write towers:IMAGE\\+TEXT"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load_encoder(name)


def test_a_local_folder_has_no_revision(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(original.parent)
    assert load_encoder("shop-clip").spec.name == "shop-clip"
    with pytest.raises(EncoderError, match="'shop-clip' is a local folder, which has no revisions"):
        load_encoder("shop-clip@main")


# Damage


def remove(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content)


def drop(key: str) -> Callable[[Path], Any]:
    return lambda folder: change_weights(folder, lambda weights: weights.pop(key))


def reshape(key: str) -> Callable[[Path], Any]:
    return lambda folder: change_weights(folder, lambda weights: weights.update({key: torch.zeros(3, 3)}))


def cut(name: str, size: int) -> Callable[[Path], Any]:
    return lambda folder: os.truncate(folder / name, size)


def evil_pickle(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(folder / "owned"),)

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil()}))


def missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"logit_scale": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (remove("config.json"), "holds no model: it has no config.json"),
    (write("config.json", "{"), "cannot read .*config.json"),
    (write("config.json", "[]"), "it is not a JSON object"),
    (
        write("config.json", '{"model_type": "llama"}'),
        "of type 'llama', supported are clip, siglip, siglip2, ",
    ),
    (write("config.json", "{}"), "of type 'None', supported are clip, "),
    (remove("model.safetensors"), "has no weights"),
    (missing_shard, "model-00001-of-00001.safetensors is missing"),
    (cut("model.safetensors", 5000), "cannot load the weights of 'shop-clip'"),
    (cut("model.safetensors", 0), "cannot load the weights of 'shop-clip'"),
    (drop("visual_projection.weight"), "do not fit its config, 1 missing: visual_projection.weight"),
    (reshape("visual_projection.weight"), "weights of 'shop-clip'"),
    (evil_pickle, "cannot load the weights of 'shop-clip'"),
    (remove("tokenizer.json"), "'shop-clip' has no tokenizer files"),
    (write("tokenizer.json", "{}"), "tokenizer of 'shop-clip'"),
    (remove("preprocessor_config.json"), "'shop-clip' has no preprocessor_config.json"),
    (write("preprocessor_config.json", "no"), "cannot load the image processor of 'shop-clip'"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[message for _, message in DAMAGE])
def test_a_damaged_folder_is_one_clear_line(
    model: Path, damage: Callable[[Path], Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage(model)
    capfd.readouterr()
    with pytest.raises(EncoderError, match=message) as caught:
        load_encoder(str(model), dtype="float32")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not (model / "owned").exists()


def test_code_of_a_repository_is_never_run(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "own.py").write_text(f"open({str(model / 'owned')!r}, 'w')")
    assert load_encoder(str(model), dtype="float32").spec.family == "clip"  # the library's own class reads it
    drop("visual_projection.weight")(model)
    with pytest.raises(EncoderError, match="code of its own repository, which is never run"):
        load_encoder(str(model))
    assert not (model / "owned").exists()


def test_pickled_weights_are_read_without_running_them(original: Path, model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    texts = ["red shirt", "blue shoes"]
    expected = load_encoder(str(original), dtype="float32").encode_text(texts)
    assert torch.equal(load_encoder(str(model), dtype="float32").encode_text(texts), expected)


def test_loading_and_encoding_print_nothing_and_leave_the_logs_alone(
    original: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_encoder(str(original)).encode_text(["word " * 500])
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# Device and dtype


def test_devices(original: Path) -> None:
    there = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == there
    assert load_encoder(str(original), device="cpu").device == "cpu"
    for device in ("gpu", "cuda:", "meta", "cuda:99"):
        with pytest.raises(EncoderError, match=f"device '{device}'"):
            load_encoder(str(original), device=device)
    with pytest.raises(EncoderError, match="unknown dtype 'int8': use auto, float32, bfloat16, float16"):
        load_encoder(str(original), dtype="int8")


def test_dtype_is_bfloat16_where_the_processor_has_it(original: Path) -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.is_file():
        pytest.skip("no /proc/cpuinfo here")
    words = flags.read_text().split()
    has = "avx512_bf16" in words or "amx_tile" in words
    wanted = torch.bfloat16 if has else torch.float32
    assert choose_dtype("auto", torch.device("cpu")) is wanted
    auto = load_encoder(str(original), device="cpu")
    assert auto._model.dtype is wanted  # type: ignore[attr-defined]
    assert load_encoder(str(original), device="cpu", dtype="float32")._model.dtype is torch.float32  # type: ignore[attr-defined]


# The hub


def test_a_hub_name_without_a_hub_fails_fast_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    seconds = time.perf_counter()
    with pytest.raises(EncoderError) as caught:
        load_encoder("mm-milvus-tests/there-is-no-such-model@v1")
    assert time.perf_counter() - seconds < 15
    message = str(caught.value)
    assert message.startswith("cannot load the model 'mm-milvus-tests/there-is-no-such-model@v1': ")
    assert message.endswith("; use `--encoder offline`, or give a local folder that holds the model")
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_cached_model_needs_no_network(
    tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "models--shop--clip"
    shutil.copytree(original, cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("shop/clip", f"shop/clip@{COMMIT}", "shop/clip@main"):
        spec = load_encoder(name).spec
        assert (spec.name, spec.revision) == ("shop/clip", COMMIT)
    with pytest.raises(EncoderError, match="cannot load the model 'shop/clip@v9'"):
        locate("shop/clip@v9")
    (cache / "snapshots" / COMMIT / "model.safetensors").unlink()  # an interrupted download
    with pytest.raises(EncoderError, match="cannot load the model 'shop/clip': "):
        locate("shop/clip", text=True, image=True)


class Hub(BaseHTTPRequestHandler):
    """The few answers of a hub that a download needs, over HTTP, from a folder of models."""

    root: Path

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        if "slow" in path:
            time.sleep(30)
        elif "gated" in path:
            self._send(403, b"{}", body, {"X-Error-Code": "GatedRepo"})
        elif "revision/v9" in path:
            self._send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("api/models/shop/siglip2/tree/"):
            self._send(200, json.dumps(self._tree()).encode(), body)
        elif path.startswith("api/models/shop/siglip2"):
            names = [{"rfilename": entry["path"]} for entry in self._tree()]
            self._send(
                200, json.dumps({"id": "shop/siglip2", "sha": COMMIT, "siblings": names}).encode(), body
            )
        elif path.startswith("shop/siglip2/resolve/"):
            self._send(200, (self.root / path.split("/", 4)[4]).read_bytes(), body, {"X-Repo-Commit": COMMIT})
        else:
            self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

    def _tree(self) -> list[dict[str, Any]]:
        files = [path for path in sorted(self.root.iterdir()) if path.is_file()]
        return [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": path.name}
            for path in files
        ]

    def _send(self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(content)),
            "ETag": f'"{len(content)}"',
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    Hub.root = siglip2_fixed(tmp_path / "served")
    (Hub.root / "open_clip_model.safetensors").write_bytes(b"another format")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


ASK_THE_HUB = """
import json, os, sys, time
from mm_milvus.encoders import load_encoder, source
from mm_milvus.errors import EncoderError

source.HUB_TIMEOUT = 1.0
answers = {}
for name in ("shop/absent", "shop/gated", "shop/siglip2@v9", "shop/slow", "shop/siglip2"):
    start = time.perf_counter()
    try:
        spec = load_encoder(name, device="cpu").spec
        answers[name] = f"{spec.name} {spec.revision}"
    except EncoderError as error:
        answers[name] = str(error)
    answers[name + " seconds"] = time.perf_counter() - start
answers["files"] = sorted(os.listdir(source.locate("shop/siglip2").folder))
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
answers["again"] = load_encoder("shop/siglip2", device="cpu").spec.revision
json.dump(answers, open(sys.argv[1], "w"))
"""


def test_download_and_every_refusal_of_a_hub(tmp_path: Path, hub: str) -> None:
    """In a process of its own: the hub's address and cache are read when its client is imported."""
    environ = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
    }
    environ.pop("HF_HUB_OFFLINE", None)
    answers_file = tmp_path / "answers.json"
    done = subprocess.run(
        [sys.executable, "-c", ASK_THE_HUB, str(answers_file)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    answers = json.loads(answers_file.read_text())
    assert "the hub has no model of that name" in answers["shop/absent"]
    assert "it is gated: accept its terms" in answers["shop/gated"]
    assert "the hub has no such revision of it" in answers["shop/siglip2@v9"]
    assert "the hub cannot be reached (ReadTimeout" in answers["shop/slow"]
    assert answers["shop/slow seconds"] < 5
    assert answers["shop/siglip2"] == f"shop/siglip2 {COMMIT}"
    assert answers["again"] == COMMIT
    assert answers["files"] == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


# The room


def test_families_for_the_doctor() -> None:
    families = {family.name: family for family in describe_encoders()}
    assert list(families) == ["offline", "clip", "siglip", "siglip2", "chinese_clip", "altclip", "towers"]
    assert families["siglip"].example == "google/siglip2-base-patch16-224"
    assert families["siglip"].licence == "Apache-2.0"
    assert families["altclip"].licence == "CreativeML-OpenRAIL-M"
    assert families["clip"].licence == "see the model card"
    assert [name for name, family in families.items() if not family.joint] == ["offline", "towers"]


def test_importing_the_room_is_light() -> None:
    code = (
        "import sys, mm_milvus.encoders as room; room.describe_encoders(); "
        "from mm_milvus.encoders import DualEncoder, TowersEncoder; "
        "print([name for name in ('torch', 'transformers', 'huggingface_hub', 'PIL') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
