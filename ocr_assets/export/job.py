"""The kept samples, or the others, as files that other tools read."""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from ocr_assets.export.formats import write_csv, write_jsonl, write_parquet
from ocr_assets.export.output import replaced_file, replaced_folder, why_not
from ocr_assets.export.placing import JudgedVideo, VideoFolder, ensure_possible
from ocr_assets.export.request import ExportError, ExportRequest, ExportSummary
from ocr_assets.export.shards import has_webdataset, write_shards
from ocr_assets.export.source_files import VideoLostError
from ocr_assets.plain_text import printable
from ocr_assets.resources.tables import tables_at
from ocr_assets.tables.data_juicer import kept_line, rejected_line
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from ocr_assets.tables.schemas import KEEP
from ocr_assets.tables.storage_errors import as_os_errors
from ocr_assets.tables.stored_path import stored_path, stored_paths
from ocr_assets.video.listing import VideoReference

# What says of a sample's row which videos it has.
OF_VIDEOS = ("date", "sample_id", "paths", "path_bytes", "video_ids")


def export(request: ExportRequest, warn: Callable[[str], None]) -> ExportSummary:
    """Writes the samples of some days to one output; no more than one part of a table is in memory.

    Args:
        request: What to do.
        warn: Takes a line for each sample that is left out.

    Raises:
        ExportError: There are no such days, a package is missing, or the folder for the videos is
            not apart from where they are.
        PartitionMissingError: A day was never filtered.
        TableDamagedError: A table cannot be read.
        OSError: Something cannot be read or written. Links and copies made until then stay, and
            are found again by the next export.
    """
    started = time.monotonic()
    if request.format == "webdataset" and not has_webdataset():
        raise ExportError(
            "the format webdataset needs the package webdataset: "
            "pip install 'ocr-assets[webdataset]'"
        )
    job = _Export(request, warn)
    with as_os_errors(request.out.absolute()):
        job.write()
    folder = job.folder
    return ExportSummary(
        out=str(request.out.absolute()),
        format=request.format,
        dates=[date.isoformat() for date in job.dates],
        samples=job.samples - job.left_out,
        left_out=job.left_out,
        videos_folder=None if request.videos is None else str(request.videos.absolute()),
        placed=folder.placed if folder else 0,
        already_there=folder.found if folder else 0,
        seconds=time.monotonic() - started,
    )


