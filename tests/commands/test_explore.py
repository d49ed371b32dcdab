"""`ocr-assets explore`, as a user runs it."""

import datetime as dt
import json
from pathlib import Path

import dagster as dg
import pytest

from ocr_assets.coverage import FilterRule
from ocr_assets.runs import refilter_day
from tests.pipeline import DAY, rows
from tests.test_cli import HOSTILE_NAMES, ocr_assets
from tests.written_day import Video, covering, write_day

DATE = dt.date.fromisoformat(DAY)
EARLY = "2019-05-01"  # before the first partition, unless something says otherwise


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five samples of 10% to 50% text, filtered at 30%."""
    samples: dict[str, list[Video]] = {
        f"{percent}.mp4": [[[covering(percent / 100)]]] for percent in range(10, 60, 10)
    }
    folder = tmp_path / "my data"
    write_day(folder, DATE, samples)
    refilter_day(folder, DATE, FilterRule(0.15, 0.35), quiet=True)
    return folder


def test_it_says_what_other_thresholds_would_do_and_how_to_have_them(
    data: Path, tmp_path: Path
) -> None:
    done = ocr_assets("explore", "--data", data, "--max-area-ratio", "0.45", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[:5] == [
        f"{DAY} is filtered by ocr_area_ratio within [0.15, 0.35], of any video",
        "2 kept, 3 dropped, 0 quarantined",
        "With ocr_area_ratio within [0.15, 0.45], of any video",  # the least ratio is the day's
        "3 kept, 2 dropped, 0 quarantined",
        "1 of 5 samples change side: 1 drop -> keep",
    ]
    (row,) = [line for line in lines if line.startswith("40.mp4")]
    assert row.split()[1:6] == ["drop", "->", "keep", "0.400", "ocr_area_ratio"]
    assert f"ocr-assets explore --data '{data}' --date {DAY}" in done.stdout
    assert "max_area_ratio: 0.45" in lines
    verdicts = [row["verdict"] for row in rows(data, "filtered_dataset")]
    assert verdicts == ["drop", "keep", "keep", "drop", "drop"]


def test_thresholds_that_change_nothing_need_no_doing(data: Path, tmp_path: Path) -> None:
    done = ocr_assets("explore", "--data", data, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "0 of 5 samples change side"


def test_more_changes_than_the_limit_are_counted_and_json_has_them_all(
    data: Path, tmp_path: Path
) -> None:
    arguments = ("explore", "--data", data, "--max-area-ratio", "0.55", "--limit", "1")
    done = ocr_assets(*arguments, cwd=tmp_path)
    assert "and 1 more" in done.stdout
    explored = json.loads(ocr_assets(*arguments, "--json", cwd=tmp_path).stdout)
    assert explored["date"] == DAY
    assert explored["before"] == {"kept": 2, "dropped": 3, "quarantined": 0}
    assert explored["after"] == {"kept": 4, "dropped": 1, "quarantined": 0}
    assert explored["moves"] == [{"before": "drop", "after": "keep", "count": 2}]
    assert [change["sample_id"] for change in explored["changes"]] == ["50.mp4", "40.mp4"]
    assert (explored["changed"], explored["applied"]) == (2, False)


def test_applying_filters_the_day_alone_and_records_it(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    arguments = ("explore", "--data", data, "--max-area-ratio", "0.45", "--apply")
    done = ocr_assets(*arguments, cwd=tmp_path, DAGSTER_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{DAY} is filtered by these thresholds now"
    verdicts = [row["verdict"] for row in rows(data, "filtered_dataset")]
    assert verdicts == ["drop", "keep", "keep", "keep", "drop"]
    assert len((data / "kept" / DAY / "kept.jsonl").read_text().splitlines()) == 3
    again = json.loads(ocr_assets(*arguments[:-1], "--json", cwd=tmp_path).stdout)
    assert (again["before"], again["changed"]) == (again["after"], 0)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        assert run.is_success
        checks = [
            event.dagster_event.asset_check_evaluation_data.check_name
            for event in instance.all_logs(
                run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
            )
            if event.dagster_event is not None
        ]
        assert "every_sample_has_one_verdict" in checks
        assert instance.get_materialized_partitions(dg.AssetKey("filtered_dataset")) == {DAY}
        for upstream in ("video_manifest", "sampled_frames", "ocr_boxes"):
            assert not instance.get_materialized_partitions(dg.AssetKey(upstream))


def test_a_day_before_the_first_partition_is_filtered_too(tmp_path: Path) -> None:
    write_day(tmp_path / "data", dt.date.fromisoformat(EARLY), {"a": [[[covering(0.5)]]]})
    arguments = ("explore", "--data", tmp_path / "data", "--max-area-ratio", "0.1", "--apply")
    done = ocr_assets(*arguments, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    explored = json.loads(done.stdout)
    assert (explored["before"], explored["applied"]) == (None, True)
    assert [row["verdict"] for row in rows(tmp_path / "data", "filtered_dataset", EARLY)] == [
        "drop"
    ]


def test_names_of_files_are_shown_as_text_whatever_is_in_them(tmp_path: Path) -> None:
    samples: dict[str, list[Video]] = {name: [[[covering(0.5)]]] for name in HOSTILE_NAMES}
    write_day(tmp_path / "data", DATE, samples)
    refilter_day(tmp_path / "data", DATE, FilterRule(), quiet=True)
    arguments = ("explore", "--data", tmp_path / "data", "--max-area-ratio", "0.1")
    done = ocr_assets(*arguments, cwd=tmp_path, COLUMNS="160")
    shown = {
        line.partition(" keep -> drop ")[0].strip()
        for line in done.stdout.splitlines()
        if " keep -> drop " in line and "samples change side" not in line
    }
    assert shown == set(HOSTILE_NAMES.values())
    assert done.stdout.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--min-area-ratio", "0.5"], "min_area_ratio 0.5 and max_area_ratio 0.35 are not an int"),
        (["--max-area-ratio", "nan"], "are not an interval"),
        (["--max-area-ratio", "101"], "max_area_ratio 101.0 is above 100"),
        (["--limit", "-1"], "--limit -1 is less than 0"),
        (["--metric", "height"], "invalid choice: 'height'"),
        (["--data", "none"], "--data none is not a folder"),
        (["--data", "50%20"], "holds a %"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    data: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "50%20").mkdir()
    done = ocr_assets("explore", "--data", data, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert complaint in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "."], "there are no ocr_boxes in "),
        (["--date", "2026-02-01"], "ocr_boxes has no partition 2026-02-01; materialise ocr_boxes"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    data: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    done = ocr_assets("explore", "--data", data, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ocr-assets: {complaint}")
