"""Every check passes on what the assets write and fails on what they must never write."""

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from ocr_assets import checks
from ocr_assets.assets.coverage_report import coverage_report
from ocr_assets.assets.daily_asset import daily_asset
from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.partitions import daily
from ocr_assets.resources.tables import Tables
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.schemas import SampledFrames
from tests.clips import numbered, write_video
from tests.part_files import part_files
from tests.pipeline import DAY, materialize_day

DATE = dt.date.fromisoformat(DAY)

Change = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checks")
    folder = root / "videos" / DAY
    folder.mkdir(parents=True)
    for count in (3, 4):
        write_video(folder / f"{count}.mp4", numbered(count))
    (folder / "bad.mp4").write_text("not a video")
    materialize_day(folder.parent, root / "data")
    return root


@pytest.fixture
def tables(made: Path, tmp_path: Path) -> Tables:
    """The tables of a day that is in order, for a test to spoil."""
    shutil.copytree(made / "data", tmp_path / "data")
    return Tables(root=str(tmp_path / "data"))


def change(table: PartitionedTable, how: Change) -> None:
    """Replaces a partition's file behind the schema's back, as a fault would."""
    frame = table.scan(DATE).collect()
    (part,) = part_files(table, DATE)
    how(frame).drop("date").write_parquet(part)


@dg.asset(partitions_def=daily)
def partitioned() -> None: ...


def outcome(check: dg.AssetChecksDefinition, tables: Tables) -> dg.AssetCheckResult:
    result = dg.materialize(
        [partitioned, check],  # a run of checks alone cannot have a partition
        selection=dg.AssetSelection.assets(partitioned) | dg.AssetSelection.checks(check),
        partition_key=DAY,
        resources={"tables": tables},
        raise_on_error=False,
    )
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.blocking
    return evaluation


def twice(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame, frame.head(1)])


