"""Sampling the frames of videos."""

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from ocr_assets.compute.observer import Observer
from ocr_assets.compute.reused_frames import FrameParts, FramesGoneError
from ocr_assets.reasons import Fault, Status
from ocr_assets.tables.part import Part, PartPlace
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.schemas import SampledFrames
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.decode_worker import EncodedFrame, SampleVideo
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.sampling import SamplingRule
from ocr_assets.video.source_file import Storage
from ocr_assets.video.workers import DecodeWorkers

Row = dict[str, Any]
COLUMNS = SampledFrames.create_empty().drop("date").schema


@dataclass(frozen=True)
class VideoToSample:
    """A video, and where its frames are if another run has sampled them.

    Attributes:
        video_id: Fingerprint of its content.
        path: Where it is.
        state: What an object was like when it was given its id; None: any will do.
        sampled: Part files of `sampled_frames` that hold its frames, in order, and their days; none
            if it has to be decoded.
    """

    video_id: str
    path: str
    state: str | None = None
    sampled: tuple[tuple[dt.date, str], ...] = ()


@dataclass(frozen=True)
class FramesUnit:
    """Videos whose frames take about a part.

    Attributes:
        number: Its place in the day, from 0.
        videos: At least one.
    """

    number: int
    videos: tuple[VideoToSample, ...]


@dataclass(frozen=True)
class FinishedFrames:
    """What came of a unit.

    Attributes:
        unit: Its number.
        parts: The part files that were written, not committed yet.
        failed: Videos that could not be read to the end.
        reused: Videos whose frames were copied.
    """

    unit: int
    parts: tuple[Part, ...]
    failed: int
    reused: int


@dataclass(frozen=True)
class FramesWork:
    """What is the same for all units of a day.

    Attributes:
        table: `sampled_frames`.
        place: Where the rows go.
        part_size: When a part is full.
        rule: Which frames to take.
        sampling_key: That of the rule.
        limits: What a video may cost.
        storage: How videos that are objects are reached.
        decode_workers: Processes that decode.
    """

    table: PartitionedTable
    place: PartPlace
    part_size: PartSize
    rule: SamplingRule
    sampling_key: str
    limits: VideoLimits
    storage: Storage
    decode_workers: int

    def run(self, units: Iterable[FramesUnit], observer: Observer) -> Iterator[FinishedFrames]:
        """Does units, in order; videos of the next ones are decoded already meanwhile.

        Raises:
            DecodeWorkerError: The processes that decode do not work.
            Exception: What the storage raises.
        """
        with DecodeWorkers(self.decode_workers, self.limits, self.storage) as workers:
            yield from self.run_with(workers, units, observer)

    def run_with(
        self, workers: DecodeWorkers, units: Iterable[FramesUnit], observer: Observer
    ) -> Iterator[FinishedFrames]:
        """The same with processes that are there already."""
        planned, ahead = itertools.tee(units)
        decoded = workers.sample_each(
            self._job(video) for unit in ahead for video in unit.videos if not video.sampled
        )
        copies = FrameParts(self.table)
        for unit in planned:
            rows = _RowsOfUnit(self, unit.number)
            for video in unit.videos:
                self._sample(video, decoded, copies, rows, observer)
                observer.advance(1)
            yield rows.finished()

    def lost(self, unit: FramesUnit, reason: str) -> FinishedFrames:
        """Gives a unit up: each of its videos has a row with the reason."""
        rows = _RowsOfUnit(self, unit.number)
        for video in unit.videos:
            rows.fail(video.video_id, Fault(Status.WORKER_DIED, reason))
        return rows.finished()

    def _job(self, video: VideoToSample) -> SampleVideo:
        return SampleVideo(video.path, self.rule, video.state)

    def _sample(
        self,
        video: VideoToSample,
        decoded: Iterator[Iterator[EncodedFrame]],
        copies: FrameParts,
        rows: "_RowsOfUnit",
        observer: Observer,
    ) -> None:
        if not video.sampled:
            self._decode(video, next(decoded), rows)
            return
        try:
            copied = copies.rows(video.video_id, video.sampled)
        except FramesGoneError as error:
            observer.say(f"frames of {video.path!r} are decoded again: {error}")
            # By a process of its own, since the others are at work on others in their order.
            with DecodeWorkers(1, self.limits, self.storage) as workers:
                self._decode(video, next(workers.sample_each([self._job(video)])), rows)
            return
        for frame in copied:
            rows.add(frame)
        rows.reused += 1

    def _decode(
        self, video: VideoToSample, frames: Iterator[EncodedFrame], rows: "_RowsOfUnit"
    ) -> None:
        """A row for every frame, and one with the reason if the video cannot be read to the end."""
        try:
            for frame in frames:
                rows.add(
                    {
                        "video_id": video.video_id,
                        "frame_index": frame.index,
                        "pts": frame.pts,
                        "timestamp_seconds": frame.timestamp_seconds,
                        "width": frame.width,
                        "height": frame.height,
                        "image": frame.image.data,
                        "image_format": frame.image.format,
                        "image_hash": frame.image_hash,
                        "sampling_key": self.sampling_key,
                        "status": Status.OK,
                    }
                )
        except UnreadableVideoError as error:
            rows.fail(video.video_id, error.fault)


class _RowsOfUnit:
    """A unit's rows, written in parts of bounded size."""

    def __init__(self, work: FramesWork, number: int) -> None:
        self.reused = 0
        self._work = work
        self._number = number
        self._failed = 0
        self._rows: list[Row] = []
        self._bytes = 0
        self._parts: list[Part] = []

    def add(self, row: Row) -> None:
        size = self._work.part_size
        if len(self._rows) >= size.rows or self._bytes >= size.bytes:
            self._write()
        self._rows.append(row)
        self._bytes += len(row.get("image") or b"")

    def fail(self, video_id: str, fault: Fault) -> None:
        self._failed += 1
        self.add({"video_id": video_id, "status": fault.status, "error": fault.message})

    def finished(self) -> FinishedFrames:
        if self._rows or not self._parts:
            self._write()
        return FinishedFrames(self._number, tuple(self._parts), self._failed, self.reused)

    def _write(self) -> None:
        rows = pl.DataFrame([dict.fromkeys(COLUMNS) | row for row in self._rows], schema=COLUMNS)
        self._parts.append(self._work.place.write(self._number, rows, len(self._parts)))
        self._rows, self._bytes = [], 0
