import base64
import datetime as dt
import re
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from ocr_assets.assets.coverage_report import coverage_report
from ocr_assets.assets.filtered_dataset import filtered_dataset
from ocr_assets.demo import make_demo_clips
from ocr_assets.reports.costs import STAGES
from ocr_assets.resources.tables import Tables
from tests.clips import numbered, write_video
from tests.pipeline import ASSETS, DAY, materialize_day, rows

RULE = {"max_area_ratio": 0.1}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[dg.ExecuteInProcessResult, Path]:
    folder = tmp_path_factory.mktemp("report")
    make_demo_clips(folder / "videos" / DAY)
    result = materialize_day(
        folder / "videos", folder / "data", assets=[*ASSETS, coverage_report], rule=RULE
    )
    return result, folder / "data"


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("coverage_report")
    return dict(event.metadata)


def test_the_report_is_one_file_that_loads_nothing(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    result, data = day
    path = data / "reports" / DAY / "coverage.html"
    assert metadata_of(result)["report"].value == str(path)
    html = path.read_text()
    assert "default-src 'none'" in html
    # What is not in the libraries' own text names no place to load anything from.
    ours = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", ours)
    assert len(re.findall(r"<img src=\"data:image/jpeg;base64,", html)) == 4 + 4
    assert [path.name for path in path.parent.iterdir()] == ["coverage.html"]


def test_its_page_shows_both_charts_and_a_size(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    result, data = day
    metadata = metadata_of(result)
    picture = re.fullmatch(r"!\[[^\]]+\]\(data:image/png;base64,(.*)\)", metadata["overview"].value)
    assert picture is not None
    assert base64.b64decode(picture[1]).startswith(b"\x89PNG")
    size = (data / "reports" / DAY / "coverage.html").stat().st_size
    assert metadata["stored_bytes"].value == size
    assert metadata["pictures"].value == 6


def test_what_the_day_has_cost_is_in_it(day: tuple[dg.ExecuteInProcessResult, Path]) -> None:
    html = (day[1] / "reports" / DAY / "coverage.html").read_text()
    assert "<dt>frames detected</dt><dd>18</dd>" in html
    assert "<dt>devices</dt><dd>cpu 100%</dd>" in html


def filtered_again(data: Path, instance: dg.DagsterInstance | None = None) -> str:
    """The report after the day was filtered by other thresholds."""
    materialize_day(
        data.parent / "videos",
        data,
        assets=[filtered_dataset, coverage_report],
        rule={"max_area_ratio": 0.02},
        instance=instance,
    )
    return (data / "reports" / DAY / "coverage.html").read_text()


def costs(html: str) -> dict[str, str]:
    """Seconds by step, and what is said of the detector."""
    rows = re.findall(r'<th scope="row">(\w+)</th><td class="figure">([\d.]+|not recorded)<', html)
    return dict(rows) | dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))


def test_costs_outlast_the_instance_that_knows_them(
    day: tuple[dg.ExecuteInProcessResult, Path], tmp_path: Path
) -> None:
    before = costs((day[1] / "reports" / DAY / "coverage.html").read_text())
    assert set(STAGES) < set(before)
    assert "not recorded" not in before.values()
    shutil.copytree(day[1], tmp_path / "data")
    after = costs(filtered_again(tmp_path / "data"))
    assert after.keys() == before.keys()
    for name in before.keys() - {"filtered_dataset"}:
        assert after[name] == before[name]


def test_costs_of_other_tables_are_not_taken_for_the_days_own(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for number, name in enumerate(("one", "other")):
            folder = tmp_path / name / "videos" / DAY
            folder.mkdir(parents=True)
            write_video(folder / "clip.mp4", numbered(3 + number))
            materialize_day(
                folder.parent,
                tmp_path / name / "data",
                assets=[*ASSETS, coverage_report],
                frames={"frame_sample_num": 1 + number},
                instance=instance,
            )
        html = filtered_again(tmp_path / "one" / "data", instance)
        assert costs(html)["frames detected"] == "1"
        shutil.rmtree(tmp_path / "one" / "data" / "reports")
        html = filtered_again(tmp_path / "one" / "data", instance)
        assert costs(html)["ocr_boxes"] == "not recorded"
        assert costs(html)["filtered_dataset"] != "not recorded"


def test_a_watermark_stays_in_its_place_and_subtitles_and_credits_do_not(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    static = {
        row["sample_id"].removeprefix(f"{DAY}/"): row["static_text_ratio"][0]
        for row in rows(day[1], "filtered_dataset")
    }
    assert {name for name, ratio in static.items() if ratio} == {"watermark.mp4", "slides.mp4"}
    assert static["subtitles.mp4"] == static["credits.webm"] == 0
    assert static["waves.mp4"] == static["waves.mkv"] == 0
    assert static["broken.mp4"] is None


def test_without_the_frames_the_report_has_no_pictures_and_the_same_counts(
    day: tuple[dg.ExecuteInProcessResult, Path], tmp_path: Path
) -> None:
    shutil.copytree(day[1], tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "sampled_frames")
    result = coverage_report(
        dg.build_asset_context(partition_key=DAY), tables=Tables(root=str(tmp_path))
    )
    assert result.metadata["pictures"] == 0
    html = (tmp_path / "reports" / DAY / "coverage.html").read_text()
    assert "4 kept, 2 dropped, 1 quarantined" in html
    assert "data:image/jpeg;base64,/9j/" not in html
    assert "There are no pictures of what is kept." in html
    assert "Nothing is kept." not in html


def test_samples_of_an_earlier_version_are_refused_with_what_to_do(
    day: tuple[dg.ExecuteInProcessResult, Path], tmp_path: Path
) -> None:
    samples = Tables(root=str(day[1])).filtered_dataset.scan(dt.date.fromisoformat(DAY))
    tables = Tables(root=str(tmp_path))
    with tables.filtered_dataset.replace(dt.date.fromisoformat(DAY)) as writer:
        writer.append(samples.drop("date").with_columns(rule=pl.lit(None, pl.String)).collect())
    with pytest.raises(dg.Failure, match=r"earlier version\. What to do: materialise it again"):
        coverage_report(dg.build_asset_context(partition_key=DAY), tables=tables)
