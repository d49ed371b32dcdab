"""Asset checks: nothing is lost, nothing is counted twice, and the numbers are possible."""

import dataclasses
import datetime as dt
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence

import dagster as dg
import polars as pl

from ocr_assets import settings
from ocr_assets.assets.coverage_report import coverage_report, rule_in_use
from ocr_assets.assets.failures import without_answers
from ocr_assets.assets.filtered_dataset import filtered_dataset
from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.coverage import METRICS
from ocr_assets.partitions import daily, partition_dates
from ocr_assets.plain_text import code_span
from ocr_assets.reasons import Status
from ocr_assets.reports.about import about_report, dataset_digest
from ocr_assets.reports.coverage_page import summary
from ocr_assets.resources.tables import Tables
from ocr_assets.video.images import decode_image

FRAMES_TO_DECODE = 50
EXAMPLES = 5
A_FEW = 10


@dataclasses.dataclass(frozen=True)
class Checked:
    """How much was looked at: so many of what, in the plural."""

    count: int
    unit: str


CheckFunction = Callable[[Tables, dt.date], dg.AssetCheckResult]


def partition_check(
    asset: dg.AssetsDefinition,
) -> Callable[[CheckFunction], dg.AssetChecksDefinition]:
    """A check of a day of an asset that stops what follows when it fails."""

    def decorate(function: CheckFunction) -> dg.AssetChecksDefinition:
        def check(context: dg.AssetCheckExecutionContext, tables: Tables) -> dg.AssetCheckResult:
            try:
                results = {date: function(tables, date) for date in partition_dates(context)}
            except Exception as error:
                raise without_answers(error) from error.__cause__
            if len(results) == 1:
                return next(iter(results.values()))
            return _of_several_days(context, asset, function.__name__, results)

        with warnings.catch_warnings():
            # Partitioned checks are a preview in Dagster 1.13; pyproject.toml bounds its version.
            warnings.simplefilter("ignore", dg.PreviewWarning)
            return dg.asset_check(
                asset=asset,
                name=function.__name__,
                description=inspect.getdoc(function),  # without the indentation, which means code
                partitions_def=daily,
                blocking=True,
            )(check)

    return decorate


def _of_several_days(
    context: dg.AssetCheckExecutionContext,
    asset: dg.AssetsDefinition,
    name: str,
    results: Mapping[dt.date, dg.AssetCheckResult],
) -> dg.AssetCheckResult:
    """Records each day's result, which Dagster does not do by itself, and returns all in one."""
    for date, result in results.items():
        context.op_execution_context.log_event(
            dg.AssetCheckEvaluation(  # type: ignore[arg-type] # it takes them
                asset_key=asset.key,
                check_name=name,
                passed=result.passed,
                description=result.description,
                metadata=result.metadata,
                blocking=True,
                partition=date.isoformat(),
            )
        )
    failed = [
        f"{date}: {result.description}" for date, result in results.items() if not result.passed
    ]
    return dg.AssetCheckResult(
        passed=not failed,
        description="\n".join(failed) or f"All {len(results)} days passed.",
        metadata={"days": len(results), "days_failed": len(failed)},
    )


