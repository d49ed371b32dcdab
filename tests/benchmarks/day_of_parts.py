"""A day of `sampled_frames` in many small part files, for those who measure what a part costs."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl

from ocr_assets.resources.tables import Tables
from ocr_assets.tables.delta_log import folder_of
from ocr_assets.tables.part import Part
from ocr_assets.tables.schemas import SampledFrames, VideoManifest
from ocr_assets.tables.unit_writer import UnitWriter
from ocr_assets.video.images import encode_image
from tests.benchmarks.apart import answer
from tests.pipeline import DAY

COLUMNS = SampledFrames.create_empty().drop("date").schema
PICTURES = 16
DATE = dt.date.fromisoformat(DAY)


def write_day(tables: Tables, parts: int, frames: int, width: int, height: int) -> None:
    """Writes a day whose frames all differ, by their hashes, and a manifest without videos.

    Args:
        tables: Where.
        parts: How many part files.
        frames: Frames in each.
        width: Of a frame.
        height: Of a frame.
    """
    chance = np.random.default_rng(0)
    images = [
        encode_image(chance.integers(0, 64, (height, width, 3), np.uint8)) for _ in range(PICTURES)
    ]
    with tables.video_manifest.replace(DATE) as writer:
        writer.append(VideoManifest.create_empty().drop("date"))
    with tables.sampled_frames.replace_units(DATE, is_shared=False) as units:
        (Path(tables.sampled_frames.uri) / folder_of(DATE)).mkdir(exist_ok=True)
        for unit in range(parts):
            numbers = range(unit * frames, (unit + 1) * frames)
            pictures = [images[number % PICTURES] for number in numbers]
            rows = {
                "video_id": [f"{number:032x}" for number in numbers],
                "frame_index": [0] * frames,
                "pts": [0] * frames,
                "timestamp_seconds": [0.0] * frames,
                "width": [width] * frames,
                "height": [height] * frames,
                "image": [picture.data for picture in pictures],
                "image_format": [picture.format for picture in pictures],
                # Equal pictures would be detected once: here they are said to differ.
                "image_hash": [f"{number:032x}" for number in numbers],
                "sampling_key": ["benchmark"] * frames,
                "status": ["ok"] * frames,
                "error": [None] * frames,
            }
            add_part(units, tables, unit, pl.DataFrame(rows, schema=COLUMNS))


def add_part(writer: UnitWriter, tables: Tables, unit: int, rows: pl.DataFrame) -> None:
    """Adds a part of `sampled_frames` as `PartPlace.write` does, without waiting for the disk."""
    place = writer.place
    relative = f"{folder_of(DATE)}/part-{unit:08d}-000000-{place.writer_id}-0.parquet"
    path = Path(tables.sampled_frames.uri) / relative
    rows.write_parquet(path, compression="uncompressed", statistics=False)
    status = path.stat()
    modified_ms = int(status.st_mtime * 1000)
    writer.add_unit(unit, [Part(relative, unit, 0, rows.height, status.st_size, modified_ms)])


def write_day_at(root: str, parts: int, frames: int, width: int, height: int) -> None:
    """The same, where the tables are that begin at a root."""
    write_day(Tables(root=root), parts, frames, width, height)


if __name__ == "__main__":
    answer(write_day_at)
