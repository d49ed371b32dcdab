"""Text that another run has found already, on frames with the same pixels."""

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.storage_errors import UNREADABLE_PART

# What is taken over: all that was found on the frame, and where and how fast.
COLUMNS = ("boxes", "ocr_area_ratio", "union_area_ratio", "device", "milliseconds")

Places = Mapping[str, dt.date]
"""Part files of `ocr_boxes`, and the day that each is of."""

_SIDES: tuple[Any, Any] = ("left", "right")


def numbers_of(image_hashes: pl.Series) -> NDArray[np.uint64]:
    """Hashes as numbers of 8 bytes, of which millions can be held in memory.

    Two pictures may have the same number: what it says is where to look, not what to find.
    """
    return image_hashes.drop_nulls().hash(seed=0).to_numpy()


def are_among(ascending: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of some numbers are among others, in a time that hardly grows with the others.

    Args:
        ascending: The others, in ascending order.
        numbers: The numbers.
    """
    first, past_last = (np.searchsorted(ascending, numbers, side) for side in _SIDES)
    return first < past_last


class KnownBoxes:
    """In which part files there are boxes of a day's frames; they are not read yet.

    It takes 12 bytes for each frame that is known.

    Attributes:
        count: How many of the day's frames are known.
    """

    def __init__(
        self,
        table: PartitionedTable,
        days: Mapping[dt.date, list[str]],
        detection_key: str,
        frames: NDArray[np.uint64],
    ) -> None:
        """Looks for frames.

        Args:
            table: `ocr_boxes`.
            days: Its partitions to look through and their part files, the nearest first. One is
                looked through up to the first file that is missing or torn.
            detection_key: That of the boxes.
            frames: The `numbers_of` the day's frames, in ascending order, repetitions included.
        """
        self._places: list[tuple[str, dt.date]] = []
        wanted = np.unique(frames)
        is_left = np.ones(wanted.size, np.bool_)
        numbers = [np.empty(0, np.uint64)]
        places = [np.empty(0, np.uint32)]

        def hashes(rows: pl.LazyFrame) -> pl.LazyFrame:
            return rows.filter(_is_good(detection_key)).select("image_hash")

        for day, paths in days.items():
            try:
                for path, found in zip(paths, table.collect_parts(paths, day, hashes), strict=True):
                    here = np.unique(numbers_of(found["image_hash"]))
                    at = np.searchsorted(wanted, here[are_among(wanted, here)])
                    at = at[is_left[at]]
                    if at.size:
                        is_left[at] = False
                        numbers.append(wanted[at])
                        places.append(np.full(at.size, len(self._places), np.uint32))
                        self._places.append((path, day))
            except UNREADABLE_PART:
                continue
        order = np.argsort(all_numbers := np.concatenate(numbers))
        self._numbers = all_numbers[order]
        self._place_of = np.concatenate(places)[order]
        starts, ends = (np.searchsorted(frames, self._numbers, side) for side in _SIDES)
        self.count = int((ends - starts).sum())

    def places(self, frames: NDArray[np.uint64]) -> dict[str, dt.date]:
        """The part files to look into for some frames, by their numbers."""
        known = np.searchsorted(self._numbers, frames[are_among(self._numbers, frames)])
        return dict(self._places[place] for place in np.unique(self._place_of[known]))


def read_boxes(
    table: PartitionedTable, places: Places, detection_key: str, image_hashes: Collection[str]
) -> dict[str, dict[str, Any]]:
    """What is known of frames, the columns COLUMNS by hash, without those that are not known.

    A part file that is gone by now makes its frames unknown.

    Args:
        table: `ocr_boxes`.
        places: The part files to look into.
        detection_key: That of the boxes.
        image_hashes: The frames'.
    """
    known: dict[str, dict[str, Any]] = {}
    for path, day in places.items():
        wanted = pl.col("image_hash").is_in([*(set(image_hashes) - known.keys())])
        try:
            here = table.scan_part(path, day).filter(_is_good(detection_key), wanted)
            rows = here.select("image_hash", *COLUMNS).collect()
        except UNREADABLE_PART:
            continue
        known |= {row.pop("image_hash"): row for row in rows.to_dicts()}
    return known


def _is_good(detection_key: str) -> pl.Expr:
    return (pl.col("detection_key") == detection_key) & pl.col("error").is_null()
