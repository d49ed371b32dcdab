"""Which days have to be run again, because videos came late or changed since."""

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from ocr_assets.instance import latest_materialization, metadata_values
from ocr_assets.partitions import run_span
from ocr_assets.resources.video_source import (
    SOURCE,
    SOURCE_FINGERPRINT,
    SourceMissingError,
    VideoSource,
)
from ocr_assets.settings import PARTITION_TAG, RANGE_START_TAG, SOURCE_MISSING_TAG
from ocr_assets.video.source_state import SourceState

REASON_TAG = "ocr_assets/reason"
SETTLE_SECONDS = 60  # files younger than this are still being copied
# Together less than the 60 seconds after which Dagster gives up on a sensor, with its cursor.
TICK_SECONDS = 20
LOOK_SECONDS = 30

FINISHED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)


@dataclass(frozen=True)
class LateDay:
    """A day to run again.

    Attributes:
        date: The day.
        fingerprint: The state of its source that is the cause.
        latest: Dagster's number of its latest materialisation; 0 if there is none.
    """

    date: dt.date
    fingerprint: str
    latest: int

    @property
    def run_key(self) -> str:
        """The same for as long as nobody has run the change, and another one for the next."""
        return f"{self.date}:{self.fingerprint}:{self.latest}"


@dataclass(frozen=True)
class Findings:
    """What a look at the days found.

    Attributes:
        late: The days to run again.
        emptied: Days whose videos are all gone; they are left as they are.
        looked_at: How many days were compared with their source.
        settling: Days that changed, but are still being copied.
        in_progress: Days that changed, but have a run queued or in progress.
        unreadable: Days that could not be looked at, and why.
        not_reached: How many days are left for the next time.
        last: The day to go on after; None if there are no days.
    """

    late: tuple[LateDay, ...]
    emptied: tuple[dt.date, ...]
    looked_at: int
    settling: tuple[dt.date, ...]
    in_progress: tuple[dt.date, ...]
    unreadable: Mapping[dt.date, str]
    not_reached: int
    last: dt.date | None

    def summary(self) -> str:
        """The findings in one line."""
        changed = sum(map(len, (self.late, self.emptied, self.settling, self.in_progress)))
        days_looked_at = f"{self.looked_at} day{'' if self.looked_at == 1 else 's'} looked at"
        parts = [f"{days_looked_at}, {changed or 'none'} changed"]
        for days, what in (
            (self.emptied, "without any video now, to be run by hand if that is meant"),
            (self.settling, "still being copied"),
            (self.in_progress, "queued or in progress"),
            (self.unreadable, "cannot be looked at"),
        ):
            if days:
                parts.append(f"{what}: {', '.join(map(str, sorted(days)))}")
        if self.not_reached:
            parts.append(f"out of time, the next tick begins with the {self.not_reached} others")
        return "; ".join(parts)


def cannot_be_watched(source: VideoSource) -> str | None:
    """Why no day of a source can be told to have changed; None if it can."""
    if source.layout == "whole_folder":
        return "the layout whole_folder has no days, so none of them can be late"
    return source.why_not_there()


def days_in_rotation(
    today: dt.date, days_back: int, first_date: dt.date, after: str | None
) -> list[dt.date]:
    """The days that have ended, in order, beginning with the one after `after`.

    Args:
        today: The day that has not ended yet, in UTC as the partitions are.
        days_back: How many days to go back from it.
        first_date: The first day there is.
        after: The last day that was looked at, as YYYY-MM-DD; None to begin with the first.
    """
    days = [today - dt.timedelta(days=back) for back in range(days_back, 0, -1)]
    days = [day for day in days if day >= first_date]
    return sorted(days, key=lambda day: (day.isoformat() <= (after or ""), day))


