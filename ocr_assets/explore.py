"""What other thresholds would do to a day, from its tables; nothing is detected or written.

```python
explored = explore_day("my_data", dt.date(2026, 1, 31), FilterRule(max_area_ratio=0.2))
explored.before, explored.after  # how many samples are, and would be, kept, dropped, quarantined
explored.changes  # those that would change side, nearest to the thresholds first
```
"""

import datetime as dt
import heapq
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ocr_assets.coverage import FilterRule, Verdict
from ocr_assets.tables.folder import folder_of_code_location
from ocr_assets.tables.partitioned import PartitionedTable, PartitionMissingError
from ocr_assets.tables.schemas import (
    DROP,
    KEEP,
    QUARANTINE,
    FilteredDataset,
    OcrBoxes,
    VideoManifest,
)
from ocr_assets.verdicts import Row, coverage_of_videos, judge_day, rule_of


@dataclass(frozen=True)
class Counts:
    """How many of a day's samples have each verdict."""

    kept: int
    dropped: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class Change:
    """A sample whose verdict would be another one.

    Attributes:
        sample_id: The sample, as in the tables.
        before: Its verdict in `filtered_dataset`; None if that does not have it yet.
        after: Its verdict by the explored thresholds; None if `video_manifest` has it no longer.
        ratios: What is judged, of each of its videos; None for one that is not known.
        reason_code: The kind of reason of `after`, as in `filtered_dataset`; None without `after`.
        reason: The reason of `after`, as a sentence.
    """

    sample_id: str
    before: Verdict | None
    after: Verdict | None
    ratios: tuple[float | None, ...]
    reason_code: str | None
    reason: str


@dataclass(frozen=True)
class Move:
    """How many samples would change from one side to another; sides as in `Change`."""

    before: Verdict | None
    after: Verdict | None
    count: int


@dataclass(frozen=True)
class Exploration:
    """What thresholds would do to a day.

    Attributes:
        date: The day.
        rule: The thresholds that are explored.
        rule_before: Those that `filtered_dataset` has the day by; None if that is not known.
        before: The day's counts in `filtered_dataset`; None if that does not have the day.
        after: Its counts by `rule`.
        moves: How many samples would change side, the most frequent change first; none without
            `before`.
        changes: These samples, or the first of them: those first whose ratio is nearest to a
            threshold, which are the ones to look at before the threshold is set.
    """

    date: dt.date
    rule: FilterRule
    rule_before: FilterRule | None
    before: Counts | None
    after: Counts
    moves: tuple[Move, ...]
    changes: tuple[Change, ...]

    @property
    def changed(self) -> int:
        """How many samples would change side, listed in `changes` or not."""
        return sum(move.count for move in self.moves)


def latest_day(data: str | Path) -> dt.date:
    """The latest day that can be explored: that `ocr_boxes` under a folder has.

    Raises:
        PartitionMissingError: It has none.
    """
    boxes = _boxes(data)
    dates = boxes.dates()
    if not dates:
        raise PartitionMissingError(
            f"there are no {boxes.name} in {data}; `ocr-assets run` makes them"
        )
    return max(dates)


def rule_of_day(data: str | Path, date: dt.date) -> FilterRule | None:
    """The thresholds that `filtered_dataset` has a day by.

    Returns:
        None if it does not have the day, or no sample on it, or if an earlier version wrote it.
    """
    dataset = _dataset(data)
    try:
        with dataset.reading(date):
            rules = dataset.scan(date).select("rule").head(1).collect()["rule"].to_list()
    except PartitionMissingError:
        return None
    return rule_of(rules[0]) if rules and rules[0] is not None else None


def explore_day(
    data: str | Path, date: dt.date, rule: FilterRule, *, limit: int | None = None
) -> Exploration:
    """Judges a day as materialising `filtered_dataset` would, and compares.

    Args:
        data: The folder that holds the tables.
        date: The day.
        rule: The thresholds to explore.
        limit: How many changes to keep; None: all of them. Counts are of all samples either way.

    Raises:
        PartitionMissingError: `video_manifest` or `ocr_boxes` does not have the day.
        TableDamagedError: One of the tables cannot be read.
    """
    manifest = PartitionedTable(folder_of_code_location(data), "video_manifest", VideoManifest)
    videos = coverage_of_videos(_boxes(data), date)
    judged = _verdicts(_dataset(data), date)
    verdicts: Counter[str] = Counter()
    moves: Counter[tuple[Verdict | None, Verdict | None]] = Counter()
    changes: list[Change] = []
    for rows in judge_day(manifest, videos, date, rule):
        verdicts.update(row["verdict"] for row in rows)
        if judged is not None:
            changed = _changed(rows, judged, rule)
            moves.update((change.before, change.after) for change in changed)
            changes = _nearest(changes + changed, rule, limit)
    if judged is not None:
        gone = _gone(judged, manifest, date)
        moves.update((change.before, change.after) for change in gone)
        changes = _nearest(changes + gone, rule, limit)
    return Exploration(
        date=date,
        rule=rule,
        rule_before=rule_of_day(data, date),
        before=None if judged is None else _counts(Counter(judged["before"])),
        after=_counts(verdicts),
        moves=tuple(Move(*sides, count) for sides, count in moves.most_common()),
        changes=tuple(changes),
    )


