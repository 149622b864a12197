"""Steps that fit the device, rows without a vector, threads that share a model, replicas."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mm_milvus.encoders import finite, load_encoder, load_replicas
from mm_milvus.encoders.batches import Steps, unit
from mm_milvus.encoders.compiled import token_lengths
from mm_milvus.encoders.registry import _replica_devices
from mm_milvus.errors import EncoderError

from .tiny_models import JOINT, TEXTS, bert, pictures, vit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    names = {family: str(build(root / family)) for family, build in JOINT.items()}
    return names | {"towers": f"towers:{vit(root / 'vit')}+{bert(root / 'bert')}", "offline": "offline"}


@contextmanager
def at_most(module: Any, items: int, error: Exception) -> Iterator[None]:
    """``module`` has room for ``items`` at once."""

    def check(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if len(tensors[0]) > items:
            raise error

    hook = module.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


# Memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "bad_alloc", "python"],
)
def test_a_batch_that_does_not_fit_is_halved(folders: dict[str, str], error: Exception) -> None:
    encoder: Any = load_encoder(folders["clip"], device="cpu", dtype="float32")
    images = pictures() * 5
    expected = encoder.encode_image(images)
    with at_most(encoder._model.vision_model, 5, error):
        found = encoder.encode_image(images)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (encoder._image_steps.size, encoder._text_steps.size) == (
        4,
        16,
    )  # remembered for pictures, 16, 8, 4
    with at_most(encoder._model.vision_model, 4, AssertionError("asked for more than had room")):
        torch.testing.assert_close(encoder.encode_image(images), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["clip", "towers"])
def test_an_item_that_does_not_fit_names_the_device(folders: dict[str, str], family: str) -> None:
    encoder: Any = load_encoder(folders[family], device="cpu", dtype="float32")
    module = encoder._model.text_model if family == "clip" else encoder._text.model
    with (
        at_most(module, 0, torch.OutOfMemoryError("no")),
        pytest.raises(EncoderError, match="the device cpu has too little free memory for one item"),
    ):
        encoder.encode_text(TEXTS)
    assert encoder.encode_image(pictures()).shape == (8, encoder.spec.image_dim)


def test_other_errors_are_not_taken_for_a_full_device(folders: dict[str, str]) -> None:
    encoder: Any = load_encoder(folders["clip"], device="cpu", dtype="float32")
    with (
        at_most(encoder._model.vision_model, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
        pytest.raises(RuntimeError, match="mat1 and mat2"),
    ):
        encoder.encode_image(pictures())
    assert encoder._image_steps.size == 16


def test_threads_find_one_size_together(folders: dict[str, str]) -> None:
    encoder: Any = load_encoder(folders["clip"], device="cpu", dtype="float32")
    images = pictures() * 4
    expected = encoder.encode_image(images)
    with at_most(encoder._model.vision_model, 3, torch.OutOfMemoryError("no")), ThreadPoolExecutor(6) as pool:
        for found in pool.map(encoder.encode_image, [images] * 12):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert encoder._image_steps.size == 2


LITTLE_MEMORY = """
import resource, torch
from mm_milvus.encoders import OfflineEncoder
from mm_milvus.encoders.batches import Steps

torch.set_num_threads(1)
encoder = OfflineEncoder()
pixels = list(torch.randint(0, 256, (48, 3, 224, 224), dtype=torch.uint8))
expected = encoder.encode_prepared(pixels)
encoder._steps = Steps(48, torch.device("cpu"))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 120_000_000, resource.RLIM_INFINITY))
found = encoder.encode_prepared(pixels)
print(encoder._steps.size < 48, float((found - expected).abs().max()) < 1e-5)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_process_with_little_memory_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.returncode) == ("True True\n", 0), done.stderr[-500:]


# Rows


