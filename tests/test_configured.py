"""What variables set, for the assets' config as for resources."""

import os
import subprocess
import sys

import pytest

from ocr_assets.configured import asset_config, value_set
from ocr_assets.coverage import FilterRule
from ocr_assets.settings import SettingError
from ocr_assets.video.sampling import SamplingRule
from tests.configs import op_configs


def loaded(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from ocr_assets.definitions import defs; {program}"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_chosen_thresholds_are_the_defaults_of_every_run() -> None:
    defaults = (
        "job = defs.resolve_job_def('daily_job'); "
        "fields = job.run_config_schema.run_config_schema_type.fields['ops'].config_type"
        ".fields['filtered_dataset'].config_type.fields['config'].config_type.fields; "
        "print(*[field.default_value for field in fields.values()])"
    )
    variables = {"MAX_AREA_RATIO": "0.05", "METRIC": "subtitle_zone_ratio"}
    ran = loaded(
        defaults,
        **{f"OCR_ASSETS_FILTERED_DATASET_{name}": text for name, text in variables.items()},
    )
    assert ran.stdout.split() == ["0.0", "0.05", "subtitle_zone_ratio", "any"], ran.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "MAX_RATIO",
            "1",
            "the config of filtered_dataset has no field max_ratio; it has min_",
        ),
        ("MAX_AREA_RATIO", "much", "OCR_ASSETS_FILTERED_DATASET_MAX_AREA_RATIO='much': "),
        ("MIN_AREA_RATIO", "2", "are not an interval"),
    ],
)
def test_what_cannot_be_set_is_refused_when_the_definitions_are_loaded(
    name: str, text: str, said: str
) -> None:
    ran = loaded("", **{f"OCR_ASSETS_FILTERED_DATASET_{name}": text})
    assert ran.returncode != 0
    assert "SettingError" in ran.stderr
    assert said in ran.stderr


@pytest.mark.parametrize("name", op_configs())
def test_without_variables_a_config_is_the_class_as_it_is_written(name: str) -> None:
    kind = op_configs()[name]
    assert asset_config(name)(kind) is kind


def test_the_command_line_takes_the_same_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert value_set(FilterRule, "filtered_dataset") == FilterRule()
    monkeypatch.setenv("OCR_ASSETS_FILTERED_DATASET_MAX_AREA_RATIO", "0.05")
    monkeypatch.setenv("OCR_ASSETS_SAMPLED_FRAMES_SAMPLE_EVERY_SECONDS", "null")
    monkeypatch.setenv("OCR_ASSETS_SAMPLED_FRAMES_PART_MAX_FRAMES", "12")
    assert value_set(FilterRule, "filtered_dataset") == FilterRule(max_area_ratio=0.05)
    assert value_set(SamplingRule, "sampled_frames") == SamplingRule()
    monkeypatch.setenv("OCR_ASSETS_FILTERED_DATASET_MAX_AREA_RATIO", "-1")
    with pytest.raises(SettingError, match="OCR_ASSETS_FILTERED_DATASET_MAX_AREA_RATIO='-1': "):
        value_set(FilterRule, "filtered_dataset")
