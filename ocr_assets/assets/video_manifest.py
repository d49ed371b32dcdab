"""The day's videos: what they are, and which cannot be read."""

import datetime as dt
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from ocr_assets.assets.contents import contents
from ocr_assets.assets.daily_asset import daily_asset, each_day
from ocr_assets.assets.decode_workers import decode_workers_field, worker_count
from ocr_assets.assets.metadata import written
from ocr_assets.assets.reused_inspections import ReusedInspections
from ocr_assets.configured import asset_config
from ocr_assets.progress import Progress
from ocr_assets.reasons import Status
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import (
    SOURCE,
    SOURCE_FINGERPRINT,
    SourceMissingError,
    VideoSource,
)
from ocr_assets.tables.json_text import json_text
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.partitioned import PartitionMissingError
from ocr_assets.tables.schemas import VideoManifest
from ocr_assets.video.inspection import Inspection
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.listing import Sample, VideoReference
from ocr_assets.video.probe import PROBE_VERSION

SAMPLES_PER_APPEND = 200
PART_SIZE = PartSize(rows=5_000)  # what a crash may cost
PROBES_BY_DEFAULT = 4  # processes; its steps claim no slot, so that many may run at once

Row = dict[str, object]


@asset_config("video_manifest")
class VideoManifestConfig(dg.Config):
    """How the videos are looked at."""

    decode_workers: int | None = decode_workers_field(PROBES_BY_DEFAULT)
    reuse_unchanged: bool = Field(
        default=True,
        description=(
            "Whether files that the day's earlier partition has, and whose size, times and inode "
            "(of objects: size, time and e_tag) are still the same, are taken from there instead "
            "of being read again."
        ),
    )
    allow_emptied_day: bool = Field(
        default=False,
        description=(
            "Whether a day that had samples may become one without. Otherwise it fails, since a "
            "source that is not mounted looks the same."
        ),
    )


@daily_asset(
    VideoManifest,
    kinds={"python"},
    code_version="2",
)
def video_manifest(
    context: dg.AssetExecutionContext,
    config: VideoManifestConfig,
    video_source: VideoSource,
    decoder: VideoDecoder,
    tables: Tables,
) -> dg.MaterializeResult[None]:
    """One row per video of every sample of the day, by content; unreadable ones with the reason.

    The day's files are listed, fingerprinted and looked at: container, codec, size, length. A file
    that cannot be read stays in the table with a `status` and its reason, and is quarantined.
    """
    return each_day(
        context, lambda date: _list_videos(context, date, config, video_source, decoder, tables)
    )


