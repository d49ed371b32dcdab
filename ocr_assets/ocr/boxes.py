"""Where text is on a frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]


@dataclass(frozen=True)
class TextBox:
    """One detected piece of text.

    Attributes:
        kind: `rect` for an upright rectangle, `quad` for a slanted quadrilateral.
        points: Its four corners (x, y) in pixels, in order around it; they may leave the frame.
        area_pixels: Its area in square pixels, as the reference counts it.
        text: What it says, if it was read.
        confidence: How sure the recogniser is, in [0, 1], if it was read.
    """

    kind: Literal["rect", "quad"]
    points: tuple[Point, Point, Point, Point]
    area_pixels: float
    text: str | None = None
    confidence: float | None = None


def rect_box(x_min: float, x_max: float, y_min: float, y_max: float) -> TextBox:
    """An upright rectangle; one whose sides are the wrong way round has no area."""
    width, height = x_max - x_min, y_max - y_min
    area = width * height if width >= 0 and height >= 0 else 0
    corners = ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))
    return TextBox("rect", _points(corners), float(area))


def quad_box(points: Sequence[Sequence[float]]) -> TextBox:
    """A quadrilateral; its area is that of the triangles 1-2-3 and 3-4-1."""
    first, second, third, fourth = corners = _points(points)
    area = _triangle_area(first, second, third) + _triangle_area(third, fourth, first)
    return TextBox("quad", corners, area)


def _points(points: Sequence[Sequence[float]]) -> tuple[Point, Point, Point, Point]:
    a, b, c, d = ((float(x), float(y)) for x, y in points)
    return a, b, c, d


def _triangle_area(a: Point, b: Point, c: Point) -> float:
    return 0.5 * abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]))
