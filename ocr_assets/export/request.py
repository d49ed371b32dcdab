"""What to export, and what came of it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ocr_assets.video.source_file import Storage

SHARD_SAMPLES = 10_000
SHARD_BYTES = 2**30

LinkOrCopy = Literal["link", "copy"]
Format = Literal["jsonl", "parquet", "csv", "webdataset"]


class ExportError(Exception):
    """There is nothing to export, nothing to do it with, or it must not go there.

    The message says what to do.
    """


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and where to.

    Attributes:
        data: The folder that holds the tables, or its URL.
        out: The file, or with `webdataset` the folder, that is written or replaced.
        format: Its form.
        dates: The days; None: every one between the next two.
        first_date: The first day; None: the first that there is.
        last_date: The last day; None: the last that there is.
        rejected: Whether to export what was dropped or quarantined instead of what was kept.
        force: Whether an output that is there is replaced.
        videos: A folder that the videos are put into; None: they stay where they are.
        link_or_copy: How they are put there.
        storage: How videos that are objects are reached.
        shard_samples: Most samples in a shard.
        shard_bytes: A shard ends with the sample that brings it to this many bytes.
    """

    data: str | Path
    out: Path
    format: Format
    dates: Sequence[dt.date] | None = None
    first_date: dt.date | None = None
    last_date: dt.date | None = None
    rejected: bool = False
    force: bool = False
    videos: Path | None = None
    link_or_copy: LinkOrCopy = "link"
    storage: Storage = field(default_factory=Storage)
    shard_samples: int = SHARD_SAMPLES
    shard_bytes: int = SHARD_BYTES


@dataclass(frozen=True)
class ExportSummary:
    """What came of it.

    Attributes:
        out: The file or the folder.
        format: Its form.
        dates: The days.
        samples: How many samples it holds.
        left_out: How many it does not hold, as a video was missing or had changed.
        videos_folder: Where videos were linked or copied to, if they were.
        placed: Links or copies made.
        already_there: Links or copies that were there before.
        seconds: How long it took.
    """

    out: str
    format: str
    dates: list[str]
    samples: int
    left_out: int
    videos_folder: str | None
    placed: int
    already_there: int
    seconds: float
