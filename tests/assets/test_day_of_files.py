"""A day that holds everything a folder may hold, from its files to its filtered dataset."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from ocr_assets.demo import Line
from ocr_assets.ocr.text_detector import TextDetector
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.video.images import decode_image
from tests.clips import numbered, text_picture, write_sound, write_video
from tests.pipeline import DAY, materialize_day, rows
from tests.video.test_sampling import CONTAINERS

SIZE = {"width": 320, "height": 192}
TEXT = text_picture([Line("Some words on it", 40, 96, 30)], **SIZE)
SLIDE = text_picture([Line("A slide of text", 5, y, 40) for y in (30, 80, 130)], **SIZE)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[dg.ExecuteInProcessResult, Path]:
    root = tmp_path_factory.mktemp("day_of_files")
    folder = root / "videos" / DAY
    (folder / "sub folder").mkdir(parents=True)
    for name, options in CONTAINERS.items():
        write_video(folder / name, [TEXT] * 4, **options)
    os.link(folder / "clip.mp4", folder / "sub folder" / "the same content.mp4")
    write_video(folder / "slide.mp4", [SLIDE] * 4)
    write_video(folder / "one_frame.mp4", [TEXT])
    write_video(folder / "turned.mp4", [np.rot90(TEXT, -1)] * 4, rotation=90)
    grey = {"codec": "ffv1", "pix_fmt": "gray"}
    write_video(folder / "grey.mkv", [TEXT] * 4, **grey)
    write_video(folder / "deep.mkv", [TEXT] * 4, codec="ffv1", pix_fmt="yuv420p10le")
    odd = text_picture(width=317, height=191)
    write_video(folder / "odd.mkv", [odd] * 4, codec="ffv1", pix_fmt="yuv444p")
    write_sound(folder / "sound.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video")
    (folder / "folder.mp4").mkdir()
    (folder / "sidecar.srt").write_text("1\n00:00:00 --> 00:00:01\nHello\n")
    whole = write_video(folder / "cut.mp4", numbered(48), options={"movflags": "faststart"})
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = materialize_day(
        root / "videos",
        root / "data",
        frames={"frame_sample_num": 2},
        rule={"max_area_ratio": 0.2},
    )
    return result, root / "data"


def by_name(data: Path, table: str) -> dict[str, dict[str, Any]]:
    return {row["sample_id"].removeprefix(f"{DAY}/"): row for row in rows(data, table)}


def test_every_file_has_a_row_and_every_row_a_verdict(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    result, data = day
    manifest, dataset = by_name(data, "video_manifest"), by_name(data, "filtered_dataset")
    assert manifest.keys() == dataset.keys()
    assert len(manifest) == len(CONTAINERS) + 12
    assert "sidecar.srt" not in manifest
    unreadable = {name: row["status"] for name, row in manifest.items() if row["status"] != "ok"}
    assert unreadable == {
        "sound.mp4": "not_a_video",
        "empty.mp4": "not_a_video",
        "text.mp4": "not_a_video",
        "folder.mp4": "not_a_file",
        "cut.mp4": "truncated",
    }
    assert {name: dataset[name]["reason_code"] for name in unreadable} == unreadable
    quarantined = {name: row["reason"] for name, row in dataset.items() if name in unreadable}
    assert {row["verdict"] for name, row in dataset.items() if name in unreadable} == {"quarantine"}
    assert quarantined == {name: manifest[name]["error"] for name in unreadable}
    assert result.success


def test_the_same_pictures_have_the_same_ratio_in_every_container(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    dataset = by_name(day[1], "filtered_dataset")
    ratios = [dataset[name]["ocr_area_ratio"][0] for name in CONTAINERS]
    assert ratios == pytest.approx([ratios[0]] * len(ratios), abs=0.01)
    for name in ("one_frame.mp4", "turned.mp4", "grey.mkv", "deep.mkv"):
        assert dataset[name]["ocr_area_ratio"][0] == pytest.approx(ratios[0], abs=0.01), name
    assert 0.05 < ratios[0] < 0.2
    assert {dataset[name]["verdict"] for name in CONTAINERS} == {"keep"}
    assert dataset["odd.mkv"]["ocr_area_ratio"] == [0]


def test_a_slide_is_dropped_with_its_numbers(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    slide = by_name(day[1], "filtered_dataset")["slide.mp4"]
    assert slide["verdict"] == "drop"
    (ratio,) = slide["ocr_area_ratio"]
    assert slide["reason"] == f"ocr_area_ratio {ratio:.3f} above max_area_ratio 0.200"
    assert 0 < slide["union_area_ratio"][0] <= slide["max_union_area_ratio"][0] <= 1


def test_equal_content_is_sampled_once_and_judged_for_every_sample(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    _, data = day
    dataset = by_name(data, "filtered_dataset")
    first, second = dataset["clip.mp4"], dataset["sub folder/the same content.mp4"]
    assert first["video_ids"] == second["video_ids"]
    assert first["reason"] == second["reason"]
    frames = [
        row for row in rows(data, "sampled_frames") if [row["video_id"]] == first["video_ids"]
    ]
    assert [row["frame_index"] for row in frames] == [0, 1]


def test_stored_frames_are_the_pictures_that_were_detected(
    day: tuple[dg.ExecuteInProcessResult, Path], detector: TextDetector
) -> None:
    _, data = day
    turned = by_name(data, "video_manifest")["turned.mp4"]
    assert (turned["width"], turned["height"]) == (320, 192)
    stored = [row for row in rows(data, "sampled_frames") if row["video_id"] == turned["video_id"]]
    boxes = [row for row in rows(data, "ocr_boxes") if row["video_id"] == turned["video_id"]]
    assert [row["frame_index"] for row in stored] == [row["frame_index"] for row in boxes] == [0, 1]
    picture = decode_image(stored[0]["image"])
    assert picture.shape == (192, 320, 3)
    detected = detector.detect(picture, DetectionThresholds())
    assert [box["points"] for box in boxes[0]["boxes"]] == [
        [list(point) for point in box.points] for box in detected
    ]
    assert (boxes[0]["device"], boxes[0]["error"]) == ("cpu", None)
    assert boxes[0]["milliseconds"] > 0


def test_frames_without_text_have_a_row_without_boxes(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    _, data = day
    odd = by_name(data, "video_manifest")["odd.mkv"]["video_id"]
    found = [row for row in rows(data, "ocr_boxes") if row["video_id"] == odd]
    assert [row["boxes"] for row in found] == [[], []]


def test_the_asset_pages_show_counts_a_histogram_and_the_frames(
    day: tuple[dg.ExecuteInProcessResult, Path],
) -> None:
    result, _ = day
    metadata = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert metadata["video_manifest"]["dagster/partition_row_count"].value == len(CONTAINERS) + 12
    assert metadata["video_manifest"]["unreadable"].value == 5
    dataset = metadata["filtered_dataset"]
    verdicts = [dataset[verdict].value for verdict in ("keep", "drop", "quarantine")]
    assert verdicts == [len(CONTAINERS) + 6, 1, 5]
    shares = [dataset[f"{verdict}_share"].value for verdict in ("keep", "drop", "quarantine")]
    assert shares == [verdict / sum(verdicts) for verdict in verdicts]
    said = f"![Histogram of ocr_area_ratio of {sum(verdicts[:2])} videos"
    assert dataset["histogram"].value.startswith(said)
    sheet = metadata["ocr_boxes"]["most_covered_frames"].value
    assert sheet.startswith("![most covered frames](data:image/jpeg;base64,")
    assert 5_000 < len(sheet) < 90_000


def test_every_check_passes(day: tuple[dg.ExecuteInProcessResult, Path]) -> None:
    evaluations = day[0].get_asset_check_evaluations()
    assert len(evaluations) == 9
    assert [check.check_name for check in evaluations if not check.passed] == []
