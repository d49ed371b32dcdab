"""The frames that are looked at."""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.assets.daily_asset import daily_asset, each_day
from ocr_assets.assets.decode_workers import decode_workers_field, worker_count
from ocr_assets.assets.first_frames import FirstFrames
from ocr_assets.assets.metadata import written
from ocr_assets.assets.reuse import partitions_to_reuse, reuse_days_field
from ocr_assets.compute.frames_work import FramesUnit, FramesWork, VideoToSample
from ocr_assets.compute.interface import Compute
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.reused_frames import FramePlaces, find_frames
from ocr_assets.config_fields import DAY_SECONDS, number
from ocr_assets.configured import asset_config
from ocr_assets.gpu.sizes import GIB, MIB
from ocr_assets.object_storage import is_object_url
from ocr_assets.progress import Progress
from ocr_assets.reasons import Status
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import VideoSource
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.schemas import SampledFrames
from ocr_assets.tables.stored_path import stored_path
from ocr_assets.video.sampling import SamplingRule, sampling_key
from ocr_assets.video.source_file import Storage

# A third of what frames of real clips take on average in lossless WebP, so that nothing is refused
# that would fit.
LEAST_BYTES_A_PIXEL = 0.25
MEAN_BYTES_A_PIXEL = 0.75


@asset_config("sampled_frames")
class SampledFramesConfig(dg.Config):
    """Which frames to take, and how large the files are that hold them."""

    frame_sample_num: int = number(
        3,
        1,
        10_000,
        (
            "Frames per video. 1: the middle one. 2: the first and the last. More: evenly spread "
            "over the duration, ends included."
        ),
    )
    sample_every_seconds: float | None = number(
        None,
        0,
        DAY_SECONDS,
        "Take a frame every so many seconds instead; frame_sample_num is then unused. null: not.",
        above=True,
    )
    part_max_frames: int = number(
        256, 1, 100_000, "Most frames in one part file, the unit of work of ocr_boxes."
    )
    part_max_bytes: int = number(
        64 * MIB,
        MIB,
        GIB,
        "Bytes of compressed frames after which a new part file is begun. Unless set: 64 MiB.",
    )
    decode_workers: int | None = decode_workers_field()
    reuse_days: int | None = reuse_days_field(
        "Frames of videos with the same content, sampled by the same rule,"
    )


@daily_asset(
    SampledFrames,
    deps=["video_manifest"],
    kinds={"python"},
    code_version="2",
    pool=settings.decode_pool(),
)
def sampled_frames(
    context: dg.AssetExecutionContext,
    config: SampledFramesConfig,
    compute: ComputeResource,
    video_source: VideoSource,
    decoder: VideoDecoder,
    tables: Tables,
) -> dg.MaterializeResult[None]:
    """The sampled frames of every readable video, once per content, losslessly compressed.

    Three a video unless configured otherwise, upright, with the time at which they are shown. A
    video that cannot be decoded has one row with its `status` and reason instead.
    """
    storage = video_source.storage()
    return each_day(
        context,
        lambda date: _sample(context, date, config, storage, compute.workers(), decoder, tables),
    )


