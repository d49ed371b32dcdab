"""When the assets run by themselves."""

import datetime as dt

import dagster as dg

daily_job = dg.define_asset_job(
    "daily_job",
    selection=dg.AssetSelection.all(),
    description="A day from its videos to its filtered dataset, with all checks.",
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
    return dg.RunRequest(partition_key=yesterday.isoformat())