def without_first(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.tail(-1)


def with_first(column: str, value: object) -> Change:
    def how(frame: pl.DataFrame) -> pl.DataFrame:
        rows = frame.to_dicts()
        rows[0][column] = value
        return pl.DataFrame(rows, schema=frame.schema)

    return how


@pytest.mark.parametrize(
    ("check", "table", "how", "said"),
    [
        ("manifest_rows_are_unique", "video_manifest", twice, "pairs is"),
        ("every_readable_video_is_sampled_once", "sampled_frames", twice, "videos is"),
        ("every_readable_video_is_sampled_once", "sampled_frames", without_first, "videos is"),
        (
            "every_readable_video_is_sampled_once",
            "sampled_frames",
            with_first("video_id", "unknown"),
            "videos are",
        ),
        ("stored_frames_decode", "sampled_frames", with_first("image", b"x"), "not an image"),
        ("stored_frames_decode", "sampled_frames", with_first("width", 95), "its size is (96, 64)"),
        ("every_frame_is_detected_once", "ocr_boxes", twice, "frames is"),
        ("every_frame_is_detected_once", "ocr_boxes", without_first, "frames is"),
        (
            "every_frame_is_detected_once",
            "ocr_boxes",
            with_first("frame_index", 9),
            "frames are",
        ),
        ("ratios_are_possible", "ocr_boxes", with_first("union_area_ratio", 1.01), "frames is"),
        ("ratios_are_possible", "ocr_boxes", with_first("ocr_area_ratio", -0.1), "frames is"),
        (
            "ratios_are_possible",
            "ocr_boxes",
            with_first("ocr_area_ratio", float("inf")),
            "frames is",
        ),
        (
            "ratios_are_possible",
            "ocr_boxes",
            with_first("ocr_area_ratio", float("nan")),
            "frames is",
        ),
        ("ratios_are_possible", "ocr_boxes", with_first("ocr_area_ratio", None), "frames is"),
        ("every_sample_has_one_verdict", "filtered_dataset", twice, "samples is"),
        ("every_sample_has_one_verdict", "filtered_dataset", without_first, "samples is"),
        (
            "every_sample_has_one_verdict",
            "filtered_dataset",
            with_first("sample_id", "unknown"),
            "samples are",
        ),
        (
            "every_sample_has_one_verdict",
            "filtered_dataset",
            with_first("paths", []),
            "samples is",
        ),
        (
            "dataset_ratios_are_possible",
            "filtered_dataset",
            with_first("ocr_area_ratio", [float("inf")]),
            "samples is",
        ),
        (
            "dataset_ratios_are_possible",
            "filtered_dataset",
            with_first("max_union_area_ratio", [0.5, 1.5]),
            "samples is",
        ),
    ],
)
def test_a_check_fails_on_the_fault_it_is_for(
    tables: Tables, check: str, table: str, how: Change, said: str
) -> None:
    definition = getattr(checks, check)
    before = outcome(definition, tables)
    assert before.passed
    assert before.metadata["wrong"].value == 0
    change(getattr(tables, table), how)
    found = outcome(definition, tables)
    assert not found.passed
    assert said in str(found.description)
    assert found.metadata["wrong"].value == (2 if said.endswith(" are") else 1)
    assert str(found.description).endswith(".")


@pytest.mark.parametrize("check", checks.all_checks)
def test_every_check_says_in_sentences_what_it_looks_at(check: dg.AssetChecksDefinition) -> None:
    (spec,) = check.check_specs
    assert str(spec.description).endswith(".")
    assert not any(line.startswith(" ") for line in str(spec.description).splitlines())


def unread(count: int, of: int, status: str) -> Change:
    """Makes a manifest of so many videos, the first of them with a status."""

    def how(frame: pl.DataFrame) -> pl.DataFrame:
        good = frame.filter(pl.col("status") == "ok").head(1)
        rows = [
            good.with_columns(
                sample_id=pl.lit(str(number)),
                status=pl.lit(status if number < count else "ok"),
                error=pl.lit("it is so" if number < count else None, pl.String),
            )
            for number in range(of)
        ]
        return pl.concat(rows)

    return how


@pytest.mark.parametrize(
    ("manifest", "passes"),
    [
        (unread(1, 1, "damaged"), True),
        (unread(10, 10, "damaged"), True),
        (unread(11, 11, "damaged"), False),
        (unread(11, 22, "damaged"), True),
        (unread(12, 23, "timeout"), False),
        (unread(1, 1, "missing"), False),
        (unread(1, 2, "missing"), True),
        (unread(2, 3, "unreadable"), False),
    ],
)
@pytest.mark.parametrize("check", ["few_videos_are_unreadable", "few_videos_are_quarantined"])
def test_a_source_of_which_too_much_cannot_be_read_is_told_from_a_few_bad_files(
    tables: Tables, check: str, manifest: Change, passes: bool
) -> None:
    change(tables.video_manifest, manifest)
    found = outcome(getattr(checks, check), tables)
    assert found.passed == passes
    assert ("is the source whole?" in str(found.description)) == (not passes)


@pytest.mark.parametrize(("share", "passes"), [(0.0, False), (0.66, False), (0.67, True)])
def test_how_many_videos_may_be_quarantined_can_be_said(
    tables: Tables, share: float, passes: bool
) -> None:
    change(tables.video_manifest, unread(20, 30, "no_decoder"))
    limited = Tables(root=tables.root, max_quarantined_share=share)
    found = outcome(checks.few_videos_are_unreadable, limited)
    assert found.passed == passes
    assert "20 of 30 videos are quarantined (20 no_decoder)" in str(found.description)


def test_videos_that_fail_after_the_manifest_count_as_well(tables: Tables) -> None:
    failed = {"status": "unreadable", "error": "Input/output error"}
    change(
        tables.ocr_boxes,
        lambda frame: frame.with_columns(**{name: pl.lit(text) for name, text in failed.items()}),
    )
    found = outcome(checks.few_videos_are_quarantined, tables)
    assert not found.passed
    assert "3 of 3 videos are quarantined (2 unreadable, 1 not_a_video)" in str(found.description)


def test_a_report_is_there_and_of_the_dataset_as_it_is(tables: Tables) -> None:
    missing = outcome(checks.report_is_of_the_dataset, tables)
    assert not missing.passed
    assert missing.description == "The report is not there; materialise coverage_report again."
    coverage_report(dg.build_asset_context(partition_key=DAY), tables=tables)
    found = outcome(checks.report_is_of_the_dataset, tables)
    assert found.passed
    assert "3 samples: 2 kept, 0 dropped, 1 quarantined" in str(found.description)
    change(tables.filtered_dataset, lambda frame: frame.with_columns(verdict=pl.lit("drop")))
    stale = outcome(checks.report_is_of_the_dataset, tables)
    assert not stale.passed
    assert str(stale.description).startswith("The report is of another dataset")


@daily_asset(SampledFrames, deps=["video_manifest"], kinds=set(), code_version="faulty")
def sampled_frames(context: dg.AssetExecutionContext, tables: Tables) -> dg.MaterializeResult[None]:
    """What the asset would be if it lost every frame."""
    with tables.sampled_frames.replace(DATE):
        pass
    return dg.MaterializeResult()


def test_a_failed_check_stops_what_follows(made: Path, tmp_path: Path) -> None:
    result = materialize_day(
        made / "videos",
        tmp_path / "data",
        assets=[video_manifest, sampled_frames, ocr_boxes],
        raise_on_error=False,
    )
    assert not result.success
    materialized = {
        event.asset_key.to_user_string() for event in result.get_asset_materialization_events()
    }
    assert materialized == {"video_manifest", "sampled_frames"}
