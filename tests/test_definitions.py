import subprocess
import sys

import dagster as dg
import pytest

from ocr_assets import settings
from ocr_assets.automation import daily_schedule
from ocr_assets.definitions import defs

ASSETS = ("video_manifest", "sampled_frames", "ocr_boxes", "filtered_dataset")


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    heavy = ("torch", "easyocr", "av", "ray", "torchvision", "skimage", "scipy")
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
    assert {key.to_user_string() for key in defs.resolve_all_asset_keys()} == set(ASSETS)


@pytest.mark.parametrize("name", ASSETS)
def test_every_asset_says_what_it_is(name: str) -> None:
    spec = defs.resolve_all_asset_specs()
    (asset,) = [one for one in spec if one.key == dg.AssetKey(name)]
    assert asset.description
    assert asset.group_name == settings.GROUP
    assert asset.owners
    assert "deltalake" in asset.kinds
    assert asset.code_version
    assert asset.partitions_def is not None
    schema = asset.metadata["dagster/column_schema"]
    columns = schema.value.columns if hasattr(schema, "value") else schema.columns
    assert all(column.description for column in columns)


def test_every_config_field_says_what_it_is() -> None:
    from ocr_assets.assets.filtered_dataset import FilteredDatasetConfig
    from ocr_assets.assets.sampled_frames import SampledFramesConfig
    from ocr_assets.resources.easyocr import EasyOCRResource
    from ocr_assets.resources.tables import Tables
    from ocr_assets.resources.video_source import VideoSource

    for config in (
        FilteredDatasetConfig,
        SampledFramesConfig,
        EasyOCRResource,
        Tables,
        VideoSource,
    ):
        undescribed = [name for name, field in config.model_fields.items() if not field.description]
        assert undescribed == [], config.__name__
        config()  # every field has a default


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
    assert schedule.job_name == "daily_job"


def test_a_wrong_environment_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.FIRST_DATE_VARIABLE, "soon")
    with pytest.raises(ValueError, match="OCR_ASSETS_FIRST_DATE='soon'"):
        settings.first_date()
    monkeypatch.setenv(settings.LAYOUT_VARIABLE, "spiral")
    with pytest.raises(ValueError, match="OCR_ASSETS_LAYOUT='spiral' is not one of auto"):
        settings.source_layout()
