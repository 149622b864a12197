"""What the products of the drawn demo catalog look like.

A drawing lives in a square of 100 x 100 units; y points down. Paths are written as in SVG, with the absolute
commands M, L, Q and C. Parts are painted one over another; seams, folds, lines and patches lie on the last part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .demo_sketch import Sketch

    Color = tuple[int, int, int]
    Point = tuple[float, float]
    Path = str | list[Point]

__all__ = ["CLOTH", "SHAPES", "Material", "bezier", "darker", "mirror", "mix", "outline", "oval"]

WHITE, CREAM, DARK, STEEL = (244, 244, 241), (236, 228, 210), (40, 38, 40), (176, 178, 182)
GOLD, OAK, TAN, GUM = (204, 164, 84), (166, 116, 72), (172, 118, 74), (190, 146, 96)


@dataclass(frozen=True, slots=True)
class Material:
    """How a part takes light: depth of the shading, softness of its edges (pixels), gloss 0..1, texture."""

    volume: float = 1.0
    soft: float = 11
    gloss: float = 0.35
    grain: float = 0.0
    wrinkles: float = 0.0


CLOTH = Material(0.8, 12, 0.3, grain=0.09, wrinkles=0.2)
FLAT = Material(0.35, 5, 0.25, grain=0.09, wrinkles=0.08)
CANVAS = Material(0.8, 9, 0.3, grain=0.14, wrinkles=0.08)
LEATHER = Material(1.0, 9, 0.5, grain=0.05, wrinkles=0.12)
RUBBER = Material(0.7, 4, 0.4, grain=0.05)
CERAMIC = Material(1.2, 20, 0.6)
METAL = Material(1.6, 4, 0.9)
WOOD = Material(0.9, 4, 0.4, grain=0.1, wrinkles=0.15)
INSIDE = Material(-0.7, 7, 0.2, grain=0.1)  # negative volume: a hollow


def outline(path: Path) -> list[Point]:
    """Points of an SVG-like path; curves become short straight pieces."""
    if not isinstance(path, str):
        return path
    tokens = re.findall(r"[MLQC]|-?\d+\.?\d*", path)
    points: list[Point] = []
    position = 0
    command = "M"
    while position < len(tokens):
        if tokens[position].isalpha():
            command = tokens[position]
            position += 1
        count = {"M": 2, "L": 2, "Q": 4, "C": 6}[command]
        numbers = [float(token) for token in tokens[position : position + count]]
        controls = list(zip(numbers[::2], numbers[1::2], strict=True))
        if count > 2:
            controls = [bezier([points[-1], *controls], step / 14) for step in range(1, 15)]
        points += controls
        position += count
    return points


def oval(x: float, y: float, rx: float, ry: float) -> list[Point]:
    """Ellipse around (x, y) as a path."""
    curve = f"C{rx} {0.552 * ry} {0.552 * rx} {ry} 0 {ry} C{-0.552 * rx} {ry} {-rx} {0.552 * ry} {-rx} 0"
    lower = outline(f"M{rx} 0 {curve}")
    return [(x + u, y + v) for u, v in lower + [(-u, -v) for u, v in lower]]


def bezier(controls: list[Point], t: float) -> Point:
    """Point at ``t`` (0..1) of the Bezier curve of any degree (de Casteljau)."""
    while len(controls) > 1:
        controls = [(a + (c - a) * t, b + (d - b) * t) for (a, b), (c, d) in pairwise(controls)]
    return controls[0]


def mirror(path: Path) -> list[Point]:
    """The path reflected at the vertical axis of the square."""
    return [(100 - x, y) for x, y in outline(path)]


def mix(color: Color, other: Color, share: float) -> Color:
    """``color`` with ``share`` (0..1) of ``other`` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue


def darker(color: Color, share: float = 0.25) -> Color:
    """``color`` with ``share`` (0..1) of near-black in it."""
    return mix(color, (12, 10, 14), share)


