"""Text boxes between the detector's objects and the nested column of `ocr_boxes`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets.ocr.boxes import TextBox
from ocr_assets.tables.schemas import OcrBoxes

DTYPE = OcrBoxes.create_empty().schema["boxes"]
POINTS = pl.List(pl.List(pl.Float64))


def boxes_column(rows: Sequence[Sequence[TextBox] | None]) -> pl.Series:
    """The column `boxes` of as many rows; None stays null.

    A page full of words has hundreds of boxes, so they are put together as flat columns, which
    takes a small part of the time that polars takes for nested Python objects.
    """
    if not rows:
        return pl.Series("boxes", dtype=DTYPE)
    boxes = [box for row in rows if row for box in row]
    points = np.array([box.points for box in boxes], np.float64).reshape(len(boxes), 4, 2)
    flat = pl.DataFrame(
        {
            "row": [number for number, row in enumerate(rows) for _ in row or ()],
            "kind": [box.kind for box in boxes],
            "points": pl.Series(points).cast(POINTS) if boxes else pl.Series(dtype=POINTS),
            "area_pixels": [box.area_pixels for box in boxes],
            "text": [box.text for box in boxes],
            "confidence": [box.confidence for box in boxes],
        },
        schema_overrides={
            "row": pl.UInt32,
            "kind": pl.String,
            "area_pixels": pl.Float64,
            "text": pl.String,
            "confidence": pl.Float64,
        },
    )
    grouped = flat.group_by("row", maintain_order=True).agg(
        pl.struct(pl.exclude("row")).alias("boxes")
    )
    whole = pl.DataFrame(
        {
            "row": pl.Series(range(len(rows)), dtype=pl.UInt32),
            "empty": [row is not None and not row for row in rows],
        }
    ).join(grouped, on="row", how="left", maintain_order="left")
    nothing = pl.lit(pl.Series([[]], dtype=DTYPE)).first()
    return whole.select(
        pl.when("empty").then(nothing).otherwise(pl.col("boxes").cast(DTYPE)).alias("boxes")
    )["boxes"]


def corners_of(boxes: pl.Series) -> NDArray[np.float64]:
    """The corners of all boxes of a column, row by row: (boxes, 4, 2), in pixels."""
    points = boxes.filter(boxes.list.len() > 0).explode().struct.field("points")
    flat: NDArray[np.float64] = points.explode().explode().cast(pl.Float64).to_numpy()
    return flat.reshape(-1, 4, 2)


def boxes_of(row: Sequence[dict[str, Any]]) -> list[TextBox]:
    """The boxes of one row of the column, as polars gives it."""
    found = []
    for box in row:
        a, b, c, d = ((x, y) for x, y in box["points"])
        found.append(TextBox(**(box | {"points": (a, b, c, d)})))
    return found
