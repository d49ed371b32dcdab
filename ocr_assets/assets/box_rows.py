"""From rows of `sampled_frames` to rows of `ocr_boxes`."""

import dataclasses
import functools
from typing import Any

import polars as pl

from ocr_assets.assets.reused_boxes import ReusedBoxes
from ocr_assets.coverage import ocr_area_ratio, union_area_ratio
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import DetectionError
from ocr_assets.ocr.outcome import Detected, Outcome
from ocr_assets.ocr.pipeline import FrameToDo
from ocr_assets.progress import Progress
from ocr_assets.reasons import Status
from ocr_assets.reports.contact_sheet import ContactSheet
from ocr_assets.tables.box_columns import boxes_column, boxes_of
from ocr_assets.tables.schemas import OcrBoxes
from ocr_assets.video.images import decode_image

Row = dict[str, Any]


class PartOfBoxes:
    """The rows of one part file on their way.

    Attributes:
        rows: One for each row of frames, with `TextBox`es; whole when all of `to_do` is finished.
        to_do: The frames to find text on.
    """

    def __init__(self) -> None:
        """An empty one."""
        self.rows: list[Row] = []
        self.to_do: list[FrameToDo] = []

    def frame(self) -> pl.DataFrame:
        """The rows as columns of `ocr_boxes`, without `date`."""
        schema = OcrBoxes.create_empty().drop("date").schema
        columns: dict[str, Any] = {name: [row[name] for row in self.rows] for name in schema}
        return pl.DataFrame(columns | {"boxes": boxes_column(columns["boxes"])}, schema=schema)


@dataclasses.dataclass
class _SamePicture:
    """A picture that the day has more than once: the rows that wait for it, then what was found."""

    waiting: list[Row] = dataclasses.field(default_factory=list)
    found: Row | None = None


class DayOfBoxes:
    """Makes the rows of a day, and works out which frames need no work.

    Attributes:
        reused: Frames so far whose text was known, from another run or another frame of the day.
        sheet: The most covered frames so far.
    """

    def __init__(
        self, detection_key: str, known: ReusedBoxes, repeated: set[str], progress: Progress
    ) -> None:
        """Begins a day.

        Args:
            detection_key: What decides on the boxes, as a hash.
            known: What is known of the frames from other runs.
            repeated: Hashes of pictures that the day has more than once.
            progress: Advances with every frame that was not known from another run.
        """
        self.reused = 0
        self.sheet = ContactSheet()
        self._key = detection_key
        self._known = known
        self._same = {image_hash: _SamePicture() for image_hash in repeated}
        self._progress = progress

    def part(self, frames: list[Row]) -> PartOfBoxes:
        """Takes on the rows of one part file of `sampled_frames`."""
        part = PartOfBoxes()
        known = self._known.rows({frame["image_hash"] for frame in frames} - {None})
        for frame in frames:
            row = self._row(frame)
            part.rows.append(row)
            if row["error"] is not None:
                continue
            same = self._same.get(row["image_hash"])
            if row["image_hash"] in known:
                self._take_over(frame, row, known[row["image_hash"]])
            elif same is None:
                part.to_do.append(self._to_do(frame, row))
            elif same.found is not None:
                self.reused += 1
                self._fill(row, same.found)
            elif same.waiting:
                self.reused += 1
                same.waiting.append(row)
            else:
                same.waiting.append(row)
                part.to_do.append(self._to_do(frame, row))
        return part

    def _row(self, frame: Row) -> Row:
        """What a row of boxes takes over from its frame; of a video without frames, the error."""
        copied = ("video_id", "frame_index", "width", "height", "image_hash", "status", "error")
        row: Row = dict.fromkeys(OcrBoxes.column_names()) | {name: frame[name] for name in copied}
        del row["date"]
        return row

    def _to_do(self, frame: Row, row: Row) -> FrameToDo:
        finish = functools.partial(self._finish, row)
        return FrameToDo(frame["image"], frame["width"], frame["height"], finish)

    def _finish(self, row: Row, rgb: Picture | None, outcome: Outcome) -> None:
        if isinstance(outcome, DetectionError):
            found: Row = {"status": Status.DETECTOR_FAILED, "error": str(outcome)}
        else:
            assert rgb is not None
            found = _found(rgb, outcome) | {"detection_key": self._key}
            self.sheet.consider(rgb, outcome.boxes, found["ocr_area_ratio"], row["video_id"])
        same = self._same.get(row["image_hash"], _SamePicture([row]))
        same.found = found
        for one in same.waiting:
            self._fill(one, found)
        same.waiting = []

    def _fill(self, row: Row, found: Row) -> None:
        row |= found
        if row["error"] is None:
            self._progress.advance()

    def _take_over(self, frame: Row, row: Row, known: Row) -> None:
        self.reused += 1
        row |= known | {"boxes": boxes_of(known["boxes"]), "detection_key": self._key}
        if self.sheet.wants(row["ocr_area_ratio"], row["video_id"]):
            rgb = decode_image(frame["image"])
            self.sheet.consider(rgb, row["boxes"], row["ocr_area_ratio"], row["video_id"])


def _found(rgb: Picture, outcome: Detected) -> Row:
    height, width = rgb.shape[:2]
    return {
        "boxes": outcome.boxes,
        "ocr_area_ratio": ocr_area_ratio(outcome.boxes, width, height),
        "union_area_ratio": union_area_ratio(outcome.boxes, width, height),
        "device": outcome.device,
        "milliseconds": outcome.milliseconds,
    }
