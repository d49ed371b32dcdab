"""Bounds and defaults of config."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ocr_assets.config_fields import number, with_defaults
from ocr_assets.definitions import defs
from ocr_assets.resources.video_source import VideoSource
from tests.configs import op_configs, resource_configs
from tests.readme.markdown import CODE
from tests.readme.settings_tables import bounds, kinds, unit

CONFIGS = resource_configs() | op_configs()
FIELDS = [
    pytest.param(name, field, id=f"{config}.{name}")
    for config, kind in CONFIGS.items()
    for name, field in kind.model_fields.items()
]
STATED_BOUNDS = re.compile(r" (From|Above) (\S.*) to (\S.*)\.$")


class Size(dg.Config):
    edge: int = number(3, 1, 10_000, "Length of an edge, in pixels.")
    scale: float | None = number(None, 0, 2.5, "Factor.", above=True)


def test_bounds_are_checked_and_stand_in_the_description() -> None:
    fields = Size.model_fields
    assert fields["edge"].description == "Length of an edge, in pixels. From 1 to 10 000."
    assert fields["scale"].description == "Factor. Above 0 to 2.5."
    assert (Size().edge, Size().scale) == (3, None)
    assert Size(edge=10_000, scale=2.5) == Size(edge=10_000, scale=2.5)
    for wrong in ({"edge": 0}, {"edge": 10_001}, {"scale": 0.0}, {"scale": float("nan")}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            Size(**wrong)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_number_has_a_unit_and_bounds_and_says_so(name: str, field: FieldInfo) -> None:
    assert unit(name, field) is not None, "neither name nor description says the unit"
    if kinds(field) & {int, float}:
        stated = STATED_BOUNDS.search(field.description or "")
        assert stated is not None
        low, high = (float(number.replace(" ", "")) for number in stated.groups()[1:])
        assert (low, high, stated[1] == "Above") == bounds(field)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_descriptions_are_sentences_that_markdown_leaves_alone(name: str, field: FieldInfo) -> None:
    text = field.description or ""
    assert re.fullmatch(r"[A-Z`].*\.", text), f"{name}: {text}"
    assert not re.search(r"[<>*]", CODE.sub("", text)), f"{name}: to be put into backticks"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_field_has_a_default(config: type[dg.Config]) -> None:
    assert [name for name, field in config.model_fields.items() if field.is_required()] == []
    config()


def launchpad_fields() -> dict[str, dg.Field]:
    """Every setting that the launchpad of the job offers, by its place, but for Dagster's own."""
    job = defs.resolve_job_def("daily_job")
    top = job.run_config_schema.run_config_schema_type.fields
    ours = {"ops": op_configs(), "resources": resource_configs()}
    return {
        f"{name}.{field}": found
        for part, names in ours.items()
        for name in names
        for field, found in top[part]
        .config_type.fields[name]
        .config_type.fields["config"]
        .config_type.fields.items()
    }


def test_the_launchpad_says_of_every_setting_what_it_is_in_which_unit_and_within_which_bounds() -> (
    None
):
    fields = launchpad_fields()
    assert {"filtered_dataset.metric", "ocr_boxes.reuse_days", "tables.root"} <= fields.keys()
    for place, field in fields.items():
        said = field.description or ""
        assert said[:1].isupper() or said.startswith(("`", "EasyOCR")), place
        assert said.endswith("."), place
        if re.search("Int|Float", field.config_type.key):
            assert re.search(r"(From|Above) [\d .]+ to [\d .]+\.$", said), place
        for measure in ("seconds", "bytes", "pixels", "days"):
            if place.endswith(f"_{measure}"):
                assert measure in said.lower(), place


def seen_by_a_run(source: VideoSource, config: dict[str, Any]) -> VideoSource:
    seen: list[VideoSource] = []

    @dg.asset
    def looks(video_source: VideoSource) -> None:
        seen.append(video_source)

    dg.materialize(
        [looks],
        resources={"video_source": source},
        run_config={"resources": {"video_source": {"config": config}}},
    )
    return seen[0]


def test_what_a_runs_config_does_not_set_stays_as_the_code_location_has_it(tmp_path: Path) -> None:
    source = with_defaults(VideoSource, root=str(tmp_path), layout="jsonl")()
    assert isinstance(source, VideoSource)
    seen = seen_by_a_run(source, {"allow_outside_source": True})
    assert (seen.root, seen.layout, seen.allow_outside_source) == (str(tmp_path), "jsonl", True)
    assert seen_by_a_run(source, {"root": "/elsewhere"}).root == "/elsewhere"


def test_defaults_are_validated(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="layout"):
        with_defaults(VideoSource, root=str(tmp_path), layout="spiral")