# One part per line, so that a drawing can be read from back to front.
# fmt: off
def tshirt(s: Sketch, color: Color, style: int) -> None:
    """Styles: crew neck, V neck, stripes, chest pocket."""
    low, high = (31, 22) if style == 1 else (23, 22.4)
    s.fill("M50 10 C56 10 60 10.5 62 12 L61 17 L50 26", darker(color, 0.45), INSIDE, half=True)
    for side in (outline, mirror):
        s.fill(side("M69 14.5 C79 18 83 23 86 29 L95 45 C91 48.5 87 50.5 82 52 L73 40"), color)
        s.seam(side("M93.6 43.5 C90 47 86 49 81 50.2"))
    s.fill(f"M50 {low} C57 {high} 61 18 62 12 L72 15.5 C74.5 25 76 34 75.5 42 "
           "C75 57 75.5 75 77 90 C68 92 58 92.6 50 92.6", color, half=True)
    for y in range(33, 92, 8) if style == 2 else ():
        s.patch(f"M15 {y} Q50 {y + 3} 85 {y} L85 {y + 3.4} Q50 {y + 6.4} 15 {y + 3.4}", WHITE, 0.85)
    s.fold("M75.5 43 C73 48 69 53 64 57", 2.6, 0.22, twin=True)
    s.fold("M74 60 C69 70 66 78 67 91", 3.5, 0.22)
    s.fold("M30 58 C36 68 36 78 33 91", 3.5, 0.22)
    s.fold("M44 40 C47 55 46 70 43 84", 4, 0.14)
    s.seam("M71.5 16 C74 25 75.5 34 75.3 42", 0.4, twin=True)
    s.seam("M23 87.5 C40 90 60 90 77 87.5", 0.35)
    s.tube(f"M38.4 12.5 C39 18 43 {high} 50 {low} C57 {high} 61 18 61.6 12.5", 2.6, darker(color, 0.1), FLAT)
    if style == 3:
        s.fill("M57 37 L70 36.5 L70 49 L63.7 52 L57.2 49.5", darker(color, 0.04), FLAT)
        s.stitch("M57.6 39.5 L69.6 39", darker(color, 0.6))


def shirt(s: Sketch, color: Color, style: int) -> None:
    """Styles: plain, pinstripes."""
    trim = mix(color, WHITE, 0.08)
    s.fill("M50 9 C56 8 60 9 62 12 L50 26", darker(color, 0.4), INSIDE, half=True)
    for side in (outline, mirror):
        s.fill(side("M70 14 C79 17 82 23 84 32 L93 78 C90 81 87 82 83.5 82.5 L73 44"), color)
        if style:
            _pinstripes(s, color)
        s.fold(side("M79 28 C81 45 86 62 87 76"), 2.6, 0.25)
        s.fold(side("M75 45 C79 50 82 54 86 55"), 2, 0.25)
        s.fill(side("M83 75.5 C86 75 89 74 91.8 72.5 L93.8 80.5 C91 83 88 84.5 84.8 85"), trim, FLAT)
        s.fill(oval(side("M86.5 79.5")[0][0], 79.5, 0.8, 0.8), CREAM, RUBBER)
    s.fill("M50 24 L61 12 L72 15 C74.5 25 75.5 34 75.2 43 C75 60 75.5 76 77 86 C70 91 60 94 50 92.5", color, half=True)
    if style:
        _pinstripes(s, color)
    s.fold("M75 45 C73 50 70 55 66 59", 2.6, 0.22, twin=True)
    s.fold("M71 60 C68 70 67 80 69 90", 3.2, 0.22, twin=True)
    s.seam("M71.5 16 C74 25 75 34 75 42", 0.45, twin=True)
    s.fill("M47.4 22 L52.6 22 L52.6 93 L47.4 93", trim, FLAT)
    s.stitch("M48.4 26 L48.4 92", darker(color, 0.5), 0.4)
    for y in range(31, 92, 10):
        s.fill(oval(50, y, 1.15, 1.15), CREAM if style else WHITE, RUBBER)
        s.line(f"M49.7 {y} L50.3 {y}", 0.5, DARK, 0.7)
    s.fill("M57 38 L69 37.5 L69 49 L63 51.5 L57 49.5", color, FLAT)
    if style:
        _pinstripes(s, color)
    s.stitch("M57.6 41 L68.6 40.6", darker(color, 0.5), 0.5)
    s.twin("M50 23 C46 18 42 14 40.5 9 C38 10.5 36.5 14 36 18 C38 22 41 26 44.5 29.5", trim, FLAT)
    s.stitch("M49 24 L55.5 28 L62.5 18.5", darker(color, 0.4), 0.5)