def _sample(
    context: dg.AssetExecutionContext,
    date: dt.date,
    config: SampledFramesConfig,
    storage: Storage,
    compute: Compute,
    decoder: VideoDecoder,
    tables: Tables,
) -> dict[str, Any]:
    rule = SamplingRule(config.frame_sample_num, config.sample_every_seconds)
    with tables.video_manifest.reading(date):
        videos = (
            tables.video_manifest.scan(date)
            .filter(pl.col("status") == Status.OK, pl.col("video_id").is_not_null())
            .unique("video_id", keep="first", maintain_order=True)
            .select(
                *("video_id", "path", "path_bytes", "file_state"),
                *("width", "height", "duration_seconds", "frame_count"),
            )
            .collect()
        )
    needed_bytes = _least_bytes(videos, rule)
    tables.sampled_frames.folder.ensure_space(needed_bytes, f"the frames of {date} by estimate")
    key = sampling_key(rule)
    size = PartSize(config.part_max_frames, config.part_max_bytes)
    video_ids = videos["video_id"].to_list()
    days = partitions_to_reuse(
        tables.sampled_frames,
        tables.video_manifest,
        date,
        config.reuse_days,
        videos.lazy().select("video_id"),
    )
    sampled = find_frames(tables.sampled_frames, days, key, video_ids)
    units = [*_units(videos, sampled, rule, size)]
    # A unit is known by its number, so that the same numbers have to mean the same videos.
    of_units = [[video.video_id for video in unit.videos] for unit in units]
    made_from = hashlib.sha256(repr((of_units, key, decoder.limits(), size)).encode()).hexdigest()
    first_frames = FirstFrames(video_ids)
    failed, reused = 0, 0
    with tables.sampled_frames.replace_units(
        date, made_from=made_from, is_shared=compute.is_shared
    ) as writer:
        finished = set(writer.finished_units)
        failed += writer.resumed("error").drop_nulls().height
        left = [unit for unit in units if unit.number not in finished]
        to_do = sum(len(unit.videos) for unit in left)
        if finished:
            done = videos.height - to_do
            context.log.info(f"{done} of {videos.height} videos were done by an earlier try")
        progress = Progress(context.log.info, "videos", total=to_do)
        work = FramesWork(
            tables.sampled_frames,
            writer.place,
            size,
            rule,
            key,
            decoder.limits(),
            storage,
            worker_count(config.decode_workers),
        )
        observer = Observer(progress.advance, context.log.info)
        for one in compute.sample(work, left, observer):
            writer.add_unit(one.unit, one.parts)
            first_frames.look(tables.sampled_frames, date, units[one.unit], one.parts)
            failed += one.failed
            reused += one.reused
    frames = writer.row_count - failed
    context.log.info(
        f"{frames} frames of {videos.height} videos, {reused} of them sampled before, "
        f"{failed} failed"
    )
    return {
        **written(tables.sampled_frames, date, writer.row_count),
        "videos": videos.height,
        "frames": frames,
        "videos_failed": failed,
        "videos_reused": reused,
        **({"videos_per_second": progress.rate} if progress.done else {}),
        "first_frames": dg.MetadataValue.md(first_frames.markdown()),
    }


def _units(
    videos: pl.DataFrame,
    sampled: Mapping[str, FramePlaces],
    rule: SamplingRule,
    size: PartSize,
) -> Iterator[FramesUnit]:
    """Videos in groups whose frames take about a part, as far as the manifest tells."""
    frames = _frames_expected(rule).fill_null(rule.frame_sample_num).ceil().alias("frames")
    pixels = (pl.col("width") * pl.col("height").cast(pl.Int64)).fill_null(0).alias("pixels")
    columns = videos.select("video_id", "path", "path_bytes", "file_state", frames, pixels)
    group: list[VideoToSample] = []
    rows, number, number_bytes = 0.0, 0, 0.0
    for video_id, path, path_bytes, state, expected, of_each in columns.iter_rows():
        expected_bytes = MEAN_BYTES_A_PIXEL * of_each * expected
        if group and (rows + expected > size.rows or number_bytes + expected_bytes > size.bytes):
            yield FramesUnit(number, tuple(group))
            group, rows, number_bytes, number = [], 0.0, 0.0, number + 1
        places = tuple(sampled.get(video_id, ()))
        version = _version(path, state)
        group.append(VideoToSample(video_id, stored_path(path, path_bytes), version, places))
        rows += expected
        number_bytes += expected_bytes
    if group:
        yield FramesUnit(number, tuple(group))


def _version(path: str, file_state: str | None) -> str | None:
    """What an object was like when the manifest was made: its id is of that version."""
    if file_state is None or not is_object_url(path):
        return None
    return file_state.rpartition(" ")[2]  # before it stands what decided on the other columns


def _least_bytes(videos: pl.DataFrame, rule: SamplingRule) -> int:
    """What the frames of videos take at least, as far as the manifest tells."""
    frames = _frames_expected(rule)
    pixels = videos.select((pl.col("width") * pl.col("height").cast(pl.Int64) * frames).sum())
    return int(LEAST_BYTES_A_PIXEL * (pixels.item() or 0))


def _frames_expected(rule: SamplingRule) -> pl.Expr:
    every = rule.sample_every_seconds
    wanted = rule.frame_sample_num if every is None else pl.col("duration_seconds") / every
    return pl.min_horizontal("frame_count", wanted)