def test_unit_vectors() -> None:
    rows = torch.tensor(
        [[3.0, 4.0], [0.0, 0.0], [torch.nan, 1.0], [torch.inf, 1.0], [1e30, -1e30], [1e-30, 0.0]]
    )
    found = unit(rows)
    assert finite(found).tolist() == [True, False, False, False, True, True]
    assert found[~finite(found)].isnan().all()
    torch.testing.assert_close(found[0], torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(found[4:], torch.tensor([[0.5**0.5, -(0.5**0.5)], [1.0, 0.0]]))
    assert finite(unit(torch.zeros(0, 7))).shape == (0,)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_broken_row_leaves_the_others_alone(folders: dict[str, str], value: float) -> None:
    """A weight that is no number, as a training that diverged leaves it, spoils only the texts that use it."""
    encoder: Any = load_encoder(folders["clip"], device="cpu", dtype="float32")
    texts = ["red cotton shirt", "silver watch", "leather bag"]
    expected = encoder.encode_text(texts)
    tokens = encoder._tokens(texts)["input_ids"]
    only_second = (set(tokens[1].tolist()) - set(tokens[0].tolist()) - set(tokens[2].tolist())).pop()
    encoder._model.text_model.embeddings.token_embedding.weight[only_second] = value
    found = encoder.encode_text(texts)
    assert finite(found).tolist() == [True, False, True]
    assert found[1].isnan().all()
    torch.testing.assert_close(found[::2], expected[::2], atol=1e-5, rtol=0)


def test_offline_rows_that_the_engine_does_not_fill(folders: dict[str, str], monkeypatch: Any) -> None:
    encoder: Any = load_encoder("offline")
    whole = encoder._texts._engine.encode

    def first_only(texts: list[str], is_query: bool) -> Any:
        vectors = whole(texts, is_query=is_query)
        vectors[1:] = 0
        return vectors

    monkeypatch.setattr(encoder._texts._engine, "encode", first_only)
    assert finite(encoder.encode_text(["red shirt", "blue shirt"])).tolist() == [True, False]


# Threads


@pytest.mark.parametrize("family", ["clip", "siglip", "altclip", "siglip2_naflex", "towers", "offline"])
def test_threads_of_one_core_share_a_model(folders: dict[str, str], family: str) -> None:
    encoder = load_encoder(folders[family], device="cpu", dtype="float32")
    prepared = [encoder.prepare(_array(picture)) for picture in pictures() * 3]
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS[:7] * 5)]
    expected = encoder.encode_prepared(prepared), encoder.encode_text(texts)

    def work(_: int) -> tuple[Tensor, Tensor]:
        again = [encoder.prepare(_array(picture)) for picture in pictures() * 3]
        return encoder.encode_prepared(again), encoder.encode_text(texts)

    with ThreadPoolExecutor(3, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for found in pool.map(work, range(4)):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def _array(picture: Any) -> Any:
    from mm_milvus.encoders.pixels import rgb_array

    return rgb_array(picture)


def test_attention_is_the_fused_one(folders: dict[str, str]) -> None:
    for family in JOINT:
        model: Any = load_encoder(folders[family], device="cpu")._model  # type: ignore[attr-defined]
        assert {model.config._attn_implementation, model.vision_model.config._attn_implementation} == {"sdpa"}
    towers: Any = load_encoder(folders["towers"], device="cpu")
    for tower in (towers._image, towers._text):
        assert tower.model.config._attn_implementation == "sdpa"


# Replicas and compiled models


def test_one_replica_on_a_cpu() -> None:
    (encoder,) = load_replicas("offline", "cpu", "auto")
    assert (encoder.spec.name, encoder.device) == ("offline", "cpu")


def test_one_replica_for_each_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert _replica_devices("auto") == _replica_devices("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert [_replica_devices(device) for device in ("cuda:1", "cpu", "mps")] == [["cuda:1"], ["cpu"], ["mps"]]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert _replica_devices("auto") == ["auto"]


def test_a_compiled_model_gets_few_lengths() -> None:
    assert token_lengths(77) == (16, 32, 77)
    assert token_lengths(512) == (32, 128, 512)
    assert token_lengths(16) == (16,)


def test_a_compiled_model_gets_full_steps() -> None:
    seen = []

    def encode(items: list[int]) -> Tensor:
        seen.append(list(items))
        return torch.tensor(items).float()[:, None] * torch.ones(1, 4)

    found = Steps(3, CPU, fixed=True)([1, 2, 3, 4], 4, encode)
    assert seen == [[1, 2, 3], [4, 4, 4]]
    torch.testing.assert_close(found, torch.full((4, 4), 0.5))


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_vectors(folders: dict[str, str]) -> None:
    plain = load_encoder(folders["clip"], device="cpu", dtype="float32")
    fast = load_encoder(folders["clip"], device="cpu", dtype="float32", compile=True)
    assert fast.spec == plain.spec
    images = pictures() * 3
    torch.testing.assert_close(fast.encode_image(images), plain.encode_image(images), atol=1e-5, rtol=0)
    texts = ["red shirt", "blue shoes", "tea"]
    torch.testing.assert_close(fast.encode_text(texts), plain.encode_text(texts), atol=1e-5, rtol=0)


NO_COMPILER = """
import sys
from mm_milvus.encoders import load_encoder
from mm_milvus.errors import EncoderError
try:
    load_encoder(sys.argv[1], device="cpu", dtype="float32", compile=True)
except EncoderError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_a_compiler_it_says_what_to_do(folders: dict[str, str], tmp_path: Path) -> None:
    environ = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", NO_COMPILER, folders["clip"]],
        capture_output=True,
        text=True,
        env=environ,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith("cannot compile 'clip': "), done.stderr[-500:]
    assert done.stdout.endswith("; go on without --compile\n")
