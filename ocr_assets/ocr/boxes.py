"""Where text is on a frame."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# A detector cannot find anything there, and it is near enough for areas to be computed exactly.
FARTHEST_PIXELS = 1e9

Point = tuple[float, float]


class BoxError(ValueError):
    """Numbers that are not a place on any picture."""


@dataclass(frozen=True)
class TextBox:
    """One detected piece of text.

    Attributes:
        kind: `rect` for an upright rectangle, `quad` for a slanted quadrilateral.
        points: Its four corners (x, y) in pixels, in order around it; they may leave the frame.
        area_pixels: Its area in square pixels, as the reference counts it.
        text: What it says, if it was read.
        confidence: How sure the recogniser is, in [0, 1], if it was read.

    Raises:
        BoxError: A coordinate is not finite or farther from the frame than FARTHEST_PIXELS, or the
            area is not finite or less than 0. As a ratio it would be compared with bounds and lead
            to some verdict or other.
    """

    kind: Literal["rect", "quad"]
    points: tuple[Point, Point, Point, Point]
    area_pixels: float
    text: str | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be a box."""
        # So written that NaN, which is neither less nor greater, is refused.
        for coordinate in itertools.chain.from_iterable(self.points):
            if not abs(coordinate) <= FARTHEST_PIXELS:
                raise BoxError(
                    f"a box at {self.points} is not on any picture: coordinates are finite and at "
                    f"most {FARTHEST_PIXELS:.0e} pixels"
                )
        if not 0 <= self.area_pixels < float("inf"):
            raise BoxError(f"a box's area is finite and at least 0, not {self.area_pixels}")


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
