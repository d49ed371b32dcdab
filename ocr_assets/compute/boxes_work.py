"""Finding the text on the frames of parts."""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ocr_assets.ahead import ahead
from ocr_assets.compute.box_rows import (
    PartOfBoxes,
    Row,
    RowsOfBoxes,
    boxes_frame,
    given_up,
)
from ocr_assets.compute.known_boxes import Places, read_boxes
from ocr_assets.compute.most_covered import CoveredFrame
from ocr_assets.compute.observer import Observer
from ocr_assets.ocr.pipeline import detect_frames
from ocr_assets.ocr.reader import Tally
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.reasons import Fault, Status
from ocr_assets.tables.part import Part, PartPlace
from ocr_assets.tables.partitioned import PartitionedTable


@dataclass(frozen=True)
class BoxesUnit:
    """One part file of `sampled_frames`.

    Attributes:
        number: Its place in the day, from 0.
        frames: The part file.
        known: Part files of other runs in which boxes of its frames may be.
        found: The same of this one, for pictures that the day has more than once.
        repeated: The hashes of those of its pictures that the day has more than once.
    """

    number: int
    frames: str
    known: Places = field(default_factory=dict)
    found: Places = field(default_factory=dict)
    repeated: Collection[str] = frozenset()


@dataclass(frozen=True)
class FinishedBoxes:
    """What came of a unit.

    Attributes:
        unit: Its number.
        parts: The part files that were written, not committed yet.
        failed: Frames on which the detector failed.
        known: Those whose text was known from another run.
        repeated: Those whose text was known from another frame of the day.
        looked_at: Those that were not known from another run, but for those that failed.
        most_covered: Its most covered frames.
        tally: What happened on the way, since the unit that was finished before it.
    """

    unit: int
    parts: tuple[Part, ...]
    failed: int = 0
    known: int = 0
    repeated: int = 0
    looked_at: int = 0
    most_covered: tuple[CoveredFrame, ...] = ()
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class BoxesWork:
    """What is the same for all units of a day.

    Attributes:
        frames: The table `sampled_frames`.
        boxes: The table `ocr_boxes`.
        date: The day.
        place: Where the rows go.
        detection_key: What decides on the boxes, as a hash.
        thresholds: EasyOCR's parameters.
        batch_frames: Most frames that a session is given at once.
    """

    frames: PartitionedTable
    boxes: PartitionedTable
    date: dt.date
    place: PartPlace
    detection_key: str
    thresholds: DetectionThresholds
    batch_frames: int

    def run(
        self, units: Iterable[BoxesUnit], session: DetectionSession, observer: Observer
    ) -> Iterator[FinishedBoxes]:
        """Does units, in order; the next ones are begun while a device is at work on one.

        Raises:
            TableDamagedError: A part of frames cannot be read.
            Exception: What `session.begin` raises, or the storage.
        """
        rows = RowsOfBoxes(self.detection_key, observer.advance)
        before = session.tally.copy()
        with ThreadPoolExecutor(1, thread_name_prefix="frames reader") as reader:
            read = ahead(reader, self._read, units, most=1)
            parts = (self._begin(rows, *one) for one in read)
            for unit, part in detect_frames(
                ((one, one[1].to_do) for one in parts), session, self.thresholds, self.batch_frames
            ):
                tally, before = session.tally.since(before), session.tally.copy()
                yield self._finished(unit, part, tally)

    def lost(self, unit: BoxesUnit, reason: str) -> FinishedBoxes:
        """Gives a unit up: its frames have rows with the reason."""
        fault = Fault(Status.WORKER_DIED, reason)
        frames = self.read_frames(unit)
        rows = [given_up(frame, fault) for frame in frames]
        failed = sum(frame["error"] is None for frame in frames)
        part = self.place.write(unit.number, boxes_frame(rows))
        return FinishedBoxes(unit.number, (part,), failed)

    def read_frames(self, unit: BoxesUnit) -> list[Row]:
        """The rows of a unit's frames.

        Raises:
            TableDamagedError: They cannot be read.
        """
        with self.frames.reading(self.date):
            return self.frames.scan_part(unit.frames, self.date).collect().to_dicts()

    def _read(
        self, unit: BoxesUnit
    ) -> tuple[BoxesUnit, list[Row], Mapping[str, Row], Mapping[str, Row]]:
        frames = self.read_frames(unit)
        hashes = {frame["image_hash"] for frame in frames} - {None}
        known = read_boxes(self.boxes, unit.known, self.detection_key, hashes)
        left = set(unit.repeated) - known.keys()
        return unit, frames, known, read_boxes(self.boxes, unit.found, self.detection_key, left)

    def _begin(
        self,
        rows: RowsOfBoxes,
        unit: BoxesUnit,
        frames: list[Row],
        known: Mapping[str, Row],
        found: Mapping[str, Row],
    ) -> tuple[BoxesUnit, PartOfBoxes]:
        return unit, rows.part(unit.frames, frames, known, found, unit.repeated)

    def _finished(self, unit: BoxesUnit, part: PartOfBoxes, tally: Tally) -> FinishedBoxes:
        statuses = Counter(row["status"] for row in part.rows)
        return FinishedBoxes(
            unit.number,
            (self.place.write(unit.number, part.frame()),),
            failed=statuses[Status.DETECTOR_FAILED],
            known=part.known,
            repeated=part.repeated,
            looked_at=sum(row["error"] is None for row in part.rows) - part.known,
            most_covered=part.most_covered.in_order(),
            tally=tally,
        )