def _pinstripes(s: Sketch, color: Color) -> None:
    for x in range(6, 98, 4):
        s.line(f"M{x} 8 L{x} 96", 0.6, mix(color, WHITE, 0.75) if sum(color) < 480 else (70, 90, 150), 0.5)


def dress(s: Sketch, color: Color, style: int) -> None:
    """Styles: straps, cap sleeves."""
    s.fill("M50 12 C56 12 58 10 60 8 L62 14 L50 24", darker(color, 0.45), INSIDE, half=True)
    if style:
        s.twin("M63 7 C70 8 74 13 77 21 C74 24 71 25 67 25 L62 14", color)
    s.fill("M50 23 C56 22 59 15 59.5 6 L64.5 6 C64.5 15 67 20 70 24 C69 32 66 38 64 44 L50 46", color, half=True)
    s.fold("M68 27 C64 31 60 32 56 31", 2.4, 0.3, twin=True)
    s.seam("M61 27 C60 34 60 40 60.5 44", 0.35, twin=True)
    s.fill("M50 44 L64 43 C69 58 79 76 84 89 C74 95 60 97 50 96", color, half=True)
    for x, foot in ((52, 53), (57, 64), (61, 75)):
        s.fold(f"M{x} 48 C{x + 2} 65 {foot} 78 {foot + 1} 96", 3, 0.34, twin=True)
    s.fill("M50 42.6 L64.4 41.6 L64.8 46 L50 47.2", darker(color, 0.3), FLAT, half=True)


def sneakers(s: Sketch, color: Color, style: int) -> None:
    """Canvas sneakers from the side. Styles: low top, low top with a stripe."""
    rubber = WHITE if style == 0 else CREAM
    s.fill("M14 40 C13 32 19 29 27 30 C35 31.5 41 32 46 33 C46 42 26 46 14 44", darker(color, 0.6), INSIDE)
    s.fill("M38 36 C38 28 44 23 49 25.5 C53 30 60 41 69 49 L58 51", mix(color, WHITE, 0.1), CANVAS)
    s.fill("M13 69 C10.5 58 10.5 47 13 36 C14.5 32.5 18 33 21 36 C27 41.5 36 41 42 33.5 C44 32.5 46 33 47 35 "
           "C54 45 63 51 73 54 C84 57 91 60 93 69", color, CANVAS)
    s.fold("M44 48 C46 54 52 60 58 66", 2.4, 0.2)
    s.patch("M10 34 L18 33 C17 45 18 57 20 70 L9 70", darker(color, 0.35), 0.9)
    s.stitch("M19.5 36 C18.5 46 19.5 58 21.5 69", WHITE)
    if style:
        s.patch("M33 69 C38 60 46 55 56 57 L61 61 C50 59 43 62 39 69", WHITE, 0.93)
    s.fill("M43 33.5 C46 32.5 48 35 49 37 C56 46 64 51 74 54 L70 61 C58 58 46 49 39 39", darker(color, 0.1), CANVAS)
    s.stitch("M40.5 39.5 C48 49 58 56.5 69 59.5", WHITE)
    s.fill("M80 56 C89 58.5 93 62 94 69.5 L74.5 69.5 C74 63 76 58 80 56", rubber, RUBBER)
    s.fill("M10.5 66.5 C40 68.5 70 68.5 94.5 66.5 C96 70 95.8 75 93 77.5 C70 78.5 35 78.5 12.5 77.5 "
           "C9.8 75 9.5 70 10.5 66.5", rubber, RUBBER)
    s.line("M10 69.8 C40 71.6 70 71.6 96 69.6", 0.9, color if style == 0 else darker(color), 0.9)
    s.line("M10 77 C40 78.4 70 78.4 96 77", 1.8, GUM, 0.9)
    for x, y in ((46, 38), (50.2, 42.6), (55, 47), (60.3, 50.6), (66, 53.4)):
        s.tube([(x + 3.6, y - 4.4), (x + 0.4, y - 1), (x - 2.6, y + 3.4)], 1.9, WHITE, CLOTH)
    s.tube("M48 32 C54 25 60 30 52 35 M51 34", 1.2, WHITE, CLOTH)


