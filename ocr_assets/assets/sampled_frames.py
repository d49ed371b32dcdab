"""The frames that are looked at."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.assets.daily_asset import daily_asset, each_day
from ocr_assets.assets.metadata import written
from ocr_assets.config_fields import DAY_SECONDS, number
from ocr_assets.gpu.sizes import GIB, MIB
from ocr_assets.progress import Progress
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.partitioned import PartSize
from ocr_assets.tables.schemas import OK, SampledFrames
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.images import encode_image
from ocr_assets.video.sampling import SamplingRule, sample_frames


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
        "Take a frame every so many seconds instead; frame_sample_num is then unused.",
        above=True,
    )
    part_max_frames: int = number(
        256, 1, 100_000, "Most frames in one part file, the unit of work of ocr_boxes."
    )
    part_max_bytes: int = number(
        64 * MIB, MIB, GIB, "Bytes of compressed frames after which a new part file is begun."
    )


@daily_asset(
    SampledFrames,
    deps=["video_manifest"],
    kinds={"python"},
    code_version="1",
    pool=settings.decode_pool(),
)
def sampled_frames(
    context: dg.AssetExecutionContext, config: SampledFramesConfig, tables: Tables
) -> dg.MaterializeResult[None]:
    """The sampled frames of every readable video, once per content, losslessly compressed."""
    return each_day(context, lambda date: _sample(context, date, config, tables))


def _sample(
    context: dg.AssetExecutionContext, date: dt.date, config: SampledFramesConfig, tables: Tables
) -> dict[str, Any]:
    rule = SamplingRule(config.frame_sample_num, config.sample_every_seconds)
    videos = (
        tables.video_manifest.scan(date)
        .filter(pl.col("status") == OK, pl.col("video_id").is_not_null())
        .unique("video_id", keep="first", maintain_order=True)
        .select("video_id", "path")
        .collect()
    )
    progress = Progress(context.log.info, "videos", total=videos.height)
    failed = 0
    with tables.sampled_frames.replace(
        date, PartSize(config.part_max_frames, config.part_max_bytes)
    ) as writer:
        for video_id, path in videos.iter_rows():
            for row in _rows(video_id, path, rule):
                failed += row["error"] is not None
                writer.append(_frame(row))
            progress.advance()
    frames = writer.row_count - failed
    context.log.info(f"{frames} frames of {videos.height} videos, {failed} videos failed")
    return {
        **written(tables.sampled_frames, writer.row_count),
        "videos": videos.height,
        "frames": frames,
        "videos_failed": failed,
        "videos_per_second": videos.height / max(progress.seconds, 1e-9),
    }


def _rows(video_id: str, path: str, rule: SamplingRule) -> Iterator[dict[str, object]]:
    """A row for every frame, and one with the reason if the video cannot be read to the end."""
    empty: dict[str, object] = dict.fromkeys(SampledFrames.column_names())
    try:
        for frame in sample_frames(path, rule):
            image = encode_image(frame.rgb)
            yield empty | {
                "video_id": video_id,
                "frame_index": frame.index,
                "pts": frame.pts,
                "timestamp_seconds": frame.timestamp_seconds,
                "width": frame.rgb.shape[1],
                "height": frame.rgb.shape[0],
                "image": image.data,
                "image_format": image.format,
            }
    except (UnreadableVideoError, OSError) as error:
        yield empty | {"video_id": video_id, "error": str(error)}


def _frame(row: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame([row], schema=SampledFrames.create_empty().drop("date").schema)
