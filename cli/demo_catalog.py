"""Draws the demo catalog: about ninety products with a picture each, the same bytes every time.

``python -m mm_milvus_cli.demo_catalog FOLDER`` writes FOLDER/catalog.jsonl and FOLDER/images/*.jpg.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_milvus.errors import CatalogError

from .demo_shapes import SHAPES, darker, mix
from .demo_sketch import SIZE, Sketch, blur

if TYPE_CHECKING:
    from PIL.Image import Image

    from .demo_shapes import Color

__all__ = ["PALETTE", "SIZE", "draw_catalog"]


PALETTE: dict[str, Color] = {
    "red": (196, 28, 40), "blue": (34, 82, 178), "green": (36, 122, 70), "black": (34, 34, 38),
    "white": (240, 240, 237), "yellow": (242, 198, 42), "brown": (116, 72, 42), "pink": (238, 142, 172),
    "orange": (236, 118, 34), "purple": (108, 60, 150), "grey": (134, 138, 144),
}  # fmt: skip
_SYNONYMS = {
    "red": "Crimson Red", "blue": "Cobalt Blue", "green": "Emerald", "black": "Jet Black", "white": "Ivory White",
    "yellow": "Sunflower Yellow", "brown": "Chestnut", "pink": "Blush Pink", "orange": "Tangerine",
    "purple": "Plum", "grey": "Ash Grey",
}  # fmt: skip
_BACKDROPS = ((243, 241, 236), (233, 235, 239), (242, 234, 224), (228, 234, 238))
# White products would vanish on the bright ones.
_DIM_BACKDROPS = ((194, 199, 207), (207, 199, 190), (190, 200, 204))
_BRANDS = (
    "Norrvik", "Alder & Pine", "Kestrel Lane", "Mondavo", "Tamsin Reed", "Bluefjord", "Otomi", "Fennwick",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of product: what is drawn, what it is called, and what the texts say about it."""

    shape: str  # key of SHAPES, also the first part of the id
    kind: str
    category: str
    colors: str
    titles: tuple[str, ...]  # one per style of the shape
    materials: tuple[str, ...]
    texts: tuple[str, ...]
    price: tuple[int, int]
    sizes: str = ""
    height: float = 1