def runners(s: Sketch, color: Color, style: int) -> None:
    """Running shoes from the side. Styles: white midsole, black midsole."""
    foam = WHITE if style == 0 else (58, 58, 62)
    s.fill("M13 36 C13 27 20 26 26 29 C33 32 40 30 46 29 C45 42 24 44 13 42", darker(color, 0.65), INSIDE)
    s.fill("M37 33 C37 25 43 20 48 22.5 C52 28 60 38 70 45 L58 48", darker(color, 0.4), CANVAS)
    s.fill("M11 67 C8 54 8 43 12 33 C14 28.5 18.5 28.5 20.5 32 C25 38.5 35 38.5 41 31 C44 28.8 46.5 30 48.5 33 "
           "C57 43 68 49 80 53 C90 57 95 61 95.5 69", color, CANVAS)
    s.patch("M8 38 C16 40 24 48 26 70 L8 70", darker(color, 0.3), 0.9, soft=0.5)
    s.patch("M72 70 C74 60 80 55 88 54 L98 70", darker(color, 0.22), 0.9, soft=0.5)
    s.patch("M36 70 L43 50 C48 55 53 57 58 59 L54 70", mix(foam, WHITE, 0.5), 0.92)
    s.stitch("M26 40 C30 50 31 60 31 69", WHITE, 0.5)
    s.fill("M43 30 C46 28.6 48 31 49.5 33 C57 42.5 66 48 77 51.5 L73 58.5 "
           "C60 55 47 46 39.5 35.5", darker(color, 0.2), LEATHER)
    s.fill("M7.5 57 C10 63 16 63 25 64.5 C45 68 74 69 96 63.5 C99 67 98.5 73 94 75.5 C80 81 62 77 46 79 "
           "C31 80.5 17 81 10 79 C5.5 74 5.5 64 7.5 57", foam, RUBBER)
    s.line("M7 68 C20 72 34 70 48 72 C64 74 82 73 97 67.5", 0.9, color, 0.9)
    s.line("M8 79 C30 80.6 44 79 60 77.8 C74 78.4 86 78.6 97 73.6", 2, DARK, 0.95)
    for x, y in ((46.5, 34), (51, 39), (56, 43.4), (61.5, 47), (67.5, 50)):
        s.tube([(x + 3.8, y - 4.4), (x + 0.4, y - 1), (x - 2.6, y + 3.2)], 1.7, WHITE if style == 0 else DARK, CLOTH)
    s.tube("M9.5 35 C7 30 10 26 14 29", 1.6, darker(color, 0.3), CLOTH)