@partition_check(video_manifest)
def manifest_rows_are_unique(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """Every video of every sample is listed once: no sample has two rows for the same video."""
    rows = tables.video_manifest.scan(date)
    return _no_rows(
        _repeated(rows, "sample_id", "video_index"),
        Checked(_count(rows), "(sample, video) pairs"),
        "Every (sample, video) pair is listed once.",
        "listed more than once",
    )


@partition_check(video_manifest)
def few_videos_are_unreadable(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """No more of the day's videos are unreadable than `max_quarantined_share` of `tables` allows.

    With more, the source may be broken or not mounted, and nothing after this asset is done.
    """
    return _few_are_quarantined(_listed(tables, date), tables.max_quarantined_share)


@partition_check(sampled_frames)
def every_readable_video_is_sampled_once(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """Every readable video of the manifest has frames 0 to k-1, once each, or one error."""
    frames = (
        tables.sampled_frames.scan(date)
        .group_by("video_id")
        .agg(
            pl.col("frame_index").drop_nulls().sort().alias("indices"),
            pl.col("error").is_not_null().sum().alias("errors"),
        )
    )
    complete = (
        (pl.col("indices") == pl.int_ranges(0, pl.col("indices").list.len(), dtype=pl.Int32))
        & ((pl.col("indices").list.len() > 0) | (pl.col("errors") == 1))
        & (pl.col("errors") <= 1)
    )
    videos = _videos(tables, date)
    wrong = (
        videos.join(frames, on="video_id", how="full", coalesce=True)
        .filter(pl.col("listed").is_null() | pl.col("indices").is_null() | ~complete)
        .select("video_id")
    )
    return _no_rows(
        wrong,
        Checked(_count(videos), "videos"),
        "Every readable video is sampled once.",
        "missing, sampled twice, or not in the manifest",
    )


@partition_check(sampled_frames)
def stored_frames_decode(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """The first frames of every part file, up to fifty in all, decode to pictures of their size."""
    parts = list(tables.sampled_frames.scan_parts(date))
    wrong: list[str] = []
    decoded = 0
    for part in parts:
        frames = part.filter(pl.col("image").is_not_null()).head(
            max(FRAMES_TO_DECODE // len(parts), 1)
        )
        for row in frames.collect().iter_rows(named=True):
            decoded += 1
            try:
                size = decode_image(row["image"]).shape[1::-1]
            except ValueError as error:
                wrong.append(f"{row['video_id']} frame {row['frame_index']}: {error}")
                continue
            if size != (row["width"], row["height"]):
                wrong.append(f"{row['video_id']} frame {row['frame_index']}: its size is {size}")
    return _result(
        wrong,
        Checked(decoded, "frames"),
        "Every frame that was tried decodes to a picture of its size.",
        "not decoding to a picture of their size",
    )


@partition_check(ocr_boxes)
def every_frame_is_detected_once(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """Every sampled frame has one row of boxes, and no row of boxes is without its frame."""
    key = ("video_id", "frame_index")
    frames = tables.sampled_frames.scan(date).select(*key, sampled=pl.lit(1))
    boxes = tables.ocr_boxes.scan(date).group_by(key).agg(detected=pl.len())
    wrong = frames.join(boxes, on=key, how="full", nulls_equal=True, coalesce=True).filter(
        pl.col("sampled").is_null() | (pl.col("detected").fill_null(0) != 1)
    )
    return _no_rows(
        wrong.select(key),
        Checked(_count(frames), "frames"),
        "Every sampled frame has one row of boxes.",
        "without a row of boxes, with several, or not in sampled_frames",
    )


@partition_check(ocr_boxes)
def ratios_are_possible(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """Every frame's ratios are finite and at least 0, the union's at most 1, or it has an error."""
    boxes = tables.ocr_boxes.scan(date)
    area, union = pl.col("ocr_area_ratio"), pl.col("union_area_ratio")
    possible = area.is_finite() & (area >= 0) & union.is_between(0, 1)
    wrong = boxes.filter(
        pl.when(pl.col("error").is_null())
        .then(~possible.fill_null(value=False))
        .otherwise(area.is_not_null() | union.is_not_null())
    ).select("video_id", "frame_index")
    return _no_rows(
        wrong,
        Checked(_count(boxes), "frames"),
        "Every frame's ratios are possible.",
        "with ratios that are not possible",
    )


@partition_check(ocr_boxes)
def few_videos_are_quarantined(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """No more of the day's videos are quarantined than `max_quarantined_share` of `tables` allows.

    Those that cannot be read count, and those that could not be sampled or detected. With more,
    `filtered_dataset` stays as it was.
    """
    failed = (
        tables.ocr_boxes.scan(date)
        .filter(pl.col("error").is_not_null())
        .group_by("video_id")
        .agg(later=pl.col("status").first())
    )
    videos = (
        _listed(tables, date)
        .join(failed, on="video_id", how="left")
        .with_columns(status=pl.coalesce("later", "status"))
    )
    return _few_are_quarantined(videos, tables.max_quarantined_share)


@partition_check(filtered_dataset)
def every_sample_has_one_verdict(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """Every sample of the manifest is kept, dropped or quarantined, once, with all its videos."""
    samples = (
        tables.video_manifest.scan(date)
        .sort("video_index")
        .group_by("sample_id", maintain_order=True)
        .agg(listed=pl.col("path").filter(pl.col("video_index").is_not_null()))
    )
    verdicts = (
        tables.filtered_dataset.scan(date)
        .group_by("sample_id")
        .agg(pl.col("paths").first(), verdicts=pl.len())
    )
    wrong = samples.join(verdicts, on="sample_id", how="full", coalesce=True).filter(
        pl.col("listed").is_null()
        | (pl.col("verdicts").fill_null(0) != 1)
        | (pl.col("listed") != pl.col("paths"))
    )
    return _no_rows(
        wrong.select("sample_id"),
        Checked(_count(samples), "samples"),
        "Every sample has one verdict.",
        "without a verdict, with several or with other videos, or not in the manifest",
    )


@partition_check(filtered_dataset)
def dataset_ratios_are_possible(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """Every ratio that verdicts rest on is finite and at least 0, and at most 1 but for one kind.

    Only `ocr_area_ratio` can be greater than 1, since it counts boxes that overlap twice.
    """
    most = {"ocr_area_ratio": float("inf")}
    possible = [
        pl.col(metric)
        .list.eval(pl.element().is_finite() & pl.element().is_between(0, most.get(metric, 1)))
        .list.all()
        for metric in METRICS
    ]
    # The columns that are null as a whole are those of partitions of earlier versions.
    rows = tables.filtered_dataset.scan(date)
    wrong = rows.filter(~pl.all_horizontal(possible))
    return _no_rows(
        wrong.select("sample_id"),
        Checked(_count(rows), "samples"),
        "Every sample's ratios are possible.",
        "with ratios that are not possible",
    )


@partition_check(coverage_report)
def report_is_of_the_dataset(tables: Tables, date: dt.date) -> dg.AssetCheckResult:
    """The day's report is there, and of the verdicts and thresholds that `filtered_dataset` has."""
    rows = tables.filtered_dataset.scan(date)
    samples = rows.select("sample_id", "verdict", "rule").collect()
    name = settings.coverage_report(date)
    about = about_report(tables.folder, name)
    passed = about is not None and about.dataset == dataset_digest(samples)
    if passed:
        description = summary(samples, rule_in_use(samples, date))
    else:
        is_there = about is not None or tables.folder.read(name) is not None
        problem = "is of another dataset" if is_there else "is not there"
        description = f"The report {problem}; materialise coverage_report again."
    return dg.AssetCheckResult(
        passed=passed,
        description=description,
        metadata={"checked": samples.height, "wrong": int(not passed)},
    )


def _listed(tables: Tables, date: dt.date) -> pl.LazyFrame:
    """The day's videos, and the samples that are none; not those that have no videos."""
    is_one = pl.col("video_index").is_not_null() | (pl.col("status") != Status.OK)
    return tables.video_manifest.scan(date).filter(is_one)


def _few_are_quarantined(videos: pl.LazyFrame, max_share: float) -> dg.AssetCheckResult:
    counts = dict(
        videos.group_by("status")
        .len()
        .sort("len", "status", descending=[True, False])
        .collect()
        .iter_rows()
    )
    total = sum(counts.values())
    kinds = {status: count for status, count in counts.items() if status != Status.OK}
    quarantined = sum(kinds.values())
    said = ", ".join(f"{count} {status}" for status, count in kinds.items())
    found = f"{_are(quarantined, total, 'videos')} quarantined{f' ({said})' if said else ''}"
    metadata = {
        "checked": total,
        "quarantined": quarantined,
        "quarantined_share": quarantined / max(total, 1),
        **{f"status/{status}": count for status, count in kinds.items()},
    }
    if quarantined <= A_FEW:  # bad files, unless they are not there at all
        quarantined = sum(kinds.get(status, 0) for status in (Status.MISSING, Status.UNREADABLE))
    if quarantined <= max_share * total:
        return dg.AssetCheckResult(passed=True, description=f"{found}.", metadata=metadata)
    return dg.AssetCheckResult(
        passed=False,
        description=(
            f"{found}, more than {max_share:.0%}: is the source whole? max_quarantined_share of "
            "the resource tables says how many may be."
        ),
        metadata=metadata,
    )


def _videos(tables: Tables, date: dt.date) -> pl.LazyFrame:
    return (
        tables.video_manifest.scan(date)
        .filter(pl.col("status") == Status.OK, pl.col("video_id").is_not_null())
        .select("video_id", listed=pl.lit(1))
        .unique("video_id")
    )


def _repeated(rows: pl.LazyFrame, *key: str) -> pl.LazyFrame:
    return rows.group_by(key).agg(pl.len()).filter(pl.col("len") > 1).select(key)


def _count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect().item())


def _no_rows(wrong: pl.LazyFrame, checked: Checked, passed: str, fault: str) -> dg.AssetCheckResult:
    return _result([str(row) for row in wrong.collect().iter_rows()], checked, passed, fault)


def _result(wrong: Sequence[str], checked: Checked, passed: str, fault: str) -> dg.AssetCheckResult:
    """Passed if nothing is wrong; else says how many are, and names some."""
    description = f"{passed} {checked.count} {checked.unit} were looked at."
    if wrong:
        description = (
            f"{_are(len(wrong), checked.count, checked.unit)} {fault}, among them "
            f"{'; '.join(map(code_span, wrong[:EXAMPLES]))}."
        )
    return dg.AssetCheckResult(
        passed=not wrong,
        description=description,
        metadata={"checked": checked.count, "wrong": len(wrong)},
    )


def _are(some: int, of: int, unit: str) -> str:
    return f"{some} of {of} {unit} {'is' if some == 1 else 'are'}"


all_checks = [
    manifest_rows_are_unique,
    few_videos_are_unreadable,
    every_readable_video_is_sampled_once,
    stored_frames_decode,
    every_frame_is_detected_once,
    ratios_are_possible,
    few_videos_are_quarantined,
    every_sample_has_one_verdict,
    dataset_ratios_are_possible,
    report_is_of_the_dataset,
]
