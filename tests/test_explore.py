"""What is explored is what materialising gives, and the most telling changes come first."""

import datetime as dt
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocr_assets.assets.filtered_dataset import filtered_dataset
from ocr_assets.cli import _parser
from ocr_assets.commands.arguments import filter_rule
from ocr_assets.coverage import METRICS, FilterRule
from ocr_assets.explore import (
    Change,
    Counts,
    Move,
    explore_day,
    latest_day,
    rule_of_day,
    rule_sentence,
    thresholds_command,
    thresholds_yaml,
)
from ocr_assets.reasons import Fault, Status
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.partitioned import PartitionMissingError
from tests.part_files import part_files
from tests.pipeline import DAY, materialize_day, rows
from tests.written_day import Video, covering, write_day

DATE = dt.date.fromisoformat(DAY)
UNREADABLE = Fault(Status.TRUNCATED, "it is truncated")
SHARES = (0.0, 0.05, 0.1, 0.1000001, 0.25, 0.5, 1.0)

SAMPLES: dict[str, list[Video]] = {
    "no videos": [],
    "unreadable": [UNREADABLE],
    "text in one of two frames": [[[], [covering(0.3)]]],
    "overlapping boxes": [[[covering(0.4), covering(0.4)]]],
    "several": [[[covering(0.05)]], [[covering(0.6)]]],
    "several, one unreadable": [[[covering(0.2)] * 2], UNREADABLE],
    **{f"covered {share}": [[[covering(share)], [covering(share)]]] for share in SHARES},
}

bounds = st.tuples(st.sampled_from(SHARES), st.sampled_from(SHARES)).map(sorted)
rules = st.builds(
    lambda interval, metric, any_or_all: FilterRule(*interval, metric, any_or_all),
    bounds,
    st.sampled_from(METRICS),
    st.sampled_from(["any", "all"]),
)


def materialize(data: Path, rule: FilterRule) -> dict[str, dict[str, Any]]:
    """The dataset by a rule, as the launchpad would make it; each sample's row."""
    config = yaml.safe_load(thresholds_yaml(rule))["ops"]["filtered_dataset"]["config"]
    result = materialize_day(data, data, assets=[filtered_dataset], rule=config)
    assert result.success
    return {row["sample_id"]: row for row in rows(data, "filtered_dataset")}