def boots(s: Sketch, color: Color, style: int) -> None:
    """Ankle boots from the side. Styles: laced, Chelsea."""
    s.fill(oval(40, 12.5, 15, 3.4), darker(color, 0.6), INSIDE)
    if style == 0:
        s.fill("M49 14 C50 8 56 6 59 9 C61 20 63 32 66 44 L56 44", darker(color, 0.15), LEATHER)
    s.fill("M25 12.5 C33 16.5 47 16.5 55 12.5 C56 26 57 36 60 43 C66 50 80 53 88 58 C94 62 96 69 95.5 78 L21 78 "
           "C20 60 24 36 25 12.5", color, LEATHER)
    s.fold("M58 42 C52 46 44 46 38 45", 2.6, 0.35)
    s.fold("M60 48 C54 53 46 54 40 53", 2.4, 0.25)
    s.line("M32 22 C31 40 29 56 29 70", 5, (255, 255, 255), 0.22, soft=5)
    s.line("M72 58 C80 59 86 62 90 67", 4, (255, 255, 255), 0.35, soft=4)
    s.seam("M21 60 C30 58 36 64 38 78")
    if style:
        s.fill("M34 15.6 L47 15.4 C47 30 46 42 41 50 C35 42 34 28 34 15.6", darker(color, 0.65), FLAT)
        for rib in range(35, 48, 2):
            s.line(f"M{rib} 15 L{rib - (rib - 41) * 0.5} 50", 0.5, (0, 0, 0), 0.5)
        s.tube("M27 14 C24 5 31 5 30.5 14", 2, darker(color, 0.5), FLAT)
    else:
        s.seam("M66 78 C64 68 66 60 73 53")
        s.fill("M48 14.6 L55.5 12.5 C56.5 26 57.5 36 61 43.5 L66 48 L60 53 "
               "C53 48 49 34 48 14.6", darker(color, 0.15), LEATHER)
        for x, y in ((54, 18), (54.8, 24), (55.8, 30), (57.2, 36), (59.4, 42), (63, 47)):
            s.tube([(x + 3.4, y - 2.0), (x, y), (x - 4.4, y + 2.4)], 1.5, CREAM, CLOTH)
            s.fill(oval(x - 4.6, y + 2.5, 1, 1), GOLD, METAL)
    sole = mix(DARK, GUM, 0.35)
    s.fill("M20 76.5 L96 76 C97.5 80 97 84 94 85.5 C80 87 62 86 48 84.5 L46 91 L20.5 91 "
           "C18.6 86 18.8 80 20 76.5", sole, RUBBER)
    s.stitch("M21 78.4 L95.5 78", CREAM)


def pumps(s: Sketch, color: Color, style: int) -> None:
    """High heels from the side. Styles: pump, sling with an ankle strap."""
    s.fill("M14 33 C18 29 22 33 27 42 C36 52 50 56 65 60 L54 64 C38 60 25 50 18 38", TAN, INSIDE)
    if style:
        s.tube("M14 22 C17 16 39 17 40 23", 2.4, darker(color, 0.45), LEATHER)
    s.fill("M13 50 C17 56 22 59 29 61 C21.5 66 20 76 19.6 90 L16.6 90 C16 76 11.5 62 12 46", color, LEATHER)
    s.fill("M12.5 33 C15.5 30.5 19 32.5 20.5 36 C26 48 39 57 52 60.5 C57 58.5 61 57.5 65 60.5 "
           "C75 67 88 73 95.5 80 C97 83 94 84.8 90 85 L71 85 C58 84 48 76 40 69.5 C34 64 27 60 20 58.5 "
           "C12.5 53 11.5 42 12.5 33", color, LEATHER)
    s.line("M16 38 C20 50 32 60 46 66 C58 71 70 76 84 79", 2.6, (255, 255, 255), 0.5, soft=3)
    s.line("M53 63 C60 61 66 65 72 70", 2, (255, 255, 255), 0.35, soft=2.5)
    s.line("M20 59.4 C28 61 35 65.5 41 71 C50 78.5 60 84.4 71 85 L92 85", 1.6, DARK, 0.85)
    s.fill("M16 89 L20.2 89 L20.2 92 L16 92", DARK, RUBBER)
    if style:
        s.tube("M15 37 L14 22", 3.4, color, LEATHER)
        s.tube("M14 22 C16 29 37 30 40 23", 2.8, color, LEATHER)
        s.fill(oval(31, 27.4, 2, 2.2), GOLD, METAL)


