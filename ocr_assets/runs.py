"""One day, from its videos to its report, run through Dagster from Python."""

import contextlib
import dataclasses
import datetime as dt
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from ocr_assets import settings
from ocr_assets.coverage import FilterRule, Verdict
from ocr_assets.gpu.placement import DevicePolicy
from ocr_assets.instance import has_home, open_instance
from ocr_assets.plain_text import printable
from ocr_assets.settings import Layout
from ocr_assets.step_bars import step_bars
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE
from ocr_assets.tables.stored_path import stored_paths
from ocr_assets.video.sampling import SamplingRule


class RunFailedError(Exception):
    """The run did not succeed; the message names the step and what went wrong."""


@dataclass(frozen=True)
class DayRequest:
    """What to run.

    Attributes:
        source: The folder that holds the videos, or its URL.
        data: The folder for the tables, or a URL.
        date: The day, and so the partition.
        layout: How the source tells the days apart.
        sampling: Which frames to take.
        rule: Which samples to keep.
        device: Where to detect; None: as the code location has it.
        allow_outside_source: Whether links and paths may lead out of the source.
        max_quarantined_share: Greatest share of the videos that may be quarantined, in [0, 1];
            None: as the code location has it.
    """

    source: Path | str
    data: str | Path
    date: dt.date
    layout: Layout = "auto"
    sampling: SamplingRule = field(default_factory=SamplingRule)
    rule: FilterRule = field(default_factory=FilterRule)
    device: DevicePolicy | None = None
    allow_outside_source: bool = False
    max_quarantined_share: float | None = None

    def __post_init__(self) -> None:
        """Refuses a share that is none."""
        share = self.max_quarantined_share
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"max_quarantined_share {share} is not between 0 and 1")


@dataclass(frozen=True)
class SampleResult:
    """One sample's verdict; the ratios are per video, None for one that cannot be read."""

    sample_id: str
    videos: list[str]
    verdict: Verdict
    reason_code: str
    reason: str
    ocr_area_ratio: list[float | None]
    union_area_ratio: list[float | None]
    max_union_area_ratio: list[float | None]


@dataclass(frozen=True)
class DaySummary:
    """What came of a run."""

    date: str
    kept: int
    dropped: int
    quarantined: int
    seconds: float
    tables: str
    kept_jsonl: str
    report: str
    samples: list[SampleResult]


def run_day(request: DayRequest, *, quiet: bool = False) -> DaySummary:
    """Materialises the five assets for a day, in this process.

    The run is recorded in the Dagster instance of `DAGSTER_HOME`, if that is set.

    Args:
        request: What to run.
        quiet: Whether to keep progress from standard error; on a terminal it is shown by bars.

    Raises:
        RunFailedError: The run could not start, or a step or a blocking check failed.
        KeyboardInterrupt: It was interrupted.
    """
    started = time.monotonic()
    _run(request.date, _run_config(request), quiet=quiet)
    return _summary(request, time.monotonic() - started)


def refilter_day(data: str | Path, date: dt.date, rule: FilterRule, *, quiet: bool = False) -> None:
    """Materialises `filtered_dataset` by a rule, and what is made from it, and nothing else.

    Recorded as `run_day` is.

    Args:
        data: The folder that holds the tables.
        date: The day, which `video_manifest` and `ocr_boxes` have.
        rule: Which samples to keep.
        quiet: As for `run_day`.

    Raises:
        RunFailedError: As for `run_day`.
        KeyboardInterrupt: It was interrupted.
    """
    config = {
        "loggers": {"console": {}},
        "resources": {"tables": {"config": {"root": str(data)}}},
        "ops": {"filtered_dataset": {"config": dataclasses.asdict(rule)}},
    }
    _run(date, config, quiet=quiet, first="filtered_dataset")


def _run(date: dt.date, config: dict[str, Any], *, quiet: bool, first: str | None = None) -> None:
    """Runs the job for a day, from an asset on or the whole of it."""
    try:
        if date < settings.first_date():
            # Read when the partitions are defined, which is when the definitions are imported.
            os.environ[settings.FIRST_DATE_VARIABLE] = date.isoformat()
        bars = contextlib.nullcontext() if quiet else step_bars()
        with _instance() as instance, bars:
            # With the job's own executor, which execute_in_process would replace.
            result = dg.execute_job(
                dg.reconstructable(quiet_job if quiet else terminal_job),
                instance,
                run_config=config,
                tags={settings.PARTITION_TAG: date.isoformat()},
                asset_selection=None if first is None else _from(first),
            )
            failure = None if result.success else _what_failed(result)
    except (ValueError, OSError, dg.DagsterError) as error:
        raise RunFailedError(f"the run cannot start: {error}") from error
    if failure is not None:
        raise RunFailedError(failure)


