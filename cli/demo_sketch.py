"""The brush of the demo catalog: shapes become shaded, textured parts on a transparent picture, smooth at the edges."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise
from math import cos, dist, radians, sin
from typing import TYPE_CHECKING

from .demo_shapes import CLOTH, Material, bezier, mirror, outline

if TYPE_CHECKING:
    from PIL.Image import Image

    from .demo_shapes import Color, Point
    from .demo_shapes import Path as Drawn

    Box = tuple[int, int, int, int]

__all__ = ["FINE", "MARGIN", "SIZE", "Sketch", "blur"]

SIZE = 400  # pixels, width and height of a picture
FINE = 3  # masks are drawn this much larger and reduced: smooth edges
MARGIN = 24  # pixels around a part, so that its blurred mask ends in zeros


def blur(image: Image, radius: float) -> Image:
    from PIL import ImageFilter

    return image.reduce(2).filter(ImageFilter.GaussianBlur(radius / 2)).resize(image.size)


@cache
def _ramp(color: Color, gloss: float) -> list[list[int]]:
    """Per channel a table from shade (128 is the plain colour) to value."""
    depth = 0.84 - 0.36 * sum(color) / 765  # shade on white cloth is never as deep as on dark cloth
    dim = [[round(c * (1 - depth * (1 - shade / 128))) for shade in range(128)] for c in color]
    lit = [[round(c + (255 - c) * gloss * shade / 127) for shade in range(128)] for c in color]
    return [low + high for low, high in zip(dim, lit, strict=True)]


@cache
def _noise(cells: tuple[int, int], seed: int) -> Image:
    """Random grey of ``cells`` stretched to 2 SIZE x 2 SIZE. Seeded: Pillow's own noise is not."""
    from PIL import Image

    values = random.Random(seed).randbytes(cells[0] * cells[1])
    return Image.frombytes("L", cells, values).resize((2 * SIZE, 2 * SIZE), Image.Resampling.BICUBIC)


@cache
def _texture(grain: float, wrinkles: float) -> Image:
    """Grey 128 plus a weave of fine threads and broad soft wrinkles; 2 SIZE x 2 SIZE."""
    from PIL import Image

    weave = Image.blend(_noise((400, 800), 1), _noise((800, 400), 2), 0.5)
    folds = Image.blend(_noise((34, 12), 3), _noise((14, 26), 4), 0.5)
    grey = Image.new("L", weave.size, 128)
    return Image.blend(Image.blend(grey, weave, grain), Image.blend(grey, folds, wrinkles), 0.5).point(
        [max(0, min(255, 128 + 2 * (value - 128))) for value in range(256)]
    )


