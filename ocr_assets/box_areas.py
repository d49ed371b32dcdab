"""The area under boxes, where boxes that overlap count once. Pure functions."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

# Corners of slanted boxes are put on a grid: beside one that is thinner than floating-point numbers
# can tell, GEOS may lose a whole box.
GRID_PIXELS = 2.0**-30


def covered_pixels(
    corners: NDArray[np.float64],
    *,
    rectangular: bool,
    x_edges: Sequence[float],
    y_edges: Sequence[float],
) -> NDArray[np.float64]:
    """The area that lies under at least one box, in each cell of a grid.

    Of a quadrilateral whose sides cross, what lies under it is its two triangles.

    Args:
        corners: (boxes, 4, 2), in pixels: x and y of each box's corners, in order around it. Boxes
            without area are left out by whoever calls, whatever shape their corners would make.
        rectangular: Whether all boxes are upright rectangles.
        x_edges: Where the grid's columns begin and end, in pixels, from left to right.
        y_edges: The same of its rows, from top to bottom.

    Returns:
        (rows, columns), in square pixels. What lies beyond the grid does not count.
    """
    if not len(corners):
        return np.zeros((len(y_edges) - 1, len(x_edges) - 1))
    if rectangular:
        return _under_rectangles(corners, np.array(x_edges, float), np.array(y_edges, float))
    # Sides that lie on each other make GEOS divide by zero on its way to the right result.
    with np.errstate(divide="ignore", invalid="ignore"):
        on_grid = np.round(corners / GRID_PIXELS) * GRID_PIXELS
        shapes = shapely.make_valid(
            shapely.polygons(on_grid), method="structure", keep_collapsed=False
        )
        cells = shapely.box(
            np.array(x_edges[:-1])[None, :],
            np.array(y_edges[:-1])[:, None],
            np.array(x_edges[1:])[None, :],
            np.array(y_edges[1:])[:, None],
        )
        areas: NDArray[np.float64] = shapely.area(
            shapely.intersection(shapely.union_all(shapes), cells)
        )
    return areas


def _under_rectangles(
    corners: NDArray[np.float64], x_edges: NDArray[np.float64], y_edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """On the finer grid of all their sides, where every place is covered or is not."""
    xs, columns, x_begins = _fine(corners[:, [0, 2], 0], x_edges)
    ys, rows, y_begins = _fine(corners[:, [0, 2], 1], y_edges)
    covered = np.zeros((len(ys) - 1, len(xs) - 1), np.bool_)
    for (left, right), (top, bottom) in zip(columns.tolist(), rows.tolist(), strict=True):
        covered[top:bottom, left:right] = True
    widths, heights = np.diff(xs), np.diff(ys)
    areas = np.empty((len(y_begins) - 1, len(x_begins) - 1))
    for row, column in np.ndindex(areas.shape):
        down = slice(y_begins[row], y_begins[row + 1])
        across = slice(x_begins[column], x_begins[column + 1])
        areas[row, column] = heights[down] @ covered[down, across] @ widths[across]
    return areas


def _fine(
    sides: NDArray[np.float64], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """All sides and edges in order; where the sides are in it, and where the edges are."""
    places = np.concatenate([sides.clip(edges[0], edges[-1]).ravel(), edges])
    fine, index = np.unique(places, return_inverse=True)
    return fine, index[: sides.size].reshape(sides.shape), index[sides.size :]