def find_late_days(
    instance: dg.DagsterInstance,
    source: VideoSource,
    days: Sequence[dt.date],
    *,
    asset_key: dg.AssetKey,
) -> Findings:
    """Compares days with what they were when they were last materialised.

    A day is late if its source is not what its latest materialisation was made from; or if it has
    no materialisation, a run of it failed for want of a source, and there is one now. What does not
    say what it was made from, or was made from another source, is not compared. A day whose source
    is gone altogether has nothing to run, so it is not late. After TICK_SECONDS no more days are
    looked at, but at least one is.

    Args:
        instance: Where materialisations and runs are recorded.
        source: Where the videos are now.
        days: The days, in the order to look at them.
        asset_key: The asset that records its source.
    """
    started = time.monotonic()
    looked_at = 0
    reached: list[dt.date] = []
    changed: list[LateDay] = []
    emptied: list[dt.date] = []
    settling: list[dt.date] = []
    unreadable: dict[dt.date, str] = {}
    tried = _tried_in_vain(instance, days)
    for day in days:
        reached.append(day)
        latest = latest_materialization(instance, asset_key, day)
        made_from = None if latest is None else _made_from(latest.asset_materialization, source)
        if made_from is not None or (latest is None and day in tried):
            try:
                state = source.state(day, within_seconds=LOOK_SECONDS)
            except SourceMissingError:
                looked_at += 1
            except OSError as error:
                unreadable[day] = str(error)
            else:
                looked_at += 1
                if state.fingerprint == made_from:
                    pass
                elif state.samples == 0:
                    emptied.append(day)
                elif not _is_settled(state):
                    settling.append(day)
                else:
                    number = latest.storage_id if latest is not None else 0
                    changed.append(LateDay(day, state.fingerprint, number))
        if time.monotonic() - started >= TICK_SECONDS:
            break
    # Asked for last: a run that began meanwhile counts.
    in_progress = _in_progress(instance, [late.date for late in changed])
    return Findings(
        emptied=tuple(emptied),
        late=tuple(late for late in changed if late.date not in in_progress),
        looked_at=looked_at,
        settling=tuple(settling),
        in_progress=tuple(sorted(in_progress)),
        unreadable=unreadable,
        not_reached=len(days) - len(reached),
        last=reached[-1] if reached else None,
    )


def _made_from(materialization: dg.AssetMaterialization | None, source: VideoSource) -> str | None:
    """The fingerprint that a day had when it was made, if it was made from this source."""
    about = metadata_values(materialization)
    if about.get(SOURCE) != source.identity or SOURCE_FINGERPRINT not in about:
        return None
    return str(about[SOURCE_FINGERPRINT])


def _tried_in_vain(instance: dg.DagsterInstance, days: Sequence[dt.date]) -> set[dt.date]:
    """Days of which a run failed because the source had nothing for them."""
    keys = [day.isoformat() for day in days]
    failed = [
        run
        for tag in (PARTITION_TAG, RANGE_START_TAG)
        for run in instance.get_runs(
            dg.RunsFilter(
                statuses=[dg.DagsterRunStatus.FAILURE],
                tags={tag: keys, SOURCE_MISSING_TAG: "true"},
            )
        )
    ]
    return _worked_on(failed, days)


def _in_progress(instance: dg.DagsterInstance, days: Sequence[dt.date]) -> set[dt.date]:
    """Those of the days that a run works on or is going to, whichever job it is of."""
    if not days:
        return set()
    unfinished = [status for status in dg.DagsterRunStatus if status not in FINISHED]
    return _worked_on(instance.get_runs(dg.RunsFilter(statuses=unfinished)), days)


def _worked_on(runs: Iterable[dg.DagsterRun], days: Sequence[dt.date]) -> set[dt.date]:
    """Those of the days that are partitions of the runs."""
    spans = [span for run in runs if (span := run_span(run.tags)) is not None]
    return {day for day in days if any(first <= day.isoformat() <= last for first, last in spans)}


def _is_settled(state: SourceState) -> bool:
    """Whether nothing was written just now; clocks of file servers may be ahead a little."""
    return state.newest is None or abs(time.time() - state.newest) >= SETTLE_SECONDS
