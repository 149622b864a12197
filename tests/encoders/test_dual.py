"""Every CLIP-type family gives the vectors of its own model, tokenizer and image processor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from mm_milvus.encoders import DualEncoder, load_encoder
from mm_milvus.encoders.source import locate
from mm_milvus.errors import EncoderError

from . import tiny_models
from .tiny_models import JOINT, TEXTS, pictures

FIXED = ("siglip", "siglip2_fixed", "siglip2_naflex")
MASKED = ("chinese_clip", "altclip")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("joint")
    return {family: build(root / family) for family, build in JOINT.items()}


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> dict[str, Any]:
    return {
        family: load_encoder(str(folder), device="cpu", dtype="float32") for family, folder in folders.items()
    }


def own_model(folder: Path) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder).eval()


def own_texts(folder: Path, texts: list[str], *, lower: bool, limit: int, **padding: Any) -> Tensor:
    """One text at a time through the family's own tokenizer and model."""
    from transformers import AutoTokenizer

    tokenizer, model, rows = AutoTokenizer.from_pretrained(folder), own_model(folder), []
    for text in texts:
        written = text.lower() if lower else text
        inputs = tokenizer([written], truncation=True, max_length=limit, return_tensors="pt", **padding)
        with torch.no_grad():
            rows.append(
                model.get_text_features(inputs["input_ids"], inputs.get("attention_mask")).pooler_output[0]
            )
    return normalize(torch.stack(rows), dim=-1)


def own_pictures(folder: Path, images: list[Image.Image]) -> Tensor:
    """One picture at a time through the family's own image processor and model."""
    from transformers import AutoImageProcessor

    processor, model = AutoImageProcessor.from_pretrained(folder, backend="pil"), own_model(folder)
    with torch.no_grad():
        rows = [
            model.get_image_features(**processor(images=[image], return_tensors="pt")).pooler_output[0]
            for image in images
        ]
    return normalize(torch.stack(rows), dim=-1)


