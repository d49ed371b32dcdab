"""The frames that are looked at."""

import datetime as dt
import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.assets.daily_asset import daily_asset, each_day
from ocr_assets.assets.decode_workers import decode_workers_field, worker_count
from ocr_assets.assets.first_frames import FirstFrames
from ocr_assets.assets.metadata import written
from ocr_assets.assets.reuse import partitions_to_reuse, reuse_days_field
from ocr_assets.assets.reused_frames import FramesGoneError, ReusedFrames
from ocr_assets.config_fields import DAY_SECONDS, number
from ocr_assets.configured import asset_config
from ocr_assets.gpu.sizes import GIB, MIB
from ocr_assets.progress import Progress
from ocr_assets.reasons import Status
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.schemas import SampledFrames
from ocr_assets.tables.stored_path import stored_path
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.decode_worker import EncodedFrame
from ocr_assets.video.sampling import SamplingRule, sampling_key

# A third of what frames of real clips take on average in lossless WebP, so that nothing is refused
# that would fit.
LEAST_BYTES_A_PIXEL = 0.25


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
    decoder: VideoDecoder,
    tables: Tables,
) -> dg.MaterializeResult[None]:
    """The sampled frames of every readable video, once per content, losslessly compressed.

    Three a video unless configured otherwise, upright, with the time at which they are shown. A
    video that cannot be decoded has one row with its `status` and reason instead.
    """
    return each_day(context, lambda date: _sample(context, date, config, decoder, tables))


def _sample(
    context: dg.AssetExecutionContext,
    date: dt.date,
    config: SampledFramesConfig,
    decoder: VideoDecoder,
    tables: Tables,
) -> dict[str, Any]:
    rule = SamplingRule(config.frame_sample_num, config.sample_every_seconds)
    with tables.video_manifest.reading(date):
        videos = (
            tables.video_manifest.scan(date)
            .filter(pl.col("status") == Status.OK, pl.col("video_id").is_not_null())
            .unique("video_id", keep="first", maintain_order=True)
            .collect()
        )
    needed_bytes = _least_bytes(videos, rule)
    tables.sampled_frames.folder.ensure_space(needed_bytes, f"the frames of {date} by estimate")
    key = sampling_key(rule)
    video_ids = videos["video_id"].to_list()
    made_from = hashlib.sha256(repr((video_ids, key, decoder.limits())).encode()).hexdigest()
    days = partitions_to_reuse(
        tables.sampled_frames, tables.video_manifest, date, config.reuse_days, video_ids
    )
    reused = ReusedFrames(tables.sampled_frames, days, key, video_ids)
    first_frames = FirstFrames(video_ids)
    videos_reused = 0
    with (
        tables.sampled_frames.replace(
            date, PartSize(config.part_max_frames, config.part_max_bytes), made_from=made_from
        ) as writer,
        decoder.workers(worker_count(config.decode_workers)) as workers,
    ):
        resumed = writer.resumed("video_id", "error")
        failed = resumed.height - resumed["error"].null_count()
        done, rows_done = _where_to_go_on(resumed)
        if resumed.height:
            context.log.info(f"{done} of {videos.height} videos were done by an earlier try")
        names = videos.select("video_id", "path", "path_bytes")
        to_do = [
            (video_id, stored_path(path, data)) for video_id, path, data in names[done:].iter_rows()
        ]
        progress = Progress(context.log.info, "videos", total=len(to_do))
        decoded = workers.sample((path for one, path in to_do if one not in reused), rule)
        for video_id, path in to_do:
            if video_id not in reused:
                rows = _rows(video_id, next(decoded), key)
            else:
                try:
                    rows = reused.rows(video_id)
                    videos_reused += 1
                except FramesGoneError as error:
                    context.log.warning(f"frames of {path!r} are decoded again: {error}")
                    rows = _decoded_again(video_id, path, rule, key, decoder)
            for row in itertools.islice(rows, rows_done, None):
                failed += row["error"].null_count() == 0
                first_frames.consider(row, path)
                writer.append(row)
            rows_done = 0
            progress.advance()
    frames = writer.row_count - failed
    context.log.info(
        f"{frames} frames of {videos.height} videos, {videos_reused} of them sampled before, "
        f"{failed} failed"
    )
    return {
        **written(tables.sampled_frames, date, writer.row_count),
        "videos": videos.height,
        "frames": frames,
        "videos_failed": failed,
        "videos_reused": videos_reused,
        **({"videos_per_second": progress.rate} if progress.done else {}),
        "first_frames": dg.MetadataValue.md(first_frames.markdown()),
    }


def _least_bytes(videos: pl.DataFrame, rule: SamplingRule) -> int:
    """What the frames of videos take at least, as far as the manifest tells."""
    every = rule.sample_every_seconds
    wanted = rule.frame_sample_num if every is None else pl.col("duration_seconds") / every
    frames = pl.min_horizontal("frame_count", wanted)
    pixels = videos.select((pl.col("width") * pl.col("height").cast(pl.Int64) * frames).sum())
    return int(LEAST_BYTES_A_PIXEL * (pixels.item() or 0))


def _where_to_go_on(resumed: pl.DataFrame) -> tuple[int, int]:
    """How many videos are done in an earlier try's rows, and how many rows the next one has there.

    Whether the last video is done shows only if it ends in an error.
    """
    videos = resumed["video_id"].n_unique()
    if videos == 0 or resumed["error"][-1] is not None:
        return videos, 0
    return videos - 1, resumed.filter(pl.col("video_id") == resumed["video_id"][-1]).height


def _rows(video_id: str, frames: Iterator[EncodedFrame], key: str) -> Iterator[pl.DataFrame]:
    """A row for every frame, and one with the reason if the video cannot be read to the end."""
    try:
        for frame in frames:
            yield _row(
                video_id=video_id,
                frame_index=frame.index,
                pts=frame.pts,
                timestamp_seconds=frame.timestamp_seconds,
                width=frame.width,
                height=frame.height,
                image=frame.image.data,
                image_format=frame.image.format,
                image_hash=frame.image_hash,
                sampling_key=key,
                status=Status.OK,
            )
    except UnreadableVideoError as error:
        yield _row(video_id=video_id, status=error.fault.status, error=error.fault.message)


def _decoded_again(
    video_id: str, path: str, rule: SamplingRule, key: str, decoder: VideoDecoder
) -> Iterator[pl.DataFrame]:
    """By a process of its own, since those of the step are at work on others in their order."""
    with decoder.workers(1) as workers:
        yield from _rows(video_id, next(workers.sample([path], rule)), key)


def _row(**values: object) -> pl.DataFrame:
    schema = SampledFrames.create_empty().drop("date").schema
    return pl.DataFrame([dict.fromkeys(schema) | values], schema=schema)
