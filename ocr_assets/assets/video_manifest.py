"""The day's videos: what they are, and which cannot be read."""

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg
import polars as pl

from ocr_assets.assets.daily_asset import daily_asset, each_day
from ocr_assets.assets.decode_workers import decode_workers_field, worker_count
from ocr_assets.assets.metadata import written
from ocr_assets.progress import Progress
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import SOURCE, SOURCE_FINGERPRINT, VideoSource
from ocr_assets.tables.json_text import json_text
from ocr_assets.tables.schemas import OK, UNREADABLE, VideoManifest
from ocr_assets.video.inspection import Inspection
from ocr_assets.video.listing import Sample, VideoReference
from ocr_assets.video.workers import DecodeWorkers

SAMPLES_PER_APPEND = 200
PROBES_BY_DEFAULT = 4  # processes; its steps claim no slot, so that many may run at once


class VideoManifestConfig(dg.Config):
    """How the videos are looked at."""

    decode_workers: int | None = decode_workers_field(PROBES_BY_DEFAULT)


@daily_asset(
    VideoManifest,
    kinds={"python"},
    code_version="1",
)
def video_manifest(
    context: dg.AssetExecutionContext,
    config: VideoManifestConfig,
    video_source: VideoSource,
    tables: Tables,
) -> dg.MaterializeResult[None]:
    """One row per video of every sample of the day, by content; unreadable ones with the reason."""
    return each_day(context, lambda date: _list_videos(context, date, config, video_source, tables))


def _list_videos(
    context: dg.AssetExecutionContext,
    date: dt.date,
    config: VideoManifestConfig,
    video_source: VideoSource,
    tables: Tables,
) -> dict[str, Any]:
    progress = Progress(context.log.info, "samples")
    statuses: Counter[str] = Counter()
    pending: list[dict[str, object]] = []
    # Before the samples are listed, so that what changes meanwhile counts as changed afterwards.
    state = video_source.state(date)
    with (
        tables.video_manifest.replace(date) as writer,
        DecodeWorkers(worker_count(config.decode_workers, PROBES_BY_DEFAULT)) as workers,
    ):
        # The same samples twice: the workers look at the videos of the next ones already.
        samples, ahead = itertools.tee(video_source.samples(date))
        inspections = workers.inspect(_readable_paths(ahead))
        for index, sample in enumerate(samples):
            rows = list(_rows(index, sample, inspections))
            statuses.update(str(row["status"]) for row in rows)
            pending += rows
            progress.advance()
            # Whole samples only, so that a sample never straddles two parts.
            if progress.done % SAMPLES_PER_APPEND == 0:
                writer.append(_frame(pending))
                pending = []
        writer.append(_frame(pending))
    if progress.done == 0:
        context.log.warning(f"the source has no samples for {date}")
    context.log.info(
        f"{progress.done} samples: {statuses[OK]} videos readable, {statuses[UNREADABLE]} not"
    )
    return {
        **written(tables.video_manifest, writer.row_count),
        "samples": progress.done,
        "readable": statuses[OK],
        "unreadable": statuses[UNREADABLE],
        SOURCE: video_source.identity,
        SOURCE_FINGERPRINT: state.fingerprint,
    }


def _readable_paths(samples: Iterable[Sample]) -> Iterator[str]:
    return (video.path for sample in samples for video in sample.videos if video.error is None)


def _rows(
    index: int, sample: Sample, inspections: Iterator[Inspection]
) -> Iterator[dict[str, object]]:
    about_sample = {
        "sample_id": sample.sample_id,
        "sample_index": index,
        "sample_json": json_text(sample.other_keys),
    }
    if sample.error is not None or not sample.videos:
        status = OK if sample.error is None else UNREADABLE
        yield {**about_sample, "status": status, "error": sample.error}
    for video_index, video in enumerate(sample.videos):
        yield {**about_sample, "video_index": video_index, **_about_video(video, inspections)}


def _about_video(video: VideoReference, inspections: Iterator[Inspection]) -> dict[str, object]:
    if video.error is not None:
        return {"path": video.path, "status": UNREADABLE, "error": video.error}
    found = next(inspections)
    about_file = {"path": video.path, "video_id": found.video_id, "bytes": found.bytes}
    if found.info is None:
        return {**about_file, "status": UNREADABLE, "error": found.error}
    return {
        **about_file,
        "container": found.info.container,
        "codec": found.info.codec,
        "width": found.info.width,
        "height": found.info.height,
        "fps": found.info.fps,
        "duration_seconds": found.info.duration_seconds,
        "frame_count": found.info.frame_count,
        "status": OK,
    }


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=VideoManifest.create_empty().drop("date").schema)