def counts(dataset: dict[str, dict[str, Any]]) -> Counts:
    verdicts = Counter(row["verdict"] for row in dataset.values())
    return Counts(verdicts["keep"], verdicts["drop"], verdicts["quarantine"])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of all kinds, in a manifest of several parts, not filtered."""
    data = tmp_path_factory.mktemp("mixed")
    write_day(data, DATE, SAMPLES, rows_a_part=6)
    assert len(Tables(root=str(data)).video_manifest.parts(DATE)) > 1
    return data


@given(rules, rules)
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_what_is_explored_is_what_materialising_gives(
    mixed: Path, before: FilterRule, after: FilterRule
) -> None:
    dataset = materialize(mixed, before)
    explored = explore_day(mixed, DATE, after)
    assert rows(mixed, "filtered_dataset") == list(dataset.values())  # nothing was changed
    assert (explored.rule_before, explored.before) == (before, counts(dataset))
    remade = materialize(mixed, after)
    assert explored.after == counts(remade)
    assert {change.sample_id: change for change in explored.changes} == {
        name: Change(
            name,
            dataset[name]["verdict"],
            row["verdict"],
            tuple(row[after.metric]),
            row["reason_code"],
            row["reason"],
        )
        for name, row in remade.items()
        if row["verdict"] != dataset[name]["verdict"]
    }
    assert {(move.before, move.after): move.count for move in explored.moves} == Counter(
        (change.before, change.after) for change in explored.changes
    )
    assert explored.changed == len(explored.changes)
    assert explore_day(mixed, DATE, after).changes == ()


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """Ten samples, of 5%, 15% ... 95% text, filtered by the defaults: all are kept."""
    samples: dict[str, list[Video]] = {
        f"{percent}%": [[[covering(percent / 100)]]] for percent in range(5, 100, 10)
    }
    write_day(tmp_path, DATE, samples)
    materialize(tmp_path, FilterRule())
    return tmp_path


def test_changes_nearest_to_a_threshold_come_first_and_a_limit_leaves_the_counts(
    ramp: Path,
) -> None:
    rule = FilterRule(0.2, 0.5)
    explored = explore_day(ramp, DATE, rule)
    assert [change.sample_id for change in explored.changes] == [
        *("15%", "55%", "5%", "65%"),
        *("75%", "85%", "95%"),
    ]
    limited = explore_day(ramp, DATE, rule, limit=2)
    assert limited.changes == explored.changes[:2]
    assert (limited.after, limited.changed) == (Counts(3, 7, 0), 7)
    assert limited.moves == (Move("keep", "drop", 7),)


def test_a_least_ratio_of_0_is_no_threshold_to_be_near_to(ramp: Path) -> None:
    materialize(ramp, FilterRule(0.3, 0.3))
    explored = explore_day(ramp, DATE, FilterRule(0, 0.9))
    assert explored.changes[0].sample_id == "85%"


def test_a_day_that_is_not_filtered_has_counts_alone(tmp_path: Path) -> None:
    write_day(tmp_path, DATE, SAMPLES)
    explored = explore_day(tmp_path, DATE, FilterRule())
    assert (explored.before, explored.rule_before) == (None, None)
    assert (explored.moves, explored.changes) == ((), ())
    assert explored.after == Counts(len(SAMPLES) - 1, 0, 1)


def test_a_day_without_samples_is_explored(tmp_path: Path) -> None:
    write_day(tmp_path, DATE, {})
    materialize(tmp_path, FilterRule())
    explored = explore_day(tmp_path, DATE, FilterRule(0, 0.1))
    assert (explored.before, explored.after) == (Counts(0, 0, 0), Counts(0, 0, 0))
    assert explored.rule_before is None


def test_a_dataset_of_an_earlier_version_has_verdicts_but_no_rule(ramp: Path) -> None:
    table = Tables(root=str(ramp)).filtered_dataset
    (part,) = part_files(table, DATE)
    table.scan(DATE).drop("date", "rule").collect().write_parquet(part)
    explored = explore_day(ramp, DATE, FilterRule(0, 0.9))
    assert (explored.rule_before, explored.before) == (None, Counts(10, 0, 0))
    assert explored.changed == 1


def test_samples_that_came_and_went_since_the_day_was_filtered_are_changes(ramp: Path) -> None:
    write_day(ramp, DATE, {"5%": [[[covering(0.05)]]], "new": [[[covering(0.5)]]]})
    explored = explore_day(ramp, DATE, FilterRule())
    new, *gone = explored.changes
    assert (new.sample_id, new.before, new.after) == ("new", None, "keep")
    assert {(change.before, change.after) for change in gone} == {("keep", None)}
    assert explored.moves == (Move("keep", None, 9), Move(None, "keep", 1))
    remade = materialize(ramp, FilterRule())
    assert explored.after == counts(remade)


def test_the_latest_day_with_boxes_is_the_one_to_explore(tmp_path: Path) -> None:
    with pytest.raises(PartitionMissingError, match=f"no ocr_boxes in {tmp_path}"):
        latest_day(tmp_path)
    for day in (DATE, DATE - dt.timedelta(1)):
        write_day(tmp_path, day, {})
    assert latest_day(tmp_path) == DATE
    assert rule_of_day(tmp_path, DATE) is None


def test_a_day_that_was_not_detected_cannot_be_explored(tmp_path: Path) -> None:
    write_day(tmp_path, DATE, {})
    with pytest.raises(PartitionMissingError, match="ocr_boxes has no partition 2026-02-01"):
        explore_day(tmp_path, dt.date(2026, 2, 1), FilterRule())


@given(
    st.tuples(st.floats(0, 100), st.floats(0, 100)).map(sorted),
    st.sampled_from(METRICS),
    st.sampled_from(["any", "all"]),
)
def test_thresholds_survive_the_launchpad_and_the_command_line(
    interval: list[float], metric: Any, any_or_all: Any
) -> None:
    rule = FilterRule(*interval, metric, any_or_all)
    config = yaml.safe_load(thresholds_yaml(rule))["ops"]["filtered_dataset"]["config"]
    assert FilterRule(**config) == rule
    command = thresholds_command(rule, DATE, "my data/$(x)")
    program, *arguments = shlex.split(command)
    options = _parser().parse_args(arguments)
    assert program == "ocr-assets"
    assert filter_rule(options, FilterRule()) == rule
    assert (str(options.data), options.date, options.apply) == ("my data/$(x)", DATE, True)


def test_a_rule_is_said_with_as_few_digits_as_it_has() -> None:
    said = rule_sentence(FilterRule(0, 0.15, "corner_ratio", "all"))
    assert said == "corner_ratio within [0, 0.15], of all videos"