def cosines(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(dim=-1)


def nearest_other(vectors: Tensor) -> float:
    """Highest cosine between two different items: shows that a comparison can fail."""
    return float((vectors @ vectors.T - 2 * torch.eye(len(vectors))).max())


@pytest.mark.parametrize("family", JOINT)
def test_texts_are_those_of_the_own_tokenizer_and_model(family: str, folders: Any, encoders: Any) -> None:
    fixed = family in FIXED
    padding = {"padding": "max_length", "return_attention_mask": False} if fixed else {"padding": True}
    limit = {"clip": 77}.get(family, 64 if fixed else 128)
    expected = own_texts(folders[family], TEXTS, lower=fixed, limit=limit, **padding)
    got = encoders[family].encode_text(TEXTS)
    assert nearest_other(expected) < 0.99
    assert cosines(got, expected).min() > 0.99999
    assert torch.equal(got, encoders[family].encode_query_text(TEXTS))


@pytest.mark.parametrize("family", JOINT)
def test_pictures_are_those_of_the_own_processor_and_model(family: str, folders: Any, encoders: Any) -> None:
    expected = own_pictures(folders[family], pictures())
    got = encoders[family].encode_image(pictures())
    assert nearest_other(expected) < 0.99
    assert cosines(got, expected).min() > 0.999  # bytes are rounded in another order


@pytest.mark.parametrize("family", FIXED)
def test_wrong_padding_or_case_would_be_seen(family: str, folders: Any, encoders: Any) -> None:
    texts = ["Blue Running Shoes", "Silver Watch"]
    got = encoders[family].encode_text(texts)
    unpadded = own_texts(folders[family], texts, lower=True, limit=64, return_attention_mask=False)
    assert cosines(got, unpadded).max() < 0.99
    masked = own_texts(
        folders[family], texts, lower=True, limit=64, padding="max_length", return_attention_mask=True
    )
    assert cosines(got, masked).max() < 0.99
    if family == "siglip2_fixed":  # the tokenizers of the other two lowercase on their own
        cased = own_texts(folders[family], texts, lower=False, limit=64, padding="max_length")
        assert cosines(got, cased).max() < 0.99


@pytest.mark.parametrize("family", MASKED)
def test_a_missing_mask_would_be_seen(family: str, folders: Any, encoders: Any) -> None:
    unmasked = own_texts(
        folders[family],
        TEXTS[:4],
        lower=False,
        limit=128,
        padding="max_length",
        return_attention_mask=False,
    )
    assert cosines(encoders[family].encode_text(TEXTS[:4]), unmasked).max() < 0.999


def test_siglip2_tokens_end_in_eos_and_padding(folders: dict[str, Path], encoders: Any) -> None:
    """Against the tokenizer.json alone, so that no class of transformers can hide a lost <eos>."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_file(str(folders["siglip2_fixed"] / "tokenizer.json"))
    words = plain.encode("red cotton shirt").ids
    assert words[-1] == plain.token_to_id("<eos>") == 1
    for family in ("siglip2_fixed", "siglip2_naflex"):
        inputs = encoders[family]._tokens(["Red COTTON shirt"])
        assert list(inputs) == ["input_ids"]
        assert inputs["input_ids"].tolist() == [words + [0] * (64 - len(words))]


@pytest.mark.parametrize("family", JOINT)
def test_bfloat16_is_close_and_comes_back_as_float32(family: str, folders: Any, encoders: Any) -> None:
    rough = load_encoder(str(folders[family]), device="cpu", dtype="bfloat16")
    for got, exact in (
        (rough.encode_text(TEXTS), encoders[family].encode_text(TEXTS)),
        (rough.encode_image(pictures()), encoders[family].encode_image(pictures())),
    ):
        assert got.dtype is torch.float32
        assert torch.allclose(got.norm(dim=-1), torch.ones(len(got)), atol=1e-5)
        assert 0.98 < cosines(got, exact).min() < 0.9999999
    assert rough.spec == encoders[family].spec


def test_order_and_values_do_not_depend_on_the_batch(encoders: Any) -> None:
    texts = [f"{'long ' * (number * 7 % 11)}item {number}" for number in range(20)]
    images = (pictures() * 3)[:20]
    for family in ("clip", "altclip", "siglip2_naflex"):
        encoder = encoders[family]
        alone = torch.cat([encoder.encode_text([text]) for text in texts])
        assert cosines(encoder.encode_text(texts), alone).min() > 0.99999
        alone = torch.cat([encoder.encode_image([image]) for image in images])
        assert cosines(encoder.encode_image(images), alone).min() > 0.99999


def test_nothing_in_nothing_out_and_odd_texts(encoders: Any) -> None:
    for encoder in encoders.values():
        assert encoder.encode_text([]).shape == (0, encoder.spec.text_dim)
        assert encoder.encode_image([]).shape == (0, encoder.spec.image_dim)
        odd = encoder.encode_text(["", " ", "\ud83d broken", "a\x00b", "👟" * 500])
        assert torch.allclose(odd.norm(dim=-1), torch.ones(5), atol=1e-5)
        assert not odd.is_inference()
        assert odd.device.type == "cpu"


def test_pictures_of_odd_shapes(encoders: Any) -> None:
    images = [
        Image.new("RGB", size, (9, 99, 199)) for size in ((1, 1), (3, 50), (50, 3), (1, 40), (2, 20000))
    ]
    for encoder in encoders.values():
        assert torch.allclose(encoder.encode_image(images).norm(dim=-1), torch.ones(5), atol=1e-5)


def test_ends_of_long_pictures_are_not_resized(folders: Any, encoders: Any) -> None:
    image = pictures()[7].resize((640, 40))  # 16:1; the own processor resizes all of it and cuts the middle
    expected = own_pictures(folders["clip"], [image])
    assert cosines(encoders["clip"].encode_image([image]), expected).min() > 0.999
    assert cosines(encoders["clip"].encode_image([image.crop((0, 0, 320, 40))]), expected).max() < 0.999


def test_other_modes_are_refused(encoders: Any) -> None:
    with pytest.raises(EncoderError, match="takes RGB pictures, got mode RGBA"):
        encoders["clip"].encode_image([Image.new("RGBA", (8, 8))])


def test_spec_says_what_is_done(encoders: Any) -> None:
    clip, siglip, naflex = (encoders[family].spec for family in ("clip", "siglip", "siglip2_naflex"))
    assert (clip.name, clip.family, clip.joint) == ("clip", "clip", True)
    assert (clip.text_dim, clip.image_dim, clip.max_tokens, clip.max_chars) == (24, 24, 77, 308)
    assert clip.preprocessing == (
        "image shortest edge 32, middle 32x32 bicubic, mean 0.4815/0.4578/0.4082, std 0.2686/0.2613/0.2758; "
        "text cut to 77 tokens, padded to the longest"
    )
    assert siglip.preprocessing == (
        "image 32x32 bicubic, mean 0.5/0.5/0.5, std 0.5/0.5/0.5; text lowercased, padded to 64 tokens"
    )
    assert naflex.preprocessing.startswith("image at most 20 patches bilinear, ")
    assert (naflex.family, naflex.max_tokens, naflex.licence) == ("siglip2", 64, "see the model card")
    assert encoders["altclip"].spec.max_tokens == 128  # 130 positions, of which XLM-R skips two
    assert (clip.weights.image, clip.weights.text, clip.weights.text_on_image) == (0.5, 0.5, 0.5)
    assert (clip.image_mean, clip.text_mean, clip.query_text_mean) == (None, None, None)


def test_threads_may_share_an_encoder(encoders: Any) -> None:
    encoder = encoders["altclip"]
    expected = encoder.encode_text(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(encoder.encode_text, [TEXTS] * 40):
            assert cosines(got, expected).min() > 0.99999


def test_another_models_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.chinese_clip(tmp_path / "model")
    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer.replace('"[SEP]": 3', '"[SEP]": 9003'), encoding="utf-8")
    with pytest.raises(EncoderError, match="tokenizer of 'model'"):
        DualEncoder(locate(str(folder)))
