"""From rows of `sampled_frames` to rows of `ocr_boxes`."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import polars as pl

from ocr_assets.compute.most_covered import CoveredFrame, MostCovered
from ocr_assets.coverage import ocr_area_ratio, union_area_ratio
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import DetectionError
from ocr_assets.ocr.outcome import Detected, Outcome
from ocr_assets.ocr.pipeline import FrameToDo
from ocr_assets.reasons import Fault, Status
from ocr_assets.tables.box_columns import boxes_column, boxes_of
from ocr_assets.tables.schemas import OcrBoxes

Row = dict[str, Any]
COLUMNS = OcrBoxes.create_empty().drop("date").schema


class PartOfBoxes:
    """The rows of one part file on their way.

    Attributes:
        frames: The part file of `sampled_frames`.
        rows: One for each row of frames, with `TextBox`es; whole when all of `to_do` is finished.
        to_do: The frames to find text on.
        known: Frames whose text was known from another run.
        repeated: Frames whose text was known from another frame.
        most_covered: Its most covered frames so far.
    """

    def __init__(self, frames: str) -> None:
        """An empty one."""
        self.frames = frames
        self.rows: list[Row] = []
        self.to_do: list[FrameToDo] = []
        self.known = 0
        self.repeated = 0
        self.most_covered = MostCovered()

    def frame(self) -> pl.DataFrame:
        """The rows as columns of `ocr_boxes`, without `date`."""
        return boxes_frame(self.rows)

    def fill(self, row: Row, found: Row) -> None:
        """Completes a row with what was found on its frame, or with why nothing was."""
        row |= found
        ratio = row["ocr_area_ratio"]
        if ratio is not None and self.most_covered.wants(ratio, row["video_id"]):
            boxes = tuple(row["boxes"])
            self.most_covered.consider(
                [CoveredFrame(ratio, row["video_id"], row["frame_index"], self.frames, boxes)]
            )


@dataclasses.dataclass
class _SamePicture:
    """A picture that the day has more than once: the rows that wait for it, then what was found."""

    waiting: list[tuple[PartOfBoxes, Row]] = dataclasses.field(default_factory=list)
    found: Row | None = None


class RowsOfBoxes:
    """Makes the rows of parts, one after the other, and works out which frames need no work."""

    def __init__(self, detection_key: str, advance: Callable[[int], None]) -> None:
        """Begins.

        Args:
            detection_key: What decides on the boxes, as a hash.
            advance: Called with how many more frames, of those not known from another run, are
                done.
        """
        self._key = detection_key
        self._advance = advance
        self._same: dict[str, _SamePicture] = {}

    def part(
        self,
        path: str,
        frames: Sequence[Row],
        known: Mapping[str, Row],
        elsewhere: Mapping[str, Row],
        repeated: Collection[str],
    ) -> PartOfBoxes:
        """Takes on the rows of one part file of `sampled_frames`.

        Args:
            path: The part file.
            frames: Its rows.
            known: What is known of its frames from other runs, by their hashes.
            elsewhere: What others have found for this one on the same pictures, by their hashes.
            repeated: The hashes of pictures that other parts may have, too.
        """
        part = PartOfBoxes(path)
        for frame in frames:
            row = row_of(frame)
            part.rows.append(row)
            image_hash = row["image_hash"]
            if row["error"] is not None:
                continue
            if image_hash in known:
                part.known += 1
                part.fill(row, self._taken_over(known[image_hash]))
                continue
            if image_hash not in repeated:
                same = _SamePicture()
            else:
                same = self._same.setdefault(image_hash, _SamePicture())
                if same.found is None and not same.waiting and image_hash in elsewhere:
                    same.found = self._taken_over(elsewhere[image_hash])
            if same.found is not None:
                part.repeated += 1
                self._fill(part, row, same.found)
                continue
            same.waiting.append((part, row))
            if len(same.waiting) > 1:
                part.repeated += 1
            else:
                finish = functools.partial(self._finish, same)
                to_do = FrameToDo(frame["image"], frame["width"], frame["height"], finish)
                part.to_do.append(to_do)
        return part

    def _taken_over(self, found: Row) -> Row:
        return found | {"boxes": boxes_of(found["boxes"]), "detection_key": self._key}

    def _finish(self, same: _SamePicture, rgb: Picture | None, outcome: Outcome) -> None:
        if isinstance(outcome, DetectionError):
            same.found = {"status": Status.DETECTOR_FAILED, "error": str(outcome)}
        else:
            assert rgb is not None
            same.found = _found(rgb, outcome) | {"detection_key": self._key}
        for part, row in same.waiting:
            self._fill(part, row, same.found)
        same.waiting = []

    def _fill(self, part: PartOfBoxes, row: Row, found: Row) -> None:
        part.fill(row, found)
        if row["error"] is None:
            self._advance(1)


def row_of(frame: Mapping[str, Any]) -> Row:
    """What a row of boxes takes over from its frame; of a video without frames, the error."""
    copied = ("video_id", "frame_index", "width", "height", "image_hash", "status", "error")
    return dict.fromkeys(COLUMNS) | {name: frame[name] for name in copied}


def given_up(frame: Mapping[str, Any], fault: Fault) -> Row:
    """The row of a frame on which no text was looked for; what had a fault before keeps it."""
    row = row_of(frame)
    if row["error"] is not None:
        return row
    return row | {"status": fault.status, "error": fault.message}


def boxes_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as columns of `ocr_boxes`, without `date`."""
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in COLUMNS}
    return pl.DataFrame(columns | {"boxes": boxes_column(columns["boxes"])}, schema=COLUMNS)


def _found(rgb: Picture, outcome: Detected) -> Row:
    height, width = rgb.shape[:2]
    return {
        "boxes": outcome.boxes,
        "ocr_area_ratio": ocr_area_ratio(outcome.boxes, width, height),
        "union_area_ratio": union_area_ratio(outcome.boxes, width, height),
        "device": outcome.device,
        "milliseconds": outcome.milliseconds,
    }