class _Export:
    def __init__(self, request: ExportRequest, warn: Callable[[str], None]) -> None:
        tables = tables_at(request.data)
        self.dates = _dates(tables.filtered_dataset, request)
        self.samples = 0
        self.left_out = 0
        self._table = tables.filtered_dataset
        self._manifest = tables.video_manifest
        self._request = request
        self._warn = warn
        self.folder: VideoFolder | None = None
        if request.videos is not None:
            ensure_possible(request.videos, self._judged_videos(), request.link_or_copy)
            self.folder = VideoFolder(request.videos, request.link_or_copy, request.storage)

    def write(self) -> None:
        request = self._request
        out = request.out.resolve()
        line = rejected_line if request.rejected else kept_line
        if request.format == "webdataset":
            with replaced_folder(out) as unfinished:
                write_shards(
                    self._frames(),
                    unfinished,
                    line,
                    self._leave_out,
                    request.storage,
                    max_samples=request.shard_samples,
                    max_bytes=request.shard_bytes,
                )
                self._ensure_free(out)
            return
        with replaced_file(out) as unfinished:
            if request.format == "jsonl":
                write_jsonl(self._frames(), unfinished, line)
            elif request.format == "parquet":
                write_parquet(self._frames(), unfinished)
            elif formulas := write_csv(self._frames(), unfinished):
                self._warn(
                    f"{formulas} cells begin with =, +, -, @ or a tab and are written as they are; "
                    "in a spreadsheet, import them as text, or it takes them for formulas"
                )
            self._ensure_free(out)

    def _ensure_free(self, out: Path) -> None:
        """It may have been there for longer than this export has taken, or not."""
        is_folder = self._request.format == "webdataset"
        if problem := why_not(out, is_folder=is_folder, force=self._request.force):
            raise ExportError(f"{out} {problem}")

    def _frames(self) -> Iterator[pl.DataFrame]:
        is_kept = pl.col("verdict") == KEEP
        for date in self.dates:
            for part in self._table.scan_parts(date):
                with self._table.reading(date):
                    frame = part.filter(~is_kept if self._request.rejected else is_kept).collect()
                self.samples += frame.height
                yield frame if self.folder is None else self._placed(frame, date, self.folder)

    def _judged_videos(self) -> Iterator[JudgedVideo]:
        """Those of the days' samples, kept or not, but for what could not be opened."""
        for date in self.dates:
            for part in self._table.scan_parts(date):
                with self._table.reading(date):
                    frame = part.select(OF_VIDEOS).collect()
                for row in frame.iter_rows(named=True):
                    yield from (video for video in _videos(row) if isinstance(video, JudgedVideo))

    def _placed(self, frame: pl.DataFrame, date: dt.date, folder: VideoFolder) -> pl.DataFrame:
        """The samples whose videos are all there, with the videos' new paths."""
        known = _known_states(self._manifest, date, frame) if self._links() else {}
        is_whole: list[bool] = []
        references: list[list[VideoReference]] = []
        for row in frame.iter_rows(named=True):
            try:
                references.append([*_place(row, folder, known)])
            except VideoLostError as error:
                self._leave_out(row, error)
                is_whole.append(False)
            else:
                is_whole.append(True)
        paths = [[video.text for video in videos] for videos in references]
        path_bytes = [[video.path_bytes for video in videos] for videos in references]
        return frame.filter(pl.Series(is_whole, dtype=pl.Boolean)).with_columns(
            pl.Series("paths", paths, frame.schema["paths"]),
            pl.Series("path_bytes", path_bytes, frame.schema["path_bytes"]),
        )

    def _links(self) -> bool:
        return self._request.link_or_copy == "link"

    def _leave_out(self, row: dict[str, Any], error: VideoLostError) -> None:
        self.left_out += 1
        self._warn(f"{printable(row['sample_id'])} is left out: {printable(str(error))}")


def _dates(table: PartitionedTable, request: ExportRequest) -> list[dt.date]:
    there = table.dates()
    if not there:
        raise ExportError(
            f"there is no filtered_dataset in {request.data}; `ocr-assets run --data` makes one"
        )
    if request.dates is not None:
        if missing := sorted(set(request.dates) - set(there)):
            raise PartitionMissingError(
                f"{table.name} has no partition {missing[0]}; `ocr-assets run --date {missing[0]}` "
                "makes it"
            )
        return sorted(set(request.dates))
    first, last = request.first_date or there[0], request.last_date or there[-1]
    dates = [date for date in there if first <= date <= last]
    if not dates:
        raise ExportError(f"{table.name} has no day from {first} to {last}")
    return dates


def _known_states(
    manifest: PartitionedTable, date: dt.date, frame: pl.DataFrame
) -> dict[tuple[str, str], str]:
    """What files were like when the samples' manifest was made, by path and fingerprint."""
    if frame.is_empty():
        return {}
    first, last = frame["sample_index"].min(), frame["sample_index"].max()
    try:
        videos = manifest.scan(date)
    except PartitionMissingError:
        return {}
    wanted = videos.filter(
        pl.col("sample_index").is_between(first, last), pl.col("file_state").is_not_null()
    ).select("path", "path_bytes", "video_id", "file_state")
    with manifest.reading(date):
        rows = wanted.collect()
    # Before the state stands what decided on the other columns.
    return {
        (stored_path(path, data), video_id): state.rpartition(" ")[2]
        for path, data, video_id, state in rows.iter_rows()
    }


def _place(
    row: dict[str, Any], folder: VideoFolder, known: Mapping[tuple[str, str], str]
) -> Iterable[VideoReference]:
    """A sample's videos where they are now; one that never could be opened stays where it was."""
    for video in _videos(row):
        if isinstance(video, JudgedVideo):
            yield VideoReference(str(folder.place(video, known)))
        else:
            yield video


def _videos(row: dict[str, Any]) -> Iterator[JudgedVideo | VideoReference]:
    """A sample's videos; a reference to one that never could be opened."""
    for path, video_id in zip(stored_paths(row), row["video_ids"], strict=True):
        if video_id is None:
            yield VideoReference(path)
        else:
            yield JudgedVideo(path, video_id, row["date"], row["sample_id"])
