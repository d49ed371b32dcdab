"""Samples with their videos in tar files, as WebDataset reads them."""

import datetime as dt
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from ocr_assets.export.source_files import VideoLostError, content
from ocr_assets.tables.durable import sync
from ocr_assets.tables.stored_path import stored_paths
from ocr_assets.video.listing import VIDEO_SUFFIXES
from ocr_assets.video.source_file import Storage

PATTERN = "%06d.tar"
SHARD_NAME = r"\d{6,}\.tar"
OTHER_SUFFIX = "video"  # of a file that is a video by its content alone


def has_webdataset() -> bool:
    """Whether the package that writes them is installed."""
    return importlib.util.find_spec("webdataset") is not None


def write_shards(
    frames: Iterable[pl.DataFrame],
    folder: Path,
    line: Callable[[dict[str, Any]], str],
    lost: Callable[[dict[str, Any], VideoLostError], None],
    storage: Storage,
    *,
    max_samples: int,
    max_bytes: int,
) -> None:
    """Writes `000000.tar` and so on.

    A sample is `<date>-<sample index>.json`, its line, and `.mp4` or whatever its video's name ends
    in; of several videos `.0.mp4`, `.1.mp4` and so on. A video that could not be opened when it was
    judged is not among them. The videos of one sample are in memory at once.

    Args:
        frames: Rows of `filtered_dataset`.
        folder: Where the shards go.
        line: Makes a sample's JSON.
        lost: Takes the rows that cannot be written whole, and why.
        storage: How videos that are objects are reached.
        max_samples: A shard ends with this many samples,
        max_bytes: or with the sample that brings it to this many bytes.
    """
    import webdataset

    shards = _Shards(folder)
    with webdataset.ShardWriter(
        PATTERN,
        maxcount=max_samples,
        maxsize=max_bytes,
        verbose=0,
        # By name it would take some for addresses or commands, and a % for a number's place.
        opener=shards.open,
        post=shards.close,
        encoder=False,
        mtime=0,  # the same samples give the same bytes
        format="GNU_FORMAT",  # takes files of more than 8 GiB
    ) as writer:
        for frame in frames:
            for row in frame.iter_rows(named=True):
                try:
                    videos = _videos(row, storage)
                except VideoLostError as error:
                    lost(row, error)
                    continue
                key = _key(row["date"], row["sample_index"])
                writer.write({"__key__": key, "json": line(row).encode(), **videos})


def _key(date: dt.date, sample_index: int) -> str:
    """Of the sample's place, as WebDataset takes a key to end at its first dot."""
    return f"{date.isoformat()}-{sample_index:08d}"


def _videos(row: dict[str, Any], storage: Storage) -> dict[str, bytes]:
    videos = list(zip(stored_paths(row), row["video_ids"], strict=True))
    return {
        (f"{index}." if len(videos) > 1 else "") + _suffix(path): b"".join(
            content(path, video_id, storage)
        )
        for index, (path, video_id) in enumerate(videos)
        if video_id is not None
    }


def _suffix(path: str) -> str:
    suffix = Path(path).suffix.lower()
    return suffix[1:] if suffix in VIDEO_SUFFIXES else OTHER_SUFFIX


class _Shards:
    """The files that the writer writes to, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def open(self, name: str) -> BinaryIO:
        self._file = (self._folder / name).open("wb")
        return self._file

    def close(self, name: str) -> None:
        assert self._file is not None
        self._file.close()
        sync(self._folder / name)
