"""Small pictures of frames with their boxes drawn."""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets.ocr.boxes import TextBox
from ocr_assets.tables.box_columns import boxes_of
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.video.images import decode_image

BOX_COLOUR = (255, 64, 64)
WIDTH, HEIGHT = 256, 192
JPEG_QUALITY = 70


@dataclass(frozen=True)
class FramePicture:
    """A video's most covered frame.

    Attributes:
        video_id: The video.
        frame_index: Which of its sampled frames.
        frames: How many there are.
        boxes: How many text boxes the frame has.
        union_area_ratio: How much of the frame they cover.
        jpeg: The picture,
        width: so many pixels across, at most WIDTH,
        height: and so many down, at most HEIGHT.
    """

    video_id: str
    frame_index: int
    frames: int
    boxes: int
    union_area_ratio: float
    jpeg: bytes
    width: int
    height: int


def frame_pictures(
    sampled_frames: PartitionedTable,
    ocr_boxes: PartitionedTable,
    date: dt.date,
    video_ids: Collection[str],
    warn: Callable[[str], None],
) -> Iterator[FramePicture]:
    """The most covered frame of each of some videos of a day.

    What a table does not have is left out: one may have been made anew without the other.

    Args:
        sampled_frames: Where the frames are.
        ocr_boxes: What is on them.
        date: The day.
        video_ids: Which videos.
        warn: Takes a line for each frame that cannot be decoded, which is left out too.

    Raises:
        PartitionMissingError: The day was never written.
        TableDamagedError: A table cannot be read.
    """
    with ocr_boxes.reading(date):
        wanted = (
            ocr_boxes.scan(date)
            .filter(pl.col("video_id").is_in([*video_ids]), pl.col("error").is_null())
            .select("video_id", "frame_index", "boxes", "union_area_ratio")
            .with_columns(frames=pl.len().over("video_id").cast(pl.Int64))
            .sort("union_area_ratio", "frame_index", descending=[True, False])
            .unique("video_id", keep="first", maintain_order=True)
            .collect()
        )
    key = wanted.lazy().select("video_id", "frame_index")
    for part in sampled_frames.scan_parts(date):
        with sampled_frames.reading(date):
            images = (
                part.filter(pl.col("video_id").is_in(wanted["video_id"].to_list()))
                .select("video_id", "frame_index", "image")
                .join(key, on=["video_id", "frame_index"], how="semi")
                .collect()
            )
        found = images.join(wanted, on=["video_id", "frame_index"], maintain_order="left")
        for row in found.iter_rows(named=True):
            boxes = boxes_of(row["boxes"])
            try:
                rgb = decode_image(row["image"])
            except ValueError as error:
                warn(f"frame {row['frame_index']} of video {row['video_id']}: {error}")
                continue
            small = small_picture(rgb, boxes, WIDTH, HEIGHT)
            yield FramePicture(
                video_id=row["video_id"],
                frame_index=row["frame_index"],
                frames=row["frames"],
                boxes=len(boxes),
                union_area_ratio=row["union_area_ratio"],
                jpeg=jpeg(small, JPEG_QUALITY),
                width=small.shape[1],
                height=small.shape[0],
            )


def small_picture(
    rgb: NDArray[np.uint8], boxes: Sequence[TextBox], width: int, height: int
) -> NDArray[np.uint8]:
    """A frame with its boxes drawn, so small that it fits.

    Args:
        rgb: uint8, (height, width, 3), RGB.
        boxes: What to draw.
        width: Most pixels across.
        height: Most pixels down.
    """
    scale = min(width / rgb.shape[1], height / rgb.shape[0])
    size = max(round(rgb.shape[1] * scale), 1), max(round(rgb.shape[0] * scale), 1)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    outlines = [(np.array(box.points) * scale).round().astype(np.int32) for box in boxes]
    cv2.polylines(small, outlines, isClosed=True, color=BOX_COLOUR, thickness=1)
    return np.asarray(small, np.uint8)


def jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """A picture, compressed."""
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