_WORN, _FEET = "XS S M L XL", "37 38 39 40 41 42 43"
_KINDS = (
    Kind("tshirt", "t-shirts", "t-shirts", "red blue green black white yellow red pink",
         ("{} Crew-Neck T-Shirt", "{} V-Neck T-Shirt", "{} Striped T-Shirt", "{} Pocket T-Shirt"),
         ("combed cotton", "organic cotton", "cotton jersey"),
         ("Soft {2} T-shirt in {0} that keeps its shape. Wear it on its own or under a jacket.",
          "A light everyday {2} T-shirt in {0}, cut straight and comfortable for warm days."),
         (12, 32), _WORN),
    Kind("shirt", "shirts", "shirts", "white blue black pink red green",
         ("{} Button-Down Shirt", "{} Pinstripe Shirt"), ("cotton poplin", "linen", "oxford cotton"),
         ("Long-sleeved shirt in {0} with a firm collar, for the office and for dinner afterwards.",
          "Crisp {0}, a chest pocket and adjustable cuffs: smart with a tie, relaxed without one."),
         (35, 79), _WORN),
    Kind("dress", "dresses", "dresses", "red black blue yellow white purple",
         ("{} Sleeveless Summer Dress", "{} Cap-Sleeve Skater Dress"), ("viscose", "cotton sateen", "crêpe"),
         ("Fitted at the waist, with a full skirt of {0} that swings as you walk. Made for summer parties.",
          "A knee-length dress in {0} that goes from an afternoon in town to an evening out."),
         (45, 119), _WORN),
    Kind("sneakers", "sneakers", "shoes", "red red white black yellow green blue",
         ("{} Canvas Sneakers", "{} Low-Top Sneaker Shoes"), ("canvas", "cotton canvas"),
         ("Casual {2} shoes in sturdy {0} with a rubber toe cap and white laces, for every day of the week.",
          "Flat {2} lace-up shoes: breathable {0} above, a grippy rubber sole below."),
         (39, 79), _FEET, 0.86),
    Kind("runners", "running shoes", "shoes", "red red black white orange grey blue",
         ("{} Running Shoes", "{} Cushioned Trail Running Shoes"), ("knitted mesh", "recycled mesh"),
         ("Light {2} running shoes in {0} over a springy foam midsole, for daily training and long weekends.",
          "Cushioned {2} sports shoes; the {0} upper lets air through when the pace goes up."),
         (69, 149), _FEET, 0.8),
    Kind("boots", "boots", "shoes", "brown black red red green white",
         ("{} Lace-Up Ankle Boots", "{} Chelsea Boots"), ("full-grain leather", "waxed leather"),
         ("Sturdy {2} shoes in {0} on a stitched lug sole, ready for rain, mud and city streets.",
          "Warm {2} shoes for the cold months: {0}, a padded collar and a low heel."),
         (99, 199), _FEET),
    Kind("pumps", "high heels", "shoes", "black white red red pink blue",
         ("{} High-Heel Pumps", "{} Ankle-Strap Heels"), ("smooth leather", "patent leather"),
         ("Elegant {2} high-heeled shoes in {0} with a pointed toe, for weddings and long evenings.",
          "Dressy {2} shoes with a slim heel and a padded insole; the {0} is easy to wipe clean."),
         (59, 139), "36 37 38 39 40 41", 0.92),
    Kind("backpack", "backpacks", "bags", "blue red black green yellow white",
         ("{} Daypack with Leather Trim", "{} School Backpack"), ("waxed canvas", "recycled polyester"),
         ("Roomy backpack in {0} with a padded laptop sleeve and a zipped front pocket for small things.",
          "A day bag of {0} with wide straps; fits books, a rain jacket and lunch."),
         (49, 109)),
    Kind("handbag", "handbags", "bags", "brown red black pink white green",
         ("{} Satchel Handbag", "{} Leather Tote Bag"), ("pebbled leather", "vegan leather"),
         ("Structured handbag in {0} with two handles, room for a tablet and a pocket for keys.",
          "{1} with brass fittings that ages well; carry it to work or to the theatre."),
         (79, 219)),
    Kind("mug", "mugs", "kitchen", "white red blue yellow black green pink",
         ("{} Coffee Mug", "{} Striped Mug", "{} Polka Dot Mug"), ("glazed stoneware", "porcelain"),
         ("Holds 350 ml of coffee or tea. {1}, safe in the dishwasher and the microwave.",
          "A generous mug of {0} with a handle that takes four fingers, for slow mornings."),
         (8, 22)),
    Kind("teapot", "teapots", "kitchen", "blue red white green black",
         ("{} Round Teapot", "{} Banded Teapot"), ("glazed stoneware", "porcelain"),
         ("Pours four cups without a drip. {1} with a lid that stays on.",
          "A round-bellied pot of {0} that keeps tea warm through a long conversation."),
         (24, 59)),
    Kind("cap", "caps", "accessories", "black red blue green white orange",
         ("{} Baseball Cap", "{} Two-Tone Cap"), ("cotton twill", "brushed cotton"),
         ("Six-panel cap in {0} with a curved brim that keeps the sun out of your eyes.",
          "{1}, stitched eyelets and an adjustable strap: for the park, the beach and bad hair days."),
         (15, 35)),
    Kind("chair", "armchairs", "home", "grey blue red yellow green",
         ("{} Upholstered Armchair", "{} Buttoned Lounge Chair"), ("wool bouclé", "cotton velvet"),
         ("Deep armchair covered in {0} on solid oak legs, made for reading.",
          "A low lounge chair with a loose cushion in {0}; it fits in small living rooms."),
         (249, 599)),
    Kind("lamp", "table lamps", "home", "white red blue yellow black",
         ("{} Ceramic Table Lamp", "{} Brass Desk Lamp"), ("linen and ceramic", "cotton and brass"),
         ("Table lamp of {0} that gives a warm, even light beside a bed or a sofa.",
          "Dimmable light for desk and sideboard; {0}, with a fabric-covered cord."),
         (39, 129)),
)  # fmt: skip


def draw_catalog(folder: Path) -> Path:
    """Write ``folder``/catalog.jsonl and its pictures (JPEG, SIZE x SIZE) and return the path of the catalog.

    The bytes depend only on the installed Pillow; files that already hold them are left alone.
    Raises CatalogError when the folder cannot be written.
    """
    catalog = Path(folder) / "catalog.jsonl"
    lines = []
    try:
        (catalog.parent / "images").mkdir(parents=True, exist_ok=True)
        for kind, style, product in _products():
            _keep(catalog.parent / product["image"], _jpeg(_photo(kind, style, product)))
            lines.append(json.dumps(product, ensure_ascii=False) + "\n")
        _keep(catalog, "".join(lines).encode())
    except OSError as error:
        reason = error.strerror or error
        raise CatalogError(
            f"cannot write the demo catalog to {folder}: {reason}; choose another folder"
        ) from error
    return catalog


