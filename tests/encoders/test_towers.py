"""Two unimodal models as one encoder: what each tower returns, and what its files may ask for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mm_milvus.encoders import load_encoder
from mm_milvus.errors import EncoderError

from .tiny_models import TEXTS, bert, convnext, pictures, vit


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("towers")
    for build in (vit, convnext, bert):
        build(root / build.__name__)
    return root


def load(image: Path, text: Path) -> Any:
    return load_encoder(f"towers:{image}+{text}", device="cpu", dtype="float32")


def copy(folder: Path, to: Path, **files: dict[str, Any] | list[Any]) -> Path:
    """A copy of a model folder with more JSON files: ``a__b`` is the file a/b.json."""
    shutil.copytree(folder, to)
    for name, content in files.items():
        path = to / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return to


def cosines(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(dim=-1)


def own_tokens(folder: Path, text: str) -> Tensor:
    """Last hidden states (tokens, D) of one text, without padding."""
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)(
        [text], truncation=True, max_length=128, return_tensors="pt"
    )
    with torch.no_grad():
        return AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state[0]  # type: ignore[no-any-return]


def own_pictures(folder: Path, read: str) -> Tensor:
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model, rows = AutoModel.from_pretrained(folder).eval(), []
    for image in pictures():
        with torch.no_grad():
            output = model(**processor(images=[image], return_tensors="pt"))
        rows.append(output.last_hidden_state[0, 0] if read == "first" else output.pooler_output[0].flatten())
    return normalize(torch.stack(rows), dim=-1)


def test_texts_are_the_mean_of_their_own_tokens(root: Path) -> None:
    got = load(root / "vit", root / "bert").encode_text(TEXTS)
    hidden = [own_tokens(root / "bert", text) for text in TEXTS]
    expected = normalize(torch.stack([tokens.mean(dim=0) for tokens in hidden]), dim=-1)
    assert (expected @ expected.T - 2 * torch.eye(len(TEXTS))).max() < 0.99
    assert cosines(got, expected).min() > 0.99999
    first = normalize(torch.stack([tokens[0] for tokens in hidden]), dim=-1)
    assert cosines(got[:4], first[:4]).max() < 0.99


@pytest.mark.parametrize(("model", "read", "width"), [("vit", "first", 32), ("convnext", "pooled", 40)])
def test_pictures_are_read_as_the_model_means_them(root: Path, model: str, read: str, width: int) -> None:
    encoder = load(root / model, root / "bert")
    expected = own_pictures(root / model, read)
    assert encoder.spec.image_dim == width
    assert (expected @ expected.T - 2 * torch.eye(len(expected))).max() < 0.99
    assert (
        cosines(encoder.encode_image(pictures()), expected).min() > 0.9999
    )  # bytes are rounded in another order
    if model == "vit":
        assert cosines(encoder.encode_image(pictures()), own_pictures(root / model, "pooled")).max() < 0.99


def test_spec(root: Path) -> None:
    spec = load(root / "vit", root / "bert").spec
    assert (spec.name, spec.family, spec.joint) == ("towers:vit+bert", "towers", False)
    assert (spec.text_dim, spec.image_dim, spec.max_tokens, spec.max_chars) == (32, 32, 128, 512)
    assert spec.weights.text_on_image == 0.0
    assert [part[:3] for part in spec.revision.split("+")] == ["fp:", "fp:"]
    assert spec.preprocessing == (
        "image 32x32 bilinear, mean 0.5/0.5/0.5, std 0.5/0.5/0.5, first token; "
        "text cut to 128 tokens, padded to the longest, mean pooling"
    )


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max"),
        ({"embedding_dimension": 32, "pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
    ],
)
def test_pooling_follows_sentence_transformers(
    root: Path, tmp_path: Path, pooling: dict[str, Any], expected: str
) -> None:
    folder = copy(
        root / "bert",
        tmp_path / "model",
        **{
            "1_Pooling__config": pooling,
            "sentence_bert_config": {"max_seq_length": 16, "do_lower_case": False},
        },
    )
    encoder = load(root / "vit", folder)
    hidden = [own_tokens(root / "bert", text) for text in TEXTS[:4]]
    pools = {"cls": lambda t: t[0], "max": lambda t: t.amax(dim=0), "mean": lambda t: t.mean(dim=0)}
    wanted = normalize(torch.stack([pools[expected](tokens) for tokens in hidden]), dim=-1)
    assert cosines(encoder.encode_text(TEXTS[:4]), wanted).min() > 0.9999
    assert encoder.spec.max_tokens == 16
    assert encoder.spec.preprocessing.endswith(f"{expected} pooling")


def test_prompts_of_e5_and_of_the_files(root: Path, tmp_path: Path) -> None:
    plain = load(root / "vit", root / "bert")
    e5 = load(root / "vit", copy(root / "bert", tmp_path / "multilingual-e5-small"))
    named = copy(
        root / "bert",
        tmp_path / "prompted",
        config_sentence_transformers={"prompts": {"query": "find: ", "document": "item: "}},
    )
    for encoder, query, passage in (
        (e5, "query: ", "passage: "),
        (load(root / "vit", named), "find: ", "item: "),
    ):
        for encode, prompt in ((encoder.encode_query_text, query), (encoder.encode_text, passage)):
            assert cosines(encode(["red shirt"]), plain.encode_text([f"{prompt}red shirt"])).min() > 0.9999
            assert cosines(encode(["red shirt"]), plain.encode_text(["red shirt"])).max() < 0.999
        assert encoder.spec.preprocessing.endswith(f"prompts {query!r} and {passage!r}")
    for name in ("me5x", "multilingual-e5-large-instruct"):
        unprompted = load(root / "vit", copy(root / "bert", tmp_path / name))
        assert torch.equal(unprompted.encode_query_text(["red shirt"]), unprompted.encode_text(["red shirt"]))


def test_a_pooler_that_is_not_used_may_be_missing(root: Path, tmp_path: Path) -> None:
    assert load(vit(tmp_path / "headless", pooler=False), root / "bert").spec.image_dim == 32


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"1_Pooling__config": {"pooling_mode_lasttoken": True}},
            "pooling 'pooling_mode_lasttoken' of 'model'",
        ),
        ({"modules": [{"type": "sentence_transformers.models.Dense"}]}, "ends in a Dense module"),
    ],
)
def test_what_is_not_supported_is_refused(root: Path, tmp_path: Path, files: Any, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        load(root / "vit", copy(root / "bert", tmp_path / "model", **files))


def test_towers_in_the_wrong_order(root: Path) -> None:
    with pytest.raises(EncoderError, match="'bert' has no preprocessor_config"):
        load(root / "bert", root / "vit")


def test_bfloat16_is_close(root: Path) -> None:
    exact = load(root / "convnext", root / "bert")
    rough = load_encoder(f"towers:{root / 'convnext'}+{root / 'bert'}", device="cpu", dtype="bfloat16")
    assert cosines(rough.encode_text(TEXTS), exact.encode_text(TEXTS)).min() > 0.99
    assert cosines(rough.encode_image(pictures()), exact.encode_image(pictures())).min() > 0.99
