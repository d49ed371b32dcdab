"""What is in the tables: one dataframely schema each, with a description for every column.

Every table is partitioned by `date`. Nullable columns are null only where their description says
so.
"""

import dataframely as dy
import polars as pl

from ocr_assets.reasons import DropReason, Status

# As plain strings: of members of an enumeration polars would make a type of its own.
STATUSES = [status.value for status in Status]
REASON_CODES = [*STATUSES, *(reason.value for reason in DropReason)]

KEEP = "keep"
DROP = "drop"
QUARANTINE = "quarantine"


def _nested(inner: dy.Column, description: str, *, nullable: bool = False) -> dy.List:
    return dy.List(inner, nullable=nullable, description=description)


def _status(description: str, *, nullable: bool = False) -> dy.String:
    return dy.String(
        nullable=nullable, check=lambda column: column.is_in(STATUSES), description=description
    )


def _place(description: str) -> dy.List:
    return _nested(
        dy.Float64(nullable=True, min=0, max=1),
        f"{description}; null if unreadable, and in partitions of earlier versions",
        nullable=True,
    )


class VideoManifest(dy.Schema):
    """One row per video of every sample; a sample without videos has one row of its own."""

    date = dy.Date(description="Partition: the day the sample belongs to")
    sample_id = dy.String(
        description="The sample: a path relative to the source, or `<jsonl file>:<line>`"
    )
    sample_index = dy.Int64(min=0, description="Place of the sample in the day's listing, from 0")
    video_index = dy.Int32(
        nullable=True,
        min=0,
        description="Place of the video in its sample, from 0; null: the row is about the sample",
    )
    video_id = dy.String(
        nullable=True,
        description="Fingerprint of the file's content, hex; null where the file cannot be opened",
    )
    path = dy.String(
        nullable=True,
        description=r"Absolute path; bytes that are not UTF-8 are shown as `\xNN`; null for a row "
        "about a sample",
    )
    path_bytes = dy.Binary(
        nullable=True, description="The path's bytes where they are not UTF-8; null where they are"
    )
    bytes = dy.Int64(nullable=True, description="File size in bytes; null where there is no file")
    container = dy.String(nullable=True, description="Container format; null unless readable")
    codec = dy.String(nullable=True, description="Video codec; null unless readable")
    width = dy.Int32(
        nullable=True, description="Display width in pixels, rotation applied; null unless readable"
    )
    height = dy.Int32(
        nullable=True,
        description="Display height in pixels, rotation applied; null unless readable",
    )
    fps = dy.Float64(
        nullable=True, description="Average frame rate in 1/s; null where it is unknown"
    )
    duration_seconds = dy.Float64(
        nullable=True, description="Length of the video stream in seconds; null unless readable"
    )
    frame_count = dy.Int64(
        nullable=True,
        description="Frames in the video stream; null unless readable, and of Matroska objects "
        "that are not read whole to count them",
    )
    file_state = dy.String(
        nullable=True,
        description="Device, inode, size and times of the file when it was read, or a hash of an "
        "object's e_tag, size and time; as long as they are the same it need not be read again; "
        "null where it was changing",
    )
    status = _status("`ok`, or why it cannot be read; a sample that lists no videos is `ok`")
    error = dy.String(nullable=True, description="The status as a sentence; null where it is `ok`")
    sample_json = dy.String(
        description="The sample's keys other than its videos, as a JSON object; {} if it has none"
    )

    @dy.rule()
    def what_is_not_ok_has_an_error(cls) -> pl.Expr:  # noqa: N805 - dataframely passes the class
        """Quarantine is for a reason."""
        return (pl.col("status") != Status.OK) == pl.col("error").is_not_null()


class SampledFrames(dy.Schema):
    """One row per sampled frame; a video none of whose frames decodes has one row with `error`."""

    date = dy.Date(description="Partition: the day the video belongs to")
    video_id = dy.String(description="Fingerprint of the video's content, as in video_manifest")
    frame_index = dy.Int32(
        nullable=True, min=0, description="Place in the video's sample, 0..k-1; null with `error`"
    )
    pts = dy.Int64(
        nullable=True,
        description="Presentation timestamp in the stream's time base; null with `error`",
    )
    timestamp_seconds = dy.Float64(
        nullable=True, description="The same timestamp in seconds; null with `error`"
    )
    width = dy.Int32(nullable=True, min=1, description="Width in pixels; null with `error`")
    height = dy.Int32(nullable=True, min=1, description="Height in pixels; null with `error`")
    image = dy.Binary(
        nullable=True, description="The upright RGB frame, losslessly compressed; null with `error`"
    )
    image_format = dy.String(
        nullable=True, description="How `image` is compressed: `webp` or `png`; null with `error`"
    )
    image_hash = dy.String(
        nullable=True,
        description="Fingerprint of the picture (size and pixels), hex; null with `error`, and in "
        "partitions of earlier versions",
    )
    sampling_key = dy.String(
        nullable=True,
        description="What decides on the frames besides the video, as a hash: the rule and the "
        "version of the code; null with `error`, and in partitions of earlier versions",
    )
    status = _status(
        "`ok`, or why the video gave no frame; null in partitions of earlier versions",
        nullable=True,
    )
    error = dy.String(nullable=True, description="The status as a sentence; null on a frame")