def rule_sentence(rule: FilterRule) -> str:
    """`ocr_area_ratio within [0, 0.1], of any video`."""
    low, high = _number(rule.min_area_ratio), _number(rule.max_area_ratio)
    videos = "any video" if rule.any_or_all == "any" else "all videos"
    return f"{rule.metric} within [{low}, {high}], of {videos}"


def thresholds_yaml(rule: FilterRule) -> str:
    """The run config that materialises `filtered_dataset` by a rule, for Dagster's launchpad."""
    lines = ["ops:", "  filtered_dataset:", "    config:"]
    for name, value in asdict(rule).items():
        # Of 1e-05 YAML makes a text.
        shown = _number(value) if isinstance(value, float | int) else value
        lines.append(f"      {name}: {shown}")
    return "\n".join(lines)


def thresholds_command(rule: FilterRule, date: dt.date, data: str | Path) -> str:
    """The command line that filters a day by a rule, without doing anything else again.

    It has every threshold, so that it means the same whatever the day was filtered by before.
    """
    words = ["ocr-assets", "explore", "--data", str(data), "--date", date.isoformat()]
    words += ["--min-area-ratio", _number(rule.min_area_ratio)]
    words += ["--max-area-ratio", _number(rule.max_area_ratio)]
    words += ["--metric", rule.metric, "--any-or-all", rule.any_or_all, "--apply"]
    return shlex.join(words)


def _boxes(data: str | Path) -> PartitionedTable:
    return PartitionedTable(folder_of_code_location(data), "ocr_boxes", OcrBoxes)


def _dataset(data: str | Path) -> PartitionedTable:
    return PartitionedTable(folder_of_code_location(data), "filtered_dataset", FilteredDataset)


def _verdicts(dataset: PartitionedTable, date: dt.date) -> pl.DataFrame | None:
    """sample_id and before, of all of a day's samples; None if there is no such partition."""
    try:
        with dataset.reading(date):
            return dataset.scan(date).select("sample_id", before="verdict").collect()
    except PartitionMissingError:
        return None


def _changed(rows: Sequence[Row], judged: pl.DataFrame, rule: FilterRule) -> list[Change]:
    now = pl.DataFrame(
        {name: [row[name] for row in rows] for name in ("sample_id", "verdict")},
        schema={"sample_id": pl.String, "verdict": pl.String},
    ).with_row_index()
    compared = now.join(judged, on="sample_id", how="left", maintain_order="left")
    changed = compared.filter(pl.col("verdict").ne_missing(pl.col("before")))
    return [
        Change(
            sample_id=rows[index]["sample_id"],
            before=before,
            after=rows[index]["verdict"],
            ratios=tuple(rows[index][rule.metric]),
            reason_code=rows[index]["reason_code"],
            reason=rows[index]["reason"],
        )
        for index, before in changed.select("index", "before").iter_rows()
    ]


def _gone(judged: pl.DataFrame, manifest: PartitionedTable, date: dt.date) -> list[Change]:
    """The samples that are in the dataset and not in the manifest, which was made again since."""
    with manifest.reading(date):
        listed = manifest.scan(date).select("sample_id")
        gone = (
            judged.lazy().join(listed, on="sample_id", how="anti", maintain_order="left").collect()
        )
    return [
        Change(sample_id, before, None, (), None, "video_manifest does not list it any more")
        for sample_id, before in gone.iter_rows()
    ]


def _nearest(changes: list[Change], rule: FilterRule, limit: int | None) -> list[Change]:
    """Those first that lie nearest to a threshold; of equal ones, in the order they come."""
    # Nothing lies below 0, so that as the least ratio it decides nothing.
    bounds = rule.min_area_ratio or np.inf, rule.max_area_ratio

    def distance(change: Change) -> float:
        known = [ratio for ratio in change.ratios if ratio is not None]
        return min((abs(ratio - bound) for ratio in known for bound in bounds), default=np.inf)

    if limit is None:
        return sorted(changes, key=distance)
    return heapq.nsmallest(limit, changes, key=distance)


def _counts(verdicts: Mapping[str, int]) -> Counts:
    return Counts(*(verdicts.get(verdict, 0) for verdict in (KEEP, DROP, QUARANTINE)))


def _number(value: float) -> str:
    """As short as it can be read back, without an exponent."""
    return np.format_float_positional(value, trim="-")
