"""What `ocr_boxes` has to know of a day's frames before any of them is looked at."""

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets.compute.boxes_work import BoxesUnit
from ocr_assets.compute.known_boxes import KnownBoxes, are_among, numbers_of
from ocr_assets.tables.partitioned import PartitionedTable

COLUMNS = ("video_id", "frame_index", "image_hash", "error")


@dataclass(frozen=True)
class DayOfFrames:
    """A day's parts, in numbers: 8 bytes for each frame.

    Attributes:
        parts: The part files, in order.
        frames: Frames in each of them, without those that failed.
        numbers: `numbers_of` the frames, part after part, in one piece.
        starts: Where in it each part begins, and where the last one ends.
        digest: Hash of the frames' ids, hashes and errors, and of which part each is in. By
            content: frames that were sampled again in the same way are the same frames.
    """

    parts: Sequence[str]
    frames: Sequence[int]
    numbers: NDArray[np.uint64]
    starts: Sequence[int]
    digest: str

    @classmethod
    def read(cls, table: PartitionedTable, date: dt.date) -> "DayOfFrames":
        """Reads what tells the rows of each part apart, without what makes them large.

        Args:
            table: `sampled_frames`.
            date: The day.

        Raises:
            PartitionMissingError: It was never written.
            TableDamagedError: A part cannot be read.
        """
        paths = table.parts(date)
        frames: list[int] = []
        numbers = [np.empty(0, np.uint64)]
        starts = [0]
        digest = hashlib.sha256()
        with table.reading(date):
            for part in table.collect_parts(paths, date, lambda rows: rows.select(COLUMNS)):
                digest.update(part.write_csv().encode())  # its header tells where a part begins
                good = part.filter(pl.col("error").is_null())
                frames.append(good.height)
                # A copy, as it would hold on to all that was read with it.
                numbers.append(numbers_of(good["image_hash"]).copy())
                starts.append(starts[-1] + numbers[-1].size)
        return cls(paths, frames, np.concatenate(numbers), starts, digest.hexdigest())

    def numbers_of_part(self, part: int) -> NDArray[np.uint64]:
        """The numbers of the frames of one part."""
        return self.numbers[self.starts[part] : self.starts[part + 1]]

    def sorted_numbers(self, parts: Sequence[int]) -> NDArray[np.uint64]:
        """The numbers of the frames of some parts, in ascending order, repetitions included."""
        some = [np.empty(0, np.uint64), *map(self.numbers_of_part, parts)]
        numbers = np.concatenate(some)
        numbers.sort()
        return numbers


class UnitsOfBoxes:
    """The units of work of a day, made one by one as they are asked for."""

    def __init__(
        self,
        table: PartitionedTable,
        date: dt.date,
        day: DayOfFrames,
        parts: Sequence[int],
        known: KnownBoxes,
    ) -> None:
        """Looks for pictures that the day has more than once.

        Args:
            table: `sampled_frames`.
            date: The day.
            day: Its frames.
            parts: The places of the parts that are to be done.
            known: Where boxes are that other runs have found.
        """
        self._table = table
        self._date = date
        self._day = day
        self._parts = parts
        self._known = known
        numbers = day.sorted_numbers(parts)
        self._repeated = np.unique(numbers[1:][numbers[1:] == numbers[:-1]])
        self._under_way: dict[int, frozenset[str]] = {}
        self._found: dict[str, str] = {}

    def __len__(self) -> int:
        """How many units there are."""
        return len(self._parts)

    def __iter__(self) -> Iterator[BoxesUnit]:
        """The units, in order."""
        for number in self._parts:
            numbers = self._day.numbers_of_part(number)
            found: dict[str, dt.date] = {}
            repeated = frozenset[str]()
            if are_among(self._repeated, numbers).any():
                repeated = self._repeated_in(self._day.parts[number])
                self._under_way[number] = repeated
                found = {self._found[one]: self._date for one in repeated & self._found.keys()}
            places = self._known.places(numbers)
            yield BoxesUnit(number, self._day.parts[number], places, found, repeated)

    def finished(self, number: int, boxes: str) -> None:
        """A unit is done: later ones may look into its new part for pictures that repeat."""
        for image_hash in self._under_way.pop(number, ()):
            self._found.setdefault(image_hash, boxes)

    def _repeated_in(self, part: str) -> frozenset[str]:
        with self._table.reading(self._date):
            rows = self._table.scan_part(part, self._date).select("image_hash", "error").collect()
        hashes = rows.filter(pl.col("error").is_null())["image_hash"].drop_nulls()
        return frozenset(hashes.filter(pl.Series(are_among(self._repeated, numbers_of(hashes)))))