def backpack(s: Sketch, color: Color, style: int) -> None:
    """Styles: leather trim, dark trim."""
    trim = TAN if style == 0 else darker(color, 0.6)
    s.twin("M69 26 C78 34 84 48 83 66 L78 80 L74 60", darker(color, 0.4), CANVAS)
    s.tube("M41 13 C41 1 59 1 59 13", 3, trim, LEATHER)
    s.twin("M72 58 L80 60 C83 66 83 78 81 86 L74 88", darker(color, 0.12), CANVAS)
    s.fill("M50 8 C66 8 75 15 75.5 31 L78 80 C78 90 72 93 65 93 L50 93", color, CANVAS, half=True)
    s.fold("M68 22 C71 36 71 44 70 52", 3, 0.22, twin=True)
    s.line("M27.5 50 C27 26 34 15 50 15 C66 15 73 26 72.5 50", 1.6, (0, 0, 0), 0.55)
    s.line("M27.5 50 C27 26 34 15 50 15 C66 15 73 26 72.5 50", 0.7, STEEL, 0.9)
    s.fill("M50 53 L65 53 C69 53 71 55 71.3 58 L73 82 C73 87 70 89 66 89 "
           "L50 89", darker(color, 0.06), CANVAS, half=True)
    s.line("M29 60.5 L71 60.5", 1.8, (0, 0, 0), 0.5)
    s.line("M29 60.5 L71 60.5", 0.7, STEEL, 0.9)
    s.stitch("M31 57.5 C31 55.5 33 55 35 55 L65 55 C67 55 69 55.5 69 57.5", WHITE, 0.5)
    s.tube("M64 60.5 L64 67", 1.6, trim, LEATHER)
    s.tube("M71.5 44 L73 51", 1.6, trim, LEATHER)
    s.fill("M42 31 L58 31 L58 42 L42 42", trim, LEATHER)
    s.stitch("M43.2 32.2 L56.8 32.2 L56.8 40.8 L43.2 40.8 L43.2 32.2", CREAM)
    if style == 0:
        s.fill("M50 89 L66 89 C71 89 74 86 74.6 81 L78 81 C78 90 72 93.2 65 93.2 L50 93.2", trim, LEATHER, half=True)


def handbag(s: Sketch, color: Color, style: int) -> None:
    """Styles: satchel with a flap, tote."""
    dark = darker(color, 0.25)
    s.tube("M35 42 C36 9 64 9 65 42", 2.6, darker(color, 0.5), LEATHER)
    s.fill("M50 38 L77 38 C81 38 82.6 40 83 43 L89 83 C89.6 88 87 91 82 91 L50 91", color, LEATHER, half=True)
    s.fold("M84 70 C83 78 80 84 76 89", 3, 0.2, twin=True)
    s.stitch("M19.5 44 L13.6 83 C13.4 87 15 88.6 19 88.6 L81 88.6 C85 88.6 86.6 87 86.4 83 L80.5 44", CREAM, 0.55)
    if style == 0:
        s.fill("M50 37 L79 37 C82 37 83.4 39 83.6 42 L84.4 55 "
               "C82 64 70 67.5 50 67.5", darker(color, 0.08), LEATHER, half=True)
        s.stitch("M18 45 L17.6 55 C21 62 32 65.4 50 65.4 C68 65.4 79 62 82.4 55 L82 45", CREAM, 0.6)
        s.fill("M45 61 L55 61 L55 72 L45 72", GOLD, METAL)
        s.fill(oval(50, 66.5, 2, 2), darker(GOLD, 0.5), METAL)
    else:
        s.seam("M18 48 L82 48")
        s.fill("M43 58 L57 58 L57 66 L43 66", dark, LEATHER)
        s.line("M46 62 L54 62", 0.9, GOLD, 0.9)
    s.tube("M31 46 C32 4 68 4 69 46", 3.2, dark, LEATHER)
    for x in (31, 69):
        s.fill(f"M{x - 3} 44 L{x + 3} 44 L{x + 2.4} 54 L{x} 56 L{x - 2.4} 54", dark, LEATHER)
        s.fill(oval(x, 46.5, 2, 2), GOLD, METAL)