class OcrBoxes(dy.Schema):
    """One row per sampled frame, with the text found on it; a frame without text has no boxes."""

    date = dy.Date(description="Partition: the day the video belongs to")
    video_id = dy.String(description="Fingerprint of the video's content, as in video_manifest")
    frame_index = dy.Int32(
        nullable=True, min=0, description="As in sampled_frames; null where the video gave no frame"
    )
    width = dy.Int32(nullable=True, description="Frame width in pixels; null without a frame")
    height = dy.Int32(nullable=True, description="Frame height in pixels; null without a frame")
    boxes = _nested(
        dy.Struct(
            {
                "kind": dy.String(check=lambda column: column.is_in(["rect", "quad"])),
                "points": dy.List(dy.List(dy.Float64())),
                "area_pixels": dy.Float64(min=0),
                "text": dy.String(nullable=True),
                "confidence": dy.Float64(nullable=True),
            }
        ),
        "Text boxes: four [x, y] corners in pixels (they may leave the frame), the area, and with "
        "`recognize` the text and its confidence in [0, 1]; null with `error`",
        nullable=True,
    )
    ocr_area_ratio = dy.Float64(
        nullable=True,
        min=0,
        description="Sum of the box areas / frame area, >= 0; null with `error`",
    )
    union_area_ratio = dy.Float64(
        nullable=True,
        min=0,
        max=1,
        description="Share of the frame under at least one box, in [0, 1]; null with `error`",
    )
    device = dy.String(nullable=True, description="Where the detector ran; null with `error`")
    milliseconds = dy.Float64(
        nullable=True,
        min=0,
        description="The frame's share of the time its batch took, in ms; null with `error`",
    )
    image_hash = dy.String(
        nullable=True, description="As in sampled_frames; null where the video gave no frame"
    )
    detection_key = dy.String(
        nullable=True,
        description="What decides on the boxes besides the picture, as a hash: settings, weights "
        "and the version of the code; null with `error`, and in partitions of earlier versions",
    )
    status = _status(
        "`ok`, or why there are no boxes; null in partitions of earlier versions", nullable=True
    )
    error = dy.String(
        nullable=True, description="The status as a sentence; null where there are boxes"
    )


class FilteredDataset(dy.Schema):
    """One row per sample, with its verdict and the reason for it."""

    date = dy.Date(description="Partition: the day the sample belongs to")
    sample_id = dy.String(description="The sample, as in video_manifest")
    sample_index = dy.Int64(min=0, description="Place of the sample in the day's listing, from 0")
    video_ids = _nested(dy.String(nullable=True), "The sample's videos, as in video_manifest")
    paths = _nested(dy.String(nullable=True), "Their paths, as in video_manifest")
    path_bytes = _nested(
        dy.Binary(nullable=True),
        "Their paths' bytes where they are not UTF-8; null in partitions of earlier versions",
        nullable=True,
    )
    ocr_area_ratio = _nested(
        dy.Float64(nullable=True, min=0),
        "Per video: sum of box areas / frame area, mean over its frames; null if unreadable",
    )
    union_area_ratio = _nested(
        dy.Float64(nullable=True, min=0, max=1),
        "Per video: share of the frame under text, mean over its frames; null if unreadable",
    )
    max_union_area_ratio = _nested(
        dy.Float64(nullable=True, min=0, max=1),
        "Per video: share of the frame under text, most of any frame; null if unreadable",
    )
    subtitle_zone_ratio = _place("Per video: share of the frame that is text in its bottom quarter")
    corner_ratio = _place("Per video: share of the frame that is text in its four corners")
    centre_ratio = _place("Per video: share of the frame that is text in its middle")
    static_text_ratio = _place(
        "Per video: share of the frame under text that all its frames have in the same place, null "
        "for a single frame"
    )
    verdict = dy.String(
        check=lambda column: column.is_in([KEEP, DROP, QUARANTINE]),
        description="`keep`, `drop` or `quarantine`",
    )
    reason_code = dy.String(
        nullable=True,
        check=lambda column: column.is_in(REASON_CODES),
        description="`ok` if kept, else why it is not; null in partitions of earlier versions",
    )
    reason = dy.String(min_length=1, description="The verdict as a sentence with its numbers")
    rule = dy.String(
        nullable=True,
        description="The thresholds that gave the verdict, as a JSON object; null in partitions of "
        "earlier versions",
    )
    sample_json = dy.String(description="The sample's keys other than its videos, as JSON object")
