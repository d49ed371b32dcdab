"""What the assets have in common: a partition a day, and a step that does one or several."""

import datetime as dt
import inspect
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import dagster as dg
import dataframely as dy
from dagster._core.errors import DagsterInvalidPropertyError

from ocr_assets import settings
from ocr_assets.assets.failures import (
    describe,
    may_be_retried,
    retry_run_after_fault,
    without_answers,
)
from ocr_assets.assets.metadata import SECONDS, page_text, table_metadata
from ocr_assets.gpu.faults import DeviceFaultError
from ocr_assets.partitions import daily, partition_dates
from ocr_assets.resources.video_source import SourceMissingError

# Applied here and not by Dagster, whose retry policies also retry a step that was cancelled.
RETRY_POLICY = dg.RetryPolicy(
    max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

Step = Callable[..., dg.MaterializeResult[None]]
DayWork = Callable[[dt.date], dict[str, Any]]


def daily_asset(
    schema: type[dy.Schema] | None,
    *,
    kinds: set[str],
    code_version: str,
    deps: Sequence[str] = (),
    pool: str | None = None,
    freshness_policy: dg.FreshnessPolicy | None = None,
) -> Callable[[Step], dg.AssetsDefinition]:
    """An asset of days: a Delta table, or files.

    Its page says what its function's docstring says, and shows an example row if it is a table.

    Args:
        schema: The table's; None if it is files.
        kinds: What it is made with.
        code_version: Changes when its rows would be others for the same input.
        deps: The assets that it reads.
        pool: The pool whose slots its step claims.
        freshness_policy: How old it may become.
    """

    def decorate(step: Step) -> dg.AssetsDefinition:
        with warnings.catch_warnings():
            # Backfill policies are beta in Dagster 1.13; pyproject.toml bounds its version.
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.asset(
                description=page_text(inspect.getdoc(step) or "", schema),
                deps=deps,
                partitions_def=daily,
                # Several days in one run load one model; a run that is too long is not retried
                # cheaply, and one day that fails holds up the days that run with it.
                backfill_policy=dg.BackfillPolicy.multi_run(settings.days_per_run()),
                freshness_policy=freshness_policy,
                pool=pool,
                group_name=settings.GROUP,
                owners=settings.OWNERS,
                kinds=kinds if schema is None else kinds | {"deltalake"},
                code_version=code_version,
                metadata={} if schema is None else table_metadata(step.__name__, schema),
            )(step)

    return decorate


def each_day(context: dg.AssetExecutionContext, work: DayWork) -> dg.MaterializeResult[None]:
    """Does a step's work for each of its partitions; one that fails does not keep the others.

    Args:
        context: The step's.
        work: Does a day and returns its metadata.

    Raises:
        dg.RetryRequested: Days failed in a way that may not last; the step is tried again.
        dg.Failure: Days failed; the description says what to do.
    """
    dates = partition_dates(context)
    done: dict[dt.date, dict[str, Any]] = {}
    failed: dict[dt.date, Exception] = {}
    for date in dates:
        started = time.monotonic()
        try:
            metadata = work(date)
        except Exception as raised:
            error = without_answers(raised)
            failed[date] = error
            if len(dates) > 1:
                trace = "".join(traceback.format_exception(error))
                context.log.error(f"{date} failed: {describe(error)}\n{trace}")
            if isinstance(error, DeviceFaultError):
                break  # every other day would meet the same broken process
        else:
            done[date] = {**metadata, SECONDS: time.monotonic() - started}
    if failed:
        _fail(context, done, failed)
    if len(dates) == 1:
        return dg.MaterializeResult(metadata=done[dates[0]])
    for date, metadata in done.items():
        context.add_asset_metadata(metadata, partition_key=date.isoformat())
    return dg.MaterializeResult()


def run_of(context: dg.AssetExecutionContext) -> dg.DagsterRun | None:
    """The step's run; None if it is called like a function."""
    try:
        return context.run
    except DagsterInvalidPropertyError:
        return None


def _fail(
    context: dg.AssetExecutionContext,
    done: dict[dt.date, dict[str, Any]],
    failed: dict[dt.date, Exception],
) -> NoReturn:
    """Raises what the step fails with, or is tried again with."""
    days = len(context.partition_keys)
    for date, metadata in done.items():
        # Of a step that fails Dagster records nothing by itself.
        context.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                context.asset_key, metadata=metadata, partition=date.isoformat()
            )
        )
    if days == 1:
        (description,) = map(describe, failed.values())
    else:
        each = "\n".join(f"{date}: {describe(error)}" for date, error in failed.items())
        description = f"{len(failed)} of {days} days failed; those that were done stay.\n{each}"
    failure = dg.Failure(description)
    failure.__cause__ = next(iter(failed.values()))
    run = run_of(context)
    if run is not None:
        # A step's retry would find the same broken process; a retry of the run has a new one.
        broken = any(isinstance(error, DeviceFaultError) for error in failed.values())
        retry_run_after_fault(context.instance, run, wanted=broken)
        if any(isinstance(error, SourceMissingError) for error in failed.values()):
            # The sensor late_videos looks for such runs.
            context.instance.add_run_tags(run.run_id, {settings.SOURCE_MISSING_TAG: "true"})
    if run is None or not all(map(may_be_retried, failed.values())):
        raise failure
    raise dg.RetryRequested(
        RETRY_POLICY.max_retries, RETRY_POLICY.calculate_delay(context.retry_number + 1)
    ) from failure
