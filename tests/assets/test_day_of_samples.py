"""A Data-Juicer JSONL in, a Data-Juicer JSONL out."""

import json
from pathlib import Path
from typing import Any

import pytest

from ocr_assets.demo import Line
from tests.clips import text_picture, write_video
from tests.pipeline import DAY, materialize_day, rows

SIZE = {"width": 320, "height": 192}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("day_of_samples")
    videos, data = root / "videos", root / "data"
    videos.mkdir()
    write_video(videos / "clean.mp4", [text_picture(**SIZE)] * 3)
    text = text_picture([Line("A slide of text", 5, y, 40) for y in (30, 80, 130)], **SIZE)
    write_video(videos / "text.mp4", [text] * 3)
    (videos / "bad.mp4").write_text("not a video")
    samples: list[dict[str, Any]] = [
        {"videos": ["clean.mp4"], "text": "ä \N{GRINNING FACE}", "n": 2**70, "f": 1.0},
        {"videos": ["text.mp4", "clean.mp4"], "id": "both"},
        {"videos": ["text.mp4"]},
        {"videos": ["bad.mp4", "missing.mp4"]},
        {"videos": ["../outside.mp4"]},
        {"text": "no videos"},
        {"videos": ["clean.mp4"], "__dj__stats__": {"aesthetics": 0.5}},
        {"videos": ["lone \ud800.mp4"]},
        {"videos": ["clean.mp4"], "lone": "\ud800"},
    ]
    lines = [json.dumps(sample) for sample in samples]
    lines.insert(3, '{"videos": ["clean.mp4"')
    (videos / f"{DAY}.jsonl").write_text("\n".join(lines))
    materialize_day(videos, data, frames={"frame_sample_num": 1}, rule={"max_area_ratio": 0.2})
    return videos, data


def kept(data: Path) -> list[dict[str, Any]]:
    text = (data / "kept" / DAY / "kept.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_has_a_verdict_with_a_reason(folders: tuple[Path, Path]) -> None:
    found = [(row["verdict"], row["reason"]) for row in rows(folders[1], "filtered_dataset")]
    outside = "it lies outside the source; allow_outside_source lets it in"
    expected = [
        ("keep", "ocr_area_ratio 0.000 within [0.000, 0.200]"),
        ("keep", "video 2 of 2: ocr_area_ratio 0.000 within [0.000, 0.200]"),
        ("drop", "above max_area_ratio 0.200"),
        ("quarantine", "line 4 is not JSON: "),
        ("quarantine", "video 1 of 2: it is not a video in a supported format, or it is damaged; "),
        ("quarantine", outside),
        ("keep", "the sample has no videos"),
        ("keep", "ocr_area_ratio 0.000 within [0.000, 0.200]"),
        ("quarantine", "its path holds a NUL character or half a character"),
        ("keep", "ocr_area_ratio 0.000 within [0.000, 0.200]"),
    ]
    assert [verdict for verdict, _ in found] == [verdict for verdict, _ in expected]
    for (_, reason), (_, part) in zip(found, expected, strict=True):
        assert part in reason
    assert found[4][1].endswith("video 2 of 2: No such file or directory")


def test_kept_samples_keep_their_keys_and_gain_their_ratios(folders: tuple[Path, Path]) -> None:
    videos, data = folders
    clean, text = str(videos / "clean.mp4"), str(videos / "text.mp4")
    first, second, third, fourth, fifth = kept(data)
    assert first == {
        "videos": [clean],
        "text": "ä \N{GRINNING FACE}",
        "n": 2**70,
        "f": 1.0,
        "__dj__stats__": {"video_ocr_area_ratio": [0]},
    }
    assert (second["videos"], second["id"]) == ([text, clean], "both")
    assert second["__dj__stats__"]["video_ocr_area_ratio"][0] > 0.2
    assert third == {
        "videos": [],
        "text": "no videos",
        "__dj__stats__": {"video_ocr_area_ratio": []},
    }
    assert fifth["lone"] == "\ud800"
    assert fourth["__dj__stats__"] == {"aesthetics": 0.5, "video_ocr_area_ratio": [0]}


def test_a_new_rule_needs_neither_the_videos_nor_the_detector(folders: tuple[Path, Path]) -> None:
    from ocr_assets.assets.filtered_dataset import filtered_dataset

    _, data = folders
    before = rows(data, "ocr_boxes")
    materialize_day(
        Path("/nonexistent"),
        data,
        assets=[filtered_dataset],
        rule={"min_area_ratio": 0.2, "any_or_all": "all", "metric": "union_area_ratio"},
    )
    assert rows(data, "ocr_boxes") == before
    verdicts = [row["verdict"] for row in rows(data, "filtered_dataset")]
    assert verdicts == [
        "drop",
        "drop",
        "keep",
        "quarantine",
        "quarantine",
        "quarantine",
        "keep",
        "drop",
        "quarantine",
        "drop",
    ]
    assert [sample["videos"] for sample in kept(data)] == [[str(folders[0] / "text.mp4")], []]