def mug(s: Sketch, color: Color, style: int) -> None:
    """Styles: plain, white band, white dots."""
    s.tube("M67 36 C90 31 92 70 67 74", 6.4, color, CERAMIC)
    s.fill("M18 24 C18 15 70 15 70 24 C70.6 44 70.4 66 68.5 80 C67 90 21 90 19.5 80 "
           "C17.6 66 17.4 44 18 24", color, CERAMIC)
    if style == 1:
        s.patch("M10 46 C30 54 58 54 78 46 L78 60 C58 68 30 68 10 60", WHITE, 0.85)
    dots = ((26, 42), (40, 46), (54, 45), (33, 58), (48, 60), (62, 56), (26, 73), (41, 76), (56, 74))
    for x, y in dots if style == 2 else ():
        s.patch(oval(x, y, 2.8, 2.8), WHITE, 0.9)
    s.line("M62 32 C64 50 63 68 61 82", 10, (0, 0, 0), 0.28, soft=9)
    s.line("M27 34 C26.4 50 26.8 66 28.5 80", 5, (255, 255, 255), 0.5, soft=5)
    s.fill(oval(44, 24, 26.4, 7.4), mix(color, WHITE, 0.25), CERAMIC)
    s.fill(oval(44, 24.6, 24.2, 6.1), darker(WHITE, 0.08), INSIDE)
    s.line("M22 30 C34 35 54 35 66 30", 4, (90, 52, 28), 0.95)


def teapot(s: Sketch, color: Color, style: int) -> None:
    """Styles: plain, white band."""
    s.tube("M26 46 C4 38 4 78 27 74", 5, color, CERAMIC)
    s.fill("M66 52 C80 52 82 38 92 34 L97 37.5 C90 48 88 70 66 78", color, CERAMIC)
    s.fill("M48 34 C32 34 20 46 20 60 C20 74 28 84 36 86 C44 87.5 52 87.5 60 86 C68 84 76 74 76 60 "
           "C76 46 64 34 48 34", color, CERAMIC)
    if style:
        s.patch("M16 56 C34 63 62 63 80 56 L80 66 C62 73 34 73 16 66", WHITE, 0.85)
    s.line("M32 46 C27 54 27 62 30 70", 6, (255, 255, 255), 0.5, soft=6)
    s.line("M70 52 C72 64 66 76 58 82", 7, (0, 0, 0), 0.22, soft=7)
    s.fill("M33 36.5 C36 27 60 27 63 36.5 C56 41 40 41 33 36.5", color, CERAMIC)
    s.line("M40 32.5 C44 30 49 29.6 52 30", 2, (255, 255, 255), 0.5, soft=2)
    s.fill(oval(48, 26, 4, 3.8), darker(color, 0.1), CERAMIC)