def _keep(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        path.write_bytes(data)


def _products() -> Iterator[tuple[Kind, int, dict[str, Any]]]:
    """Kind, style and catalog line of every product, in catalog order."""
    position = 0
    for kind in _KINDS:
        seen: Counter[str] = Counter()
        for index, color in enumerate(kind.colors.split()):
            seen[color] += 1
            style = index % len(kind.titles)
            product = _describe(kind, style, color, seen[color])
            position += 1
            if position % 30 == 22:  # real catalogs have gaps
                del product["description"]
            yield kind, style, product


def _describe(kind: Kind, style: int, color: str, number: int) -> dict[str, Any]:
    product_id = f"{kind.shape}-{color}-{number}"
    rng = random.Random(product_id)
    synonym = number > 1 or (color != "red" and rng.random() < 0.15)
    material = rng.choice(kind.materials)
    product: dict[str, Any] = {
        "id": product_id,
        "title": kind.titles[style].format(_SYNONYMS[color] if synonym else color.capitalize()),
        "description": rng.choice(kind.texts).format(material, material.capitalize(), color),
        "image": f"images/{product_id}.jpg",
        "category": kind.category,
        "kind": kind.kind,
        "color": color,
        "brand": rng.choice(_BRANDS),
        "material": material,
        "price": round(rng.randint(*kind.price) + rng.choice((0.0, 0.5, 0.9, 0.95)), 2),
        "stock": max(0, rng.randint(-8, 120)),
        "rating": rng.randint(33, 50) / 10,
        "featured": rng.random() < 0.2,
    }
    if sizes := kind.sizes.split():
        first = rng.randint(0, 1)
        product["sizes"] = sizes[first : len(sizes) - rng.randint(0, 2)]
    return product


def _photo(kind: Kind, style: int, product: dict[str, Any]) -> Image:
    """The product in its colour, in a pose of its own, before a backdrop of its own."""
    rng = random.Random("photo " + product["id"])
    tone = rng.randint(-8, 5)
    red, green, blue = (max(20, min(246, c + tone + rng.randint(-2, 2))) for c in PALETTE[product["color"]])
    sketch = Sketch(rng, height=kind.height, flip=not kind.sizes and rng.random() < 0.2)
    SHAPES[kind.shape](sketch, (red, green, blue), style)
    backdrop = rng.choice(_DIM_BACKDROPS if product["color"] == "white" else _BACKDROPS)
    picture = _studio(backdrop)
    shadow = _wall_shadow(sketch) if kind.sizes == _WORN else _floor_shadow(sketch)
    picture.paste(darker(backdrop, 0.85), (0, 0), shadow)
    for paint, mask, box in sketch.parts:
        picture.paste(paint, box, mask)
    return picture


def _jpeg(picture: Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _studio(color: Color) -> Image:
    """A seamless backdrop: brighter in the middle, darker at the corners and towards the floor."""
    from PIL import Image

    backdrop = Image.new("RGB", (SIZE, SIZE), mix(color, (255, 255, 255), 0.25))
    corners = Image.radial_gradient("L").resize((SIZE, SIZE)).point([v * 3 // 5 for v in range(256)])
    backdrop.paste(darker(color, 0.13), (0, 0), corners)
    floor = Image.linear_gradient("L").resize((SIZE, SIZE)).point([v // 4 for v in range(256)])
    backdrop.paste(darker(color, 0.2), (0, 0), floor)
    return backdrop


def _silhouette(sketch: Sketch) -> Image:
    from PIL import Image

    shape = Image.new("L", (SIZE, SIZE))
    for mask, box in sketch.solid:
        shape.paste(255, box, mask)
    return shape


def _wall_shadow(sketch: Sketch) -> Image:
    from PIL import Image

    cast = Image.new("L", (SIZE, SIZE))
    cast.paste(_silhouette(sketch), (7, 11))
    return blur(cast, 10).point([v * 5 // 16 for v in range(256)])


def _floor_shadow(sketch: Sketch) -> Image:
    """The lower third of the silhouette, flattened under the product: sharp where it stands, soft around."""
    from PIL import Image

    shape = _silhouette(sketch)
    left, top, right, bottom = shape.getbbox() or (0, 0, SIZE, SIZE)
    foot = shape.crop((left, top + (bottom - top) * 2 // 3, right, bottom))
    flat = foot.resize((foot.width, max(10, foot.height // 4)))
    cast = Image.new("L", (SIZE, SIZE))
    cast.paste(flat, (left + 6, bottom - flat.height + 5))
    return Image.blend(blur(cast, 14), blur(cast, 5), 0.5).point([v * 5 // 8 for v in range(256)])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mm_milvus_cli.demo_catalog FOLDER")
    print(draw_catalog(Path(sys.argv[1])))