class Sketch:
    """One picture under way: parts are collected in painting order, ready to be pasted."""

    def __init__(self, rng: random.Random, *, height: float = 1, flip: bool = False) -> None:
        """``rng`` chooses the pose; ``height`` squeezes the drawing, ``flip`` swaps left and right."""
        angle = radians(rng.uniform(-3, 3))
        self._scale = rng.uniform(0.88, 0.97)
        self._turn = (self._scale * cos(angle), self._scale * sin(angle))
        self._shift = (50 + rng.uniform(-1.2, 1.2), 50 + rng.uniform(-0.8, 0.8))
        self._stretch = (-1.0 if flip else 1.0, height * rng.uniform(0.97, 1.03))
        self._grain = (rng.randrange(SIZE // 2), rng.randrange(SIZE // 2))
        self.parts: list[tuple[Image | Color, Image, Box]] = []  # paint, mask and place, in painting order
        self.solid: list[tuple[Image, Box]] = []  # the parts with a body: together they are the silhouette

    def fill(self, path: Drawn, color: Color, material: Material = CLOTH, *, half: bool = False) -> None:
        """A closed part. ``half``: the path is its right half, from the axis x = 50 back to the axis."""
        points = outline(path)
        pixels = self._place(points + mirror(points)[::-1] if half else points)
        self._paint(pixels, 0, color, material)

    def twin(self, path: Drawn, color: Color, material: Material = CLOTH) -> None:
        """A part and its mirror image."""
        self.fill(path, color, material)
        self.fill(mirror(path), color, material)

    def tube(self, path: Drawn, width: float, color: Color, material: Material = CLOTH) -> None:
        """A round cord along a path: a strap, a lace, a handle."""
        self._paint(self._place(outline(path)), width, color, material)

    def patch(self, path: Drawn, color: Color, opacity: float = 0.92, *, soft: float = 0) -> None:
        """A print on the last part, clipped by it; keeps the shading below by being slightly transparent."""
        self._ink(self._place(outline(path)), 0, color, opacity, soft)

    def line(self, path: Drawn, width: float, color: Color, opacity: float = 0.8, *, soft: float = 0) -> None:
        """A line on the last part, clipped by it."""
        self._ink(self._place(outline(path)), width, color, opacity, soft)

    def seam(self, path: Drawn, depth: float = 0.45, *, twin: bool = False) -> None:
        """A seam: a thin dark line with a light one beside it."""
        self.line(path, 0.55, (0, 0, 0), depth, soft=0.6)
        self.line(
            [(x + 0.8, y + 0.5) for x, y in outline(path)], 0.5, (255, 255, 255), depth * 0.45, soft=0.6
        )
        if twin:
            self.seam(mirror(path), depth)

    def fold(self, path: Drawn, width: float = 3, depth: float = 0.3, *, twin: bool = False) -> None:
        """A soft fold: shade on one side, light on the other."""
        self.line(path, width, (0, 0, 0), depth, soft=width * 1.6)
        offset = [(x - width * 0.9, y - width * 0.3) for x, y in outline(path)]
        self.line(offset, width * 0.7, (255, 255, 255), depth * 0.5, soft=width * 1.4)
        if twin:
            self.fold(mirror(path), width, depth)

    def stitch(self, path: Drawn, color: Color, opacity: float = 0.75) -> None:
        """Dashes along a path."""
        for a, b in pairwise(outline(path)):
            count = max(1, round(dist(a, b) / 1.7))
            for step in range(count):
                dash = [bezier([a, b], (step + 0.2) / count), bezier([a, b], (step + 0.75) / count)]
                self.line(dash, 0.45, color, opacity)

    def _place(self, points: list[Point]) -> list[Point]:
        (along, across), (dx, dy), (wide, high) = self._turn, self._shift, self._stretch
        centred = [((x - 50) * wide, (y - 50) * high) for x, y in points]
        turned = [(dx + along * u - across * v, dy + across * u + along * v) for u, v in centred]
        return [(x * SIZE / 100, y * SIZE / 100) for x, y in turned]

    def _mask(self, pixels: list[Point], width: float) -> tuple[Image, Box]:
        """Coverage of a polygon, or of a line of ``width`` units, with the box it belongs in."""
        from PIL import Image, ImageDraw

        thick = width * self._scale * SIZE / 100
        xs, ys = [x for x, _ in pixels], [y for _, y in pixels]
        pad = MARGIN + thick / 2
        left, top = int(min(xs) - pad), int(min(ys) - pad)
        columns, rows = int(max(xs) + pad) - left + 1, int(max(ys) + pad) - top + 1
        fine = Image.new("L", (columns * FINE, rows * FINE))
        draw = ImageDraw.Draw(fine)
        moved = [((x - left) * FINE, (y - top) * FINE) for x, y in pixels]
        if width:
            draw.line(moved, 255, max(1, round(thick * FINE)), joint="curve")
            radius = thick * FINE / 2
            for x, y in (moved[0], moved[-1]):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
        else:
            draw.polygon(moved, 255)
        return fine.reduce(FINE), (left, top, left + columns, top + rows)

    def _paint(self, pixels: list[Point], width: float, color: Color, material: Material) -> None:
        from PIL import Image

        mask, box = self._mask(pixels, width)
        shade = self._shade(mask, box, material)
        channels = [shade.point(table) for table in _ramp(color, material.gloss)]
        self.parts.append((Image.merge("RGB", channels), mask, box))
        self.solid.append((mask, box))

    def _shade(self, mask: Image, box: Box, material: Material) -> Image:
        """Grey shading of a part: light from the upper left on a surface that bulges, and the texture."""
        from PIL import Image, ImageChops, ImageFilter

        small = mask.reduce(2).filter(ImageFilter.GaussianBlur(material.soft / 2))
        reach = max(1, round(material.soft / 4))
        ahead, behind = ImageChops.offset(small, -reach, -reach), ImageChops.offset(small, reach, reach)
        slope = ImageChops.subtract(ahead, behind, 1.6 / abs(material.volume), 128)
        edge = small.point([round(128 - 62 * abs(material.volume) * (1 - v / 255)) for v in range(256)])
        if material.volume < 0:
            slope = ImageChops.invert(slope)
        falloff = Image.linear_gradient("L").resize(small.size).point([134 - v // 16 for v in range(256)])
        shade = ImageChops.add(ImageChops.add(slope, edge, 1, -116), falloff, 1, -128).resize(mask.size)
        if not (material.grain or material.wrinkles):
            return shade
        x, y = (offset + max(0, start) // 2 for offset, start in zip(self._grain, box, strict=False))
        grain = _texture(material.grain, material.wrinkles).crop((x, y, x + mask.width, y + mask.height))
        return ImageChops.add(shade, grain, 1, -128)

    def _ink(self, pixels: list[Point], width: float, color: Color, opacity: float, soft: float) -> None:
        from PIL import Image, ImageChops, ImageFilter

        mask, box = self._mask(pixels, width)
        if soft:
            mask = mask.filter(ImageFilter.GaussianBlur(soft))
        below, (left, top, _, _) = self.solid[-1]
        window = Image.new("L", mask.size)
        window.paste(below, (left - box[0], top - box[1]))
        mask = ImageChops.multiply(mask, window).point([round(v * opacity) for v in range(256)])
        self.parts.append((color, mask, box))
