"""Pixels without the image processor's code: equal to its own, on real photos, for all shapes, or left to it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from mm_milvus.encoders import load_encoder
from mm_milvus.encoders.offline import OfflineEncoder
from mm_milvus.encoders.pixels import (
    Pixels,
    Recipe,
    read_recipe,
    resize_bytes,
    resize_floats,
    rgb_array,
)
from mm_milvus.encoders.source import Source
from mm_milvus.errors import EncoderError
from mm_milvus.media import decode_pixels
from tests.conftest import SHARED_DATA

from .tiny_models import JOINT, bert, convnext, pictures, vit

SIDE = 128  # pixels that the models take; most of the photos are reduced for them by half
CPU = torch.device("cpu")
PHOTOS = {"retail": 12, "eshop": 12, "clothing": 16}


def photos() -> list[bytes]:
    """Real photos: JPEG and WEBP, upright and lying, from 200 to 600 pixels wide."""
    found = []
    for name, count in PHOTOS.items():
        folder = SHARED_DATA / name / "images"
        if not folder.is_dir():
            pytest.skip(f"the test data folder ../shared/data/{name} is not there")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        found += [path.read_bytes() for path in files[:: max(1, len(files) // count)][:count]]
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("models")
    text = bert(root / "bert")
    names = {family: str(JOINT[family](root / family, SIDE)) for family in ("clip", "siglip")}
    names["siglip2_naflex"] = str(JOINT["siglip2_naflex"](root / "siglip2_naflex"))
    names |= {
        build.__name__: f"towers:{build(root / build.__name__, SIDE)}+{text}" for build in (vit, convnext)
    }
    return {
        family: (root / family, load_encoder(name, device="cpu", dtype="float32"))
        for family, name in names.items()
    }


def own_vectors(folder: Path, images: list[Image.Image]) -> Tensor:
    """The family's own processor and model, all in one batch."""
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = AutoModel.from_pretrained(folder).eval()
    inputs = processor(images=images, return_tensors="pt")
    with torch.no_grad():
        if hasattr(model, "get_image_features"):
            rows = model.get_image_features(**inputs).pooler_output
        else:
            output = model(**inputs)
            rows = output.last_hidden_state[:, 0] if folder.name == "vit" else output.pooler_output
    return normalize(rows.flatten(1), dim=-1)