def cap(s: Sketch, color: Color, style: int) -> None:
    """Baseball caps. Styles: plain, contrast brim."""
    brim = color if style == 0 else DARK if sum(color) > 160 else (180, 40, 48)
    s.fill("M12 64 C9 38 25 21 46 21 C65 21 75 36 76 59 C56 55 34 57 12 64", color, CANVAS)
    s.fold("M30 26 C22 36 20 48 22 60", 4, 0.2)
    s.seam("M46 21 C32 30 26 46 27 61")
    s.seam("M46 21 C50 32 53 44 53 58")
    s.seam("M46 21 C62 28 70 42 72 58")
    for x, y in ((37, 35), (58, 34)):
        s.line(f"M{x} {y} L{x + 0.1} {y}", 2, darker(color, 0.7), 0.8)
    s.stitch("M14 59.6 C35 53 56 51.4 75 55", CREAM, 0.5)
    s.fill(oval(46, 21, 2.6, 1.5), darker(color, 0.1), CANVAS)
    s.fill("M30 60 C46 54.6 64 53.6 77 57 C91 61 99.4 69 97.6 74.4 C96 77.4 91 74.6 86 72.4 C74 66.6 54 62.6 30 60",
           brim, CANVAS)
    for bend in (0, 3, 6):
        rib = f"M{40 + 2 * bend} {61 - bend / 2} C60 {62.4 - bend} 78 {65 - bend} 93 {74.6 - bend}"
        s.stitch(rib, mix(brim, WHITE, 0.5), 0.45)


def chair(s: Sketch, color: Color, style: int) -> None:
    """Armchairs. Styles: smooth back, buttoned back."""
    for path in ("M24 80 L28 80 L25.5 96 L23 96", "M76 80 L72 80 L74.5 96 L77 96"):
        s.fill(path, OAK, WOOD)
    s.fill("M50 9 C64 9 74 11 76 20 L79 62 L50 64", color, CLOTH, half=True)
    s.fold("M71 20 C73 34 74 44 74 54", 3, 0.2, twin=True)
    for x, y in ((37, 24), (50, 24), (63, 24), (43.5, 36), (56.5, 36)) if style else ():
        s.line(f"M{x} {y} L{x + 0.1} {y}", 4, (0, 0, 0), 0.4, soft=2)
        s.line(f"M{x} {y} L{x + 0.1} {y}", 1.8, darker(color, 0.4), 0.9)
    s.fill("M50 68 L80 68 L79 85 C70 87 60 87 50 87", darker(color, 0.2), CLOTH, half=True)
    s.fill("M50 53 L70 53 C75 54 77 58 76 66 C75 71 70 72 66 72 L50 72", color, CLOTH, half=True)
    s.seam("M25 66 C40 69 60 69 75 66")
    s.twin("M74 44 C76 38 88 38 90 45 C91 58 90 74 87 85 L76 86 C75 72 74 58 74 44", color, CLOTH)


def lamp(s: Sketch, color: Color, style: int) -> None:
    """Table lamps. Styles: ceramic foot, slim brass stand."""
    s.tube("M50 40 L50 88", 2.2, GOLD, METAL)
    if style == 0:
        s.fill("M50 54 C56 55 64 62 64 74 C64 84 58 89 56 91 L50 91", color, CERAMIC, half=True)
        s.line("M42 62 C38 70 39 80 43 86", 3, (255, 255, 255), 0.5, soft=3)
    s.fill(oval(50, 91.5, 15, 3.4), GOLD, METAL)
    s.fill("M50 8 L66 8 C71 24 76 38 80 50 C70 54.5 60 55 50 55", color, CLOTH, half=True)
    s.patch(oval(50, 36, 19, 20), mix(color, (255, 246, 214), 0.6), 0.5, soft=14)
    s.line("M33 10.4 C44 9.4 56 9.4 67 10.4", 1.2, darker(color, 0.35), 0.8)
    s.line("M20 49 C38 54.6 62 54.6 80 49", 1.4, darker(color, 0.35), 0.8)


SHAPES: dict[str, Callable[[Sketch, Color, int], None]] = {
    shape.__name__: shape
    for shape in (tshirt, shirt, dress, sneakers, runners, boots, pumps,
                  backpack, handbag, mug, teapot, cap, chair, lamp)
}