def _from(asset: str) -> list[dg.AssetKey]:
    """An asset and all that is made from it."""
    from ocr_assets.definitions import defs

    selection = dg.AssetSelection.assets(asset).downstream()
    return sorted(selection.resolve(defs.resolve_asset_graph()))


def terminal_job() -> dg.JobDefinition:
    """`daily_job`, with its progress on standard error."""
    return _with_console(_terminal)


def quiet_job() -> dg.JobDefinition:
    """`daily_job`, without a word."""
    return _with_console(_quiet)


def _with_console(logger: Callable[[dg.InitLoggerContext], logging.Logger]) -> dg.JobDefinition:
    from ocr_assets.definitions import defs

    console = dg.Definitions(loggers={"console": dg.LoggerDefinition(logger)})
    return dg.Definitions.merge(defs, console).resolve_job_def("daily_job")


def _instance() -> dg.DagsterInstance:
    return open_instance() if has_home() else dg.DagsterInstance.ephemeral()


def _run_config(request: DayRequest) -> dict[str, Any]:
    tables: dict[str, Any] = {"root": str(request.data)}
    if request.max_quarantined_share is not None:
        tables["max_quarantined_share"] = request.max_quarantined_share
    return {
        "loggers": {"console": {}},
        "resources": {
            "video_source": {
                "config": {
                    "root": str(request.source),
                    "layout": request.layout,
                    "allow_outside_source": request.allow_outside_source,
                },
            },
            "tables": {"config": tables},
            "easyocr": {"config": {"device": request.device} if request.device else {}},
        },
        "ops": {
            "sampled_frames": {
                "config": {
                    "frame_sample_num": request.sampling.frame_sample_num,
                    "sample_every_seconds": request.sampling.sample_every_seconds,
                }
            },
            "filtered_dataset": {"config": dataclasses.asdict(request.rule)},
        },
    }


def _summary(request: DayRequest, seconds: float) -> DaySummary:
    from ocr_assets.resources.tables import tables_at

    tables = tables_at(request.data)
    dataset = tables.filtered_dataset
    with dataset.reading(request.date):
        rows = dataset.scan(request.date).collect()
    samples = [
        SampleResult(
            sample_id=row["sample_id"],
            videos=stored_paths(row),
            verdict=row["verdict"],
            reason_code=row["reason_code"],
            reason=row["reason"],
            ocr_area_ratio=row["ocr_area_ratio"],
            union_area_ratio=row["union_area_ratio"],
            max_union_area_ratio=row["max_union_area_ratio"],
        )
        for row in rows.iter_rows(named=True)
    ]
    verdicts = Counter[str](sample.verdict for sample in samples)
    return DaySummary(
        date=request.date.isoformat(),
        kept=verdicts[KEEP],
        dropped=verdicts[DROP],
        quarantined=verdicts[QUARANTINE],
        seconds=round(seconds, 2),
        tables=tables.folder.uri,
        kept_jsonl=tables.folder.address(settings.kept_jsonl(request.date)),
        report=tables.folder.address(settings.coverage_report(request.date)),
        samples=samples,
    )


def _what_failed(result: dg.JobExecutionResult) -> str:
    for check in result.get_asset_check_evaluations():
        if not check.passed:
            asset = check.asset_key.to_user_string()
            return f"the check {check.check_name} of {asset} failed: {check.description}"
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            said = failure.user_failure_data.description if failure.user_failure_data else None
            return f"{event.step_key} failed: {_why(failure.error, said)}"
        if event.is_job_failure:
            return _why(event.job_failure_data.error, None)
    return "the run failed outside its steps"


def _why(error: SerializableErrorInfo | None, said: str | None) -> str:
    """The failure's own description, else its first cause.

    Raises:
        KeyboardInterrupt: That is what the cause was.
    """
    while error is not None and error.cause is not None:
        error = error.cause
    if error is not None and error.cls_name == "DagsterExecutionInterruptedError":
        raise KeyboardInterrupt
    return said or (error.message.strip() if error is not None else "no error was recorded")


class _StepFormatter(logging.Formatter):
    """A step's message without Dagster's run id and time.

    A message is one line, whatever names of files are in it, so that none passes for another's.
    """

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        message = meta.get("orig_message") or record.getMessage()
        return f"{meta.get('step_key') or '':<17} {printable(message)}"


def _terminal(_: dg.InitLoggerContext) -> logging.Logger:
    """Progress on the terminal, without run ids."""
    handler = logging.StreamHandler()
    handler.setFormatter(_StepFormatter())
    return _logger("ocr_assets.terminal", handler)


def _quiet(_: dg.InitLoggerContext) -> logging.Logger:
    """Nothing at all."""
    return _logger("ocr_assets.quiet", logging.NullHandler())


def _logger(name: str, handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