def cosines(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(dim=-1)


@pytest.mark.parametrize("family", ["clip", "siglip", "vit", "convnext", "siglip2_naflex"])
def test_vectors_of_real_photos_are_those_of_the_processor(family: str, models: dict[str, Any]) -> None:
    folder, encoder = models[family]
    images = [Image.fromarray(decode_pixels(photo)) for photo in photos()]
    expected = own_vectors(folder, images)
    assert len(images) == 40
    assert cosines(encoder.encode_image(images), expected).min() > 0.999
    mirrored = own_vectors(folder, [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images])
    assert cosines(mirrored, expected).mean() < 0.99  # the comparison can fail


@pytest.mark.parametrize("family", ["clip", "siglip", "vit"])
def test_a_decoder_that_reduces_changes_no_vector(
    family: str, models: dict[str, Any], tmp_path: Path
) -> None:
    """With the library's own initial weights: those of the other tests make much of a single level of brightness."""
    from transformers import AutoConfig, AutoModel

    folder = Path(shutil.copytree(models[family][0], tmp_path / family))
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    name = f"towers:{folder}+{models['vit'][0].parent / 'bert'}" if family == "vit" else str(folder)
    encoder = load_encoder(name, device="cpu", dtype="float32")
    whole = [decode_pixels(photo) for photo in photos()]
    reduced = [decode_pixels(photo, smallest=encoder.smallest_side) for photo in photos()]
    assert sum(min(a.shape[:2]) < min(b.shape[:2]) for a, b in zip(reduced, whole, strict=True)) >= 20
    expected = own_vectors(folder, [Image.fromarray(picture) for picture in whole])
    found = encoder.encode_prepared([encoder.prepare(picture) for picture in reduced])
    assert cosines(found, expected).min() > 0.999
    assert (expected @ expected.T).min() < 0.99


def test_the_trained_network_bears_a_decoder_that_reduces() -> None:
    """Four photos side by side make one that is large enough to be reduced for it."""
    encoder, found = OfflineEncoder(), photos()[:24]
    mosaics = []
    for start in range(0, 24, 4):
        mosaic = Image.new("RGB", (1800, 1500))
        for place, photo in enumerate(found[start : start + 4]):
            tile = Image.fromarray(decode_pixels(photo)).resize((900, 750))
            mosaic.paste(tile, (place % 2 * 900, place // 2 * 750))
        written = io.BytesIO()
        mosaic.save(written, "JPEG", quality=90)
        mosaics.append(written.getvalue())
    whole = encoder.encode_prepared([encoder.prepare(decode_pixels(photo)) for photo in mosaics])
    reduced = [decode_pixels(photo, smallest=encoder.smallest_side) for photo in mosaics]
    assert {picture.shape for picture in reduced} == {(750, 900, 3)}
    assert cosines(encoder.encode_prepared([encoder.prepare(p) for p in reduced]), whole).min() > 0.999


def test_both_ways_give_the_same_pixels(models: dict[str, Any]) -> None:
    for _, encoder in models.values():
        prepared = [encoder.prepare(rgb_array(picture)) for picture in pictures()]
        assert torch.equal(encoder.encode_prepared(prepared), encoder.encode_image(pictures()))


def test_smallest_side_is_the_input_of_the_model(models: dict[str, Any]) -> None:
    assert {family: encoder.smallest_side for family, (_, encoder) in models.items()} == {
        "clip": SIDE,
        "siglip": SIDE,
        "siglip2_naflex": 0,  # keeps as many patches as fit, of any picture
        "vit": SIDE,
        "convnext": SIDE * 8 // 7,  # of which the middle is kept
    }
    assert OfflineEncoder().smallest_side == 448


def test_prepared_pictures_are_bytes(models: dict[str, Any]) -> None:
    picture = np.zeros((90, 61, 3), np.uint8)
    for family in ("clip", "siglip", "vit", "convnext"):
        prepared = models[family][1].prepare(picture)
        assert (prepared.dtype, prepared.shape) == (torch.uint8, (3, SIDE, SIDE))
    assert set(models["siglip2_naflex"][1].prepare(picture)) >= {"pixel_values", "pixel_attention_mask"}


# Processors


def write_processor(folder: Path, name: str, **settings: Any) -> Any:
    """A folder with the settings of an image processor and nothing else that matters here."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    written = {"image_processor_type": name, "do_resize": True, "do_rescale": True, "do_normalize": True}
    written |= {"image_mean": [0.48, 0.5, 0.4], "image_std": [0.3, 0.2, 0.25], "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(written | settings))
    return Source("model", folder, "fp:0")


SQUARE = {"height": 48, "width": 48}
KNOWN: list[tuple[str, dict[str, Any], Recipe]] = [
    (
        "ViTImageProcessor",
        {"size": {"height": 40, "width": 56}},
        Recipe((40, 56), 0, None, "bicubic", (), ()),
    ),
    ("ViTImageProcessor", {"size": SQUARE, "resample": 1}, Recipe((48, 48), 0, None, "lanczos", (), ())),
    ("SiglipImageProcessor", {"size": SQUARE, "resample": 2}, Recipe((48, 48), 0, None, "bilinear", (), ())),
    (
        "BitImageProcessor",
        {"size": {"shortest_edge": 56}, "crop_size": SQUARE, "do_center_crop": True},
        Recipe(None, 56, (48, 48), "bicubic", (), ()),
    ),
    (
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 49}, "crop_size": {"height": 48, "width": 33}, "do_center_crop": True},
        Recipe(None, 49, (48, 33), "bicubic", (), ()),
    ),
    (
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 48}},
        Recipe(None, 54, (48, 48), "bicubic", (), ()),
    ),
    (
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 384}},
        Recipe((384, 384), 0, None, "bicubic", (), ()),
    ),
    (
        "ViTImageProcessor",
        {"size": SQUARE, "do_normalize": False},
        Recipe((48, 48), 0, None, "bicubic", (), ()),
    ),
]


@pytest.mark.parametrize(("name", "settings", "recipe"), KNOWN)
def test_usual_processors_need_none_of_their_own_code(
    tmp_path: Path, name: str, settings: dict[str, Any], recipe: Recipe
) -> None:
    pixels = Pixels(write_processor(tmp_path / "model", name, **settings), CPU, torch.float32)
    found = pixels.recipe
    assert found is not None
    assert (found.size, found.shortest, found.cut, found.mode) == (
        recipe.size,
        recipe.shortest,
        recipe.cut,
        recipe.mode,
    )
    assert pixels.smallest_side == max(recipe.size or (recipe.shortest,))
    shades = np.linspace(0, 255, 100 * 130 * 3).reshape(100, 130, 3).astype(np.uint8)
    values = pixels([pixels.prepare(shades)])["pixel_values"]
    own = pixels._processor(images=[Image.fromarray(shades)], return_tensors="pt")["pixel_values"]
    assert values.shape == own.shape
    assert (values - own).abs().max() <= 1.01 * max(found.scale)  # one of 255 levels
    assert (values - own).abs().mean() < 0.2 * max(found.scale)


UNKNOWN: list[tuple[str, dict[str, Any]]] = [
    ("ViTImageProcessor", {"size": SQUARE, "resample": 0}),  # nearest
    ("ViTImageProcessor", {"size": SQUARE, "do_rescale": False}),
    ("EfficientNetImageProcessor", {"size": SQUARE, "rescale_offset": True}),  # only the pixels show this
    (
        "LevitImageProcessor",
        {"size": {"shortest_edge": 48}, "crop_size": SQUARE, "do_center_crop": True},
    ),  # and this
    (
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_size": SQUARE, "do_center_crop": True},
    ),  # pads
]


@pytest.mark.parametrize(("name", "settings"), UNKNOWN)
def test_other_processors_do_their_work_themselves(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    pixels = Pixels(write_processor(tmp_path / "model", name, **settings), CPU, torch.float32)
    assert pixels.recipe is None
    assert pixels.smallest_side == 0
    random = np.random.default_rng(3)
    shapes = ((60, 90, 3), (70, 50, 3))
    arrays = [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    values = pixels([pixels.prepare(array) for array in arrays])["pixel_values"]
    own = pixels._processor(images=[Image.fromarray(array) for array in arrays], return_tensors="pt")
    assert torch.equal(values, own["pixel_values"])


def test_a_recipe_that_the_processor_does_not_follow_is_dropped(tmp_path: Path) -> None:
    """Its settings read like those of any other; the pixels of the probes differ."""
    from transformers import AutoImageProcessor

    folder = write_processor(
        tmp_path / "model", *("EfficientNetImageProcessor",), size=SQUARE, rescale_offset=True
    )
    assert read_recipe(AutoImageProcessor.from_pretrained(folder.folder, backend="pil")) is not None
    assert Pixels(folder, CPU, torch.float32).recipe is None


def test_what_is_no_rgb_picture_is_refused(models: dict[str, Any]) -> None:
    for _, encoder in models.values():
        for wrong in (
            np.zeros((8, 8, 4), np.uint8),
            np.zeros((8, 8), np.uint8),
            np.zeros((8, 8, 3), np.float32),
        ):
            with pytest.raises(EncoderError, match="takes RGB bytes"):
                encoder.prepare(wrong)


def test_a_picture_that_may_not_be_written_to(
    models: dict[str, Any], recwarn: pytest.WarningsRecorder
) -> None:
    picture = rgb_array(pictures()[7])
    frozen = picture.copy()
    frozen.flags.writeable = False
    for _, encoder in (*models.values(), ("", OfflineEncoder())):
        rows = encoder.encode_prepared([encoder.prepare(frozen), encoder.prepare(picture)])
        assert torch.equal(rows[0], rows[1])
    assert not recwarn.list


# The arithmetic of a device that resizes no bytes


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_floats_are_rounded_to_the_bytes_of_the_cpu(mode: str) -> None:
    random = np.random.default_rng(1)
    recipes = (Recipe((40, 56), 0, None, mode, (), ()), Recipe(None, 48, (40, 40), mode, (), ()))
    for recipe in recipes:
        for shape in ((48, 48), (40, 56), (7, 5), (301, 77), (90, 640)):
            picture = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
            found = resize_floats(torch.from_numpy(picture), recipe)
            assert found.dtype is torch.uint8
            assert found.shape == (3, *recipe.shape)
            assert (found.int() - resize_bytes(picture, recipe).int()).abs().max() <= 2