def _list_videos(
    context: dg.AssetExecutionContext,
    date: dt.date,
    config: VideoManifestConfig,
    video_source: VideoSource,
    decoder: VideoDecoder,
    tables: Tables,
) -> dict[str, Any]:
    progress = Progress(context.log.info, "samples")
    pending: list[Row] = []
    # Before the samples are listed, so that what changes meanwhile counts as changed afterwards.
    state = video_source.state(date)
    if state.samples == 0 and not config.allow_emptied_day and _had_samples(tables, date):
        raise SourceMissingError(
            f"the source {video_source.place} has nothing any more for {date}, whose "
            "videos were there before; allow_emptied_day of video_manifest lets it become empty"
        )
    key = _probe_key(decoder.limits())
    storage = video_source.storage()
    earlier = tables.video_manifest if config.reuse_unchanged else None
    known = ReusedInspections(earlier, date, key, storage)
    decides = f"{state.fingerprint} {key} {storage.identity}"
    made_from = hashlib.sha256(decides.encode()).hexdigest()
    count = worker_count(config.decode_workers, PROBES_BY_DEFAULT)
    with (
        tables.video_manifest.replace(date, PART_SIZE, made_from=made_from) as writer,
        decoder.workers(count, storage) as workers,
    ):
        resumed = writer.resumed("sample_index", "status")
        done = resumed["sample_index"].n_unique()
        statuses = Counter(resumed["status"].to_list())
        samples = itertools.islice(enumerate(video_source.samples(date)), done, None)
        # The same samples twice: the workers look at the videos of the next ones already.
        planned, ahead = itertools.tee(
            (index, sample, [known.row(video) for video in sample.videos])
            for index, sample in samples
        )
        inspections = workers.inspect(_paths_to_inspect(ahead))
        for index, sample, known_rows in planned:
            rows = list(_rows(index, sample, known_rows, inspections, key))
            statuses.update(str(row["status"]) for row in rows)
            pending += rows
            progress.advance()
            # Whole samples only, so that a sample never straddles two parts.
            if progress.done % SAMPLES_PER_APPEND == 0:
                writer.append(_frame(pending))
                pending = []
        writer.append(_frame(pending))
    if state.samples == 0:
        context.log.warning(f"the source has no samples for {date}")
    readable = statuses.pop(Status.OK, 0)
    context.log.info(
        f"{done + progress.done} samples: {readable} videos readable, {known.reused} of them "
        f"unchanged since they were last read, {statuses.total()} not"
    )
    return {
        **written(tables.video_manifest, date, writer.row_count),
        "samples": done + progress.done,
        "readable": readable,
        "unreadable": statuses.total(),
        "unreadable_by_status": dict(statuses.most_common()),
        "unchanged": known.reused,
        **contents(tables.video_manifest.scan(date)),
        SOURCE: video_source.identity,
        SOURCE_FINGERPRINT: state.fingerprint,
    }


def _had_samples(tables: Tables, date: dt.date) -> bool:
    try:
        return tables.video_manifest.row_count(date) > 0
    except PartitionMissingError:
        return False


def _probe_key(limits: VideoLimits) -> str:
    """What decides on the row of a file besides the file, as a hash."""
    parts = (
        PROBE_VERSION,
        limits.max_pixels,
        limits.max_duration_seconds,
        limits.max_streams,
        limits.max_frames,
    )
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _paths_to_inspect(
    planned: Iterable[tuple[int, Sample, list[Row | None]]],
) -> Iterator[str]:
    return (
        video.path
        for _, sample, known_rows in planned
        for video, known_row in zip(sample.videos, known_rows, strict=True)
        if video.fault is None and known_row is None
    )


def _rows(
    index: int,
    sample: Sample,
    known_rows: list[Row | None],
    inspections: Iterator[Inspection],
    key: str,
) -> Iterator[Row]:
    about_sample = {
        "sample_id": sample.sample_id,
        "sample_index": index,
        "sample_json": json_text(sample.other_keys),
    }
    if sample.fault is not None:
        yield {**about_sample, "status": sample.fault.status, "error": sample.fault.message}
    elif not sample.videos:
        yield {**about_sample, "status": Status.OK}
    for video_index, (video, known) in enumerate(zip(sample.videos, known_rows, strict=True)):
        about_video = known or _about_video(video, inspections, key)
        yield {**about_sample, "video_index": video_index, **about_video}


def _about_video(video: VideoReference, inspections: Iterator[Inspection], key: str) -> Row:
    about_path: Row = {"path": video.text, "path_bytes": video.path_bytes}
    if video.fault is not None:
        return {**about_path, "status": video.fault.status, "error": video.fault.message}
    found = next(inspections)
    about_file = {**about_path, "video_id": found.video_id, "bytes": found.bytes}
    if found.fault is not None:
        return {**about_file, "status": found.fault.status, "error": found.fault.message}
    assert found.info is not None
    state = found.file_state
    return {
        **about_file,
        "container": found.info.container,
        "codec": found.info.codec,
        "width": found.info.width,
        "height": found.info.height,
        "fps": found.info.fps,
        "duration_seconds": found.info.duration_seconds,
        "frame_count": found.info.frame_count,
        "file_state": None if state is None else f"{key} {state}",
        "status": Status.OK,
    }


def _frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=VideoManifest.create_empty().drop("date").schema)
