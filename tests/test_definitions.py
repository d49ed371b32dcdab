import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from ocr_assets import settings
from ocr_assets.automation import daily_schedule
from ocr_assets.definitions import defs
from ocr_assets.tables.schemas import FilteredDataset, OcrBoxes, SampledFrames, VideoManifest

SCHEMAS = {
    "video_manifest": VideoManifest,
    "sampled_frames": SampledFrames,
    "ocr_boxes": OcrBoxes,
    "filtered_dataset": FilteredDataset,
}
ASSETS = ("video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset")  # the tables


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    heavy = (
        "torch",
        "easyocr",
        "av",
        "ray",
        "torchvision",
        "skimage",
        "scipy",
        "altair",
        "obstore",
    )
    program = (
        "import sys, ocr_assets.definitions\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []
    assert found.stderr == ""


def test_the_definitions_are_loadable() -> None:
    dg.Definitions.validate_loadable(defs)
    keys = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    assert keys == {*ASSETS, "coverage_report"}


@pytest.mark.parametrize("name", ASSETS)
def test_every_asset_says_what_it_is(name: str) -> None:
    spec = defs.resolve_all_asset_specs()
    (asset,) = [one for one in spec if one.key == dg.AssetKey(name)]
    said, _, example = str(asset.description).partition("\n\n|")
    assert said.partition("\n")[0].endswith(".")
    assert all(f"| `{column}` | " in example for column in SCHEMAS[name].column_names())
    assert asset.metadata["dagster/table_name"].value == name
    assert Path(asset.metadata["dagster/uri"].value).name == name
    assert asset.group_name == settings.GROUP
    assert asset.owners
    assert "deltalake" in asset.kinds
    assert asset.code_version
    assert asset.partitions_def is not None
    schema = asset.metadata["dagster/column_schema"]
    columns = schema.value.columns if hasattr(schema, "value") else schema.columns
    assert all(column.description for column in columns)


def test_the_schedule_asks_for_yesterday_and_is_off() -> None:
    import datetime as dt

    schedule = defs.resolve_schedule_def("daily_schedule")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "0 1 * * *"
    tick = dt.datetime(2026, 3, 1, 1, 0, tzinfo=dt.UTC)
    context = dg.build_schedule_context(scheduled_execution_time=tick)
    request = daily_schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-02-28"
    assert request.tags[settings.GPU_POOL_TAG] == "gpu"
    assert schedule.job_name == "daily_job"
    assert defs.resolve_job_def("daily_job").run_tags[settings.GPU_POOL_TAG] == "gpu"


def test_the_steps_that_need_a_gpu_or_decode_are_in_pools_of_their_own() -> None:
    steps = defs.resolve_job_def("daily_job").all_node_defs
    assert {step.name: step.pool for step in steps if step.pools} == {
        "ocr_boxes": "gpu",
        "sampled_frames": "decode",
    }


def test_a_code_location_can_have_pools_of_its_own() -> None:
    program = (
        "from ocr_assets.definitions import defs\n"
        "job = defs.resolve_job_def('daily_job')\n"
        "print(*sorted(pool for step in job.all_node_defs for pool in step.pools))\n"
        "print(job.run_tags['ocr_assets/gpu_pool'])"
    )
    names = {settings.GPU_POOL_VARIABLE: "gpu_a100", settings.DECODE_POOL_VARIABLE: "decode_a"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **names},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["decode_a", "gpu_a100", "gpu_a100"]


def test_the_filtered_dataset_has_to_be_fresh_and_backfills_take_weeks() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert specs["filtered_dataset"].freshness_policy is not None
    graph = defs.resolve_asset_graph()
    for name in ASSETS:
        policy = graph.get(dg.AssetKey(name)).backfill_policy
        assert policy is not None
        assert policy.max_partitions_per_run == 7


def test_a_wrong_environment_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.FIRST_DATE_VARIABLE, "soon")
    with pytest.raises(ValueError, match="OCR_ASSETS_FIRST_DATE='soon'"):
        settings.first_date()
    monkeypatch.setenv(settings.LAYOUT_VARIABLE, "spiral")
    with pytest.raises(ValueError, match="OCR_ASSETS_LAYOUT='spiral' is not one of auto"):
        settings.source_layout()
