"""When the assets run by themselves."""

import datetime as dt

import dagster as dg

from ocr_assets import run_lock, settings
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.configured import configured
from ocr_assets.late_videos import (
    REASON_TAG,
    cannot_be_watched,
    days_in_rotation,
    find_late_days,
)
from ocr_assets.pools.limits import keep, say, wanted
from ocr_assets.pools.records import this_host
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.video_source import VideoSource
from ocr_assets.run_launcher import why_lost

# The run queue counts runs per value of this tag, see dagster.yaml.
GPU_POOL_TAGS = {settings.GPU_POOL_TAG: settings.gpu_pool()}

daily_job = dg.define_asset_job(
    "daily_job",
    selection=dg.AssetSelection.all(),
    description="A day from its videos to its filtered dataset and its report, with all checks.",
    tags=GPU_POOL_TAGS,
)


@dg.schedule(
    job=daily_job,
    cron_schedule="0 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every night at 01:00 UTC, the day that has just ended. Off until switched on.",
)
def daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Yesterday's partition; today's, the last one, is not complete yet."""
    yesterday = context.scheduled_execution_time.date() - dt.timedelta(days=1)
    return dg.RunRequest(partition_key=yesterday.isoformat(), tags=GPU_POOL_TAGS)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sets the limits of the pools to what this machine can do now: one step for each reader "
        "that fits, one or two steps that decode. Limits that an operator has set are left alone."
    ),
)
def pool_limits(context: dg.SensorEvaluationContext, easyocr: EasyOCRResource) -> dg.SkipReason:
    """Keeps both pools' limits, and says what changed.

    Raises:
        StateError: The state directory cannot be used; the limits stay as they are.
    """
    if not context.instance.event_log_storage.supports_global_concurrency_limits:
        return dg.SkipReason("this Dagster instance has no pools: it keeps everything in memory")
    # Not as a resource: that would connect to the cluster at every tick.
    goals = wanted(easyocr, configured(ComputeResource, "compute"))
    kept = [keep(context.instance, goal, "sensor", this_host()) for goal in goals]
    for one in kept:
        if one.changed:
            context.log.info(one.sentence())
    return dg.SkipReason(say(kept))


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Fails the runs that were going on this host and whose process is gone, as after a "
        "restart, so that they are retried. The daemon does the same for its own host alone."
    ),
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Reports them, and says how many there were."""
    instance, lost = context.instance, 0
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        why = why_lost(run)
        # The daemon may have been faster.
        now = instance.get_run_by_id(run.run_id) if why is not None else None
        if now is not None and now.status == dg.DagsterRunStatus.STARTED:
            context.log.info(f"run {run.run_id} is lost: {why}")
            instance.report_run_failed(now, why)
            lost += 1
    for run_id in run_lock.left_behind():
        ended = instance.get_run_by_id(run_id)
        # Instances may share a state folder: a run that this one does not know can be another's.
        if (ended is not None and ended.is_finished) or run_lock.is_old(run_id):
            run_lock.forget(run_id)
    return dg.SkipReason(f"{lost} runs of {this_host()} have lost their process")


@dg.sensor(
    job=daily_job,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=(
        "Runs a day again, once per change, when its videos or its JSONL changed since it was last "
        "run, and a day that failed when its videos have come. Off until switched on."
    ),
)
def late_videos(
    context: dg.SensorEvaluationContext, video_source: VideoSource
) -> dg.SensorResult | dg.SkipReason:
    """Requests the days that have ended and are not what they were when they were last run."""
    if (reason := cannot_be_watched(video_source)) is not None:
        return dg.SkipReason(reason)
    days = days_in_rotation(
        dt.datetime.now(dt.UTC).date(),
        settings.late_days(),
        settings.first_date(),
        after=context.cursor,
    )
    found = find_late_days(
        context.instance,
        video_source,
        days,
        asset_key=video_manifest.key,
    )
    for day, error in found.unreadable.items():
        context.log.warning(f"{day} cannot be looked at: {error}")
    if found.late:
        context.log.info(found.summary())
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=late.run_key,
                partition_key=late.date.isoformat(),
                tags={**GPU_POOL_TAGS, REASON_TAG: "late_videos"},
            )
            for late in found.late
        ],
        skip_reason=None if found.late else found.summary(),
        cursor=context.cursor if found.last is None else found.last.isoformat(),
    )
