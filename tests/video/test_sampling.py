import hashlib
import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_assets.video.container import Span, UnreadableVideoError
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.sampling import SamplingRule, evenly_spread_pts, sample_frames
from tests.clips import number_of, numbered, write_video

# How each container is written: file name, and what `write_video` needs for it.
CONTAINERS: dict[str, dict[str, Any]] = {
    "clip.mp4": {},
    "clip.mov": {},
    "clip.m4v": {"container": "mp4"},
    "fragmented.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "clip.mkv": {},
    "clip.webm": {"codec": "libvpx-vp9"},
    "clip.ts": {"container": "mpegts"},
    "clip.mpg": {"container": "mpeg", "codec": "mpeg2video", "rate": 24},
    "clip.avi": {"codec": "mpeg4"},
    "b_frames.avi": {},
}


def numbers(path: Path, rule: SamplingRule, limits: VideoLimits | None = None) -> list[int]:
    return [number_of(frame.rgb) for frame in sample_frames(path, rule, limits)]


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize(
    ("frame_sample_num", "expected"),
    [(1, [24]), (2, [0, 47]), (3, [0, 24, 47]), (5, [0, 12, 24, 36, 47])],
)
def test_every_container_gives_the_same_frames(
    tmp_path: Path, name: str, frame_sample_num: int, expected: list[int]
) -> None:
    path = write_video(tmp_path / name, numbered(48), **CONTAINERS[name])
    assert numbers(path, SamplingRule(frame_sample_num)) == expected


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.mkv"])
def test_a_clip_that_starts_late_is_sampled_over_its_own_span(tmp_path: Path, name: str) -> None:
    options = CONTAINERS[name]
    path = write_video(tmp_path / name, numbered(48), ticks=range(60, 108), **options)
    frames = list(sample_frames(path, SamplingRule(3)))
    assert [number_of(frame.rgb) for frame in frames] == [0, 24, 47]
    assert [frame.timestamp_seconds for frame in frames] == pytest.approx([5, 7, 8.917], abs=2e-3)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_variable_frame_rate_is_sampled_by_time_not_by_count(tmp_path: Path, name: str) -> None:
    # Ten pictures in the first second, then one each second until the tenth.
    ticks = [*range(10), *range(10, 101, 10)]
    path = write_video(tmp_path / name, numbered(20), codec="mpeg4", rate=10, ticks=ticks)
    # The span is 10.1 seconds, so the middle falls just after the picture at 5 seconds.
    assert numbers(path, SamplingRule(3)) == [0, ticks.index(60), 19]


def test_a_late_picture_stands_for_every_wanted_time_before_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", numbered(5), rate=10, ticks=[0, 1, 2, 3, 90])
    assert numbers(path, SamplingRule(5)) == [0, 4, 4, 4, 4]


def test_a_video_with_fewer_frames_gives_those_it_has(tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.mp4", numbered(1))
    two = write_video(tmp_path / "two.mkv", numbered(2))
    assert numbers(one, SamplingRule(3)) == [0]
    assert numbers(two, SamplingRule(5)) == [0, 1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {"movflags": "frag_keyframe+empty_moov", "video_track_timescale": "12"}),
        ("clip.avi", {}),
    ],
)
def test_ticks_as_long_as_frames_are_not_rounded_away(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, numbered(48), codec="mpeg4", options=options)
    assert numbers(path, SamplingRule(3)) == [0, 24, 47]
    assert numbers(path, SamplingRule(sample_every_seconds=1)) == [0, 12, 24, 36]


def test_a_wild_timestamp_does_not_make_sampling_endless(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", numbered(5), rate=10, ticks=[0, 1, 2, 3, 2**50])
    limits = VideoLimits(max_duration_seconds=math.inf)
    assert numbers(path, SamplingRule(sample_every_seconds=0.3), limits) == [0, 3, 4]


def test_a_step_in_decimals_is_taken_as_written(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", numbered(40), rate=10)
    assert numbers(path, SamplingRule(sample_every_seconds=0.1)) == list(range(40))
    assert numbers(path, SamplingRule(sample_every_seconds=0.7)) == list(range(0, 40, 7))


def test_mpeg_ps_is_never_sought_where_timestamps_are_guessed(tmp_path: Path) -> None:
    options = {"codec": "mpeg2video", "container": "mpeg", "rate": 24, "b_frames": 2}
    path = write_video(tmp_path / "clip.mpg", numbered(300), **options)
    everything = list(sample_frames(path, SamplingRule(300)))
    sampled = list(sample_frames(path, SamplingRule(3)))
    by_pts = {frame.pts: number_of(frame.rgb) for frame in everything}
    assert [number_of(frame.rgb) for frame in sampled] == [by_pts[frame.pts] for frame in sampled]
    assert abs(number_of(sampled[1].rgb) - 150 % 64) <= 2


def test_a_container_that_breaks_off_is_refused_not_judged_by_its_start(tmp_path: Path) -> None:
    # A file that FFmpeg itself refuses after the first fragment.
    options = {"movflags": "frag_keyframe+global_sidx"}
    path = write_video(tmp_path / "clip.mp4", numbered(48), options=options)
    with pytest.raises(UnreadableVideoError, match=r"it cannot be decoded after 0\.6 s"):
        list(sample_frames(path, SamplingRule(3)))


def test_a_frame_every_so_many_seconds(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", numbered(48), rate=12)
    assert numbers(path, SamplingRule(sample_every_seconds=1)) == [0, 12, 24, 36]
    finer_than_the_frames = numbers(path, SamplingRule(sample_every_seconds=0.01))
    assert finer_than_the_frames == list(range(48))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.mpg", "b_frames.avi", "clip.mkv"])
def test_seeking_finds_the_frames_that_decoding_everything_finds(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {"rate": 2, "key_frame_every": 7, **CONTAINERS[name]}
    rate = options["rate"]
    path = write_video(tmp_path / name, numbered(60), **options)
    everything = {
        frame.pts: frame.rgb
        for frame in sample_frames(path, SamplingRule(sample_every_seconds=1 / rate))
    }
    assert len(everything) == 60
    sampled = list(sample_frames(path, SamplingRule(4)))
    assert [number_of(frame.rgb) for frame in sampled] == [0, 20, 40, 59]
    for frame in sampled:
        np.testing.assert_array_equal(frame.rgb, everything[frame.pts])


def test_a_rotated_clip_comes_out_upright(tmp_path: Path) -> None:
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:16, :24] = 255  # white in the top left corner, as a viewer sees it
    for rotation in (0, 90, 180, 270):
        stored = np.rot90(upright, -rotation // 90)  # turning it counter-clockwise mends it
        path = write_video(tmp_path / f"{rotation}.mp4", [stored] * 3, rotation=rotation)
        shown = next(sample_frames(path, SamplingRule(1))).rgb
        assert shown.shape == upright.shape
        assert np.abs(shown.astype(int) - upright).mean() < 8, rotation


def test_display_matrices_of_every_kind_are_applied(tmp_path: Path) -> None:
    corner = np.zeros((64, 96, 3), np.uint8)
    corner[:16, :24] = 255
    plain = write_video(tmp_path / "plain.mp4", [corner] * 2, rotation=180).read_bytes()
    half_turn = struct.pack(">5i", -65536, 0, 0, 0, -65536)
    assert plain.count(half_turn) == 1
    for a, b, c, d, expected in (
        (1, 0, 0, 1, corner),
        (-1, 0, 0, 1, corner[:, ::-1]),
        (1, 0, 0, -1, corner[::-1]),
        (0, 1, 1, 0, corner.transpose(1, 0, 2)),
        (0, 1, -1, 0, np.rot90(corner, -1)),  # x goes down and y to the left: clockwise
        (0, 0, 0, 0, corner),
    ):
        matrix = struct.pack(">5i", a << 16, b << 16, 0, c << 16, d << 16)
        path = tmp_path / "matrix.mp4"
        path.write_bytes(plain.replace(half_turn, matrix))
        shown = next(sample_frames(path, SamplingRule(1))).rgb
        assert shown.shape == expected.shape
        assert np.abs(shown.astype(int) - expected).mean() < 8, (a, b, c, d)


@pytest.mark.parametrize("pix_fmt", ["gray", "yuv420p10le", "yuv444p"])
def test_grey_and_deep_pictures_become_8_bit_rgb(tmp_path: Path, pix_fmt: str) -> None:
    path = write_video(tmp_path / "clip.mkv", numbered(12), pix_fmt=pix_fmt, codec="ffv1")
    frame = next(sample_frames(path, SamplingRule(1)))
    assert frame.rgb.dtype == np.uint8
    assert frame.rgb.shape == (64, 96, 3)
    assert number_of(frame.rgb) == 6


def test_damaged_packets_cost_only_their_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", numbered(48), codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    found = numbers(path, SamplingRule(2))
    assert found == [0, 47]


def test_a_file_that_is_no_video_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(UnreadableVideoError, match="not a video in a supported format"):
        list(sample_frames(path, SamplingRule(1)))


@pytest.mark.parametrize(
    "rule",
    [
        {"frame_sample_num": 0},
        {"sample_every_seconds": 0.0},
        {"sample_every_seconds": float("inf")},
        {"sample_every_seconds": float("nan")},
    ],
)
def test_a_rule_that_samples_nothing_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(rule))):
        SamplingRule(**rule)


@given(
    number=st.integers(1, 50),
    frames=st.integers(1, 10_000),
    start=st.integers(-(10**6), 10**6),
    duration=st.integers(1, 10**9),
)
def test_wanted_times_ascend_from_the_start_to_the_end(
    number: int, frames: int, start: int, duration: int
) -> None:
    span = Span(start, duration, frames, Fraction(1, 12288), 0)
    wanted = evenly_spread_pts(span, number)
    assert len(wanted) == min(number, frames)
    assert wanted == sorted(wanted)
    if len(wanted) == 1:
        assert wanted[0] == start + Fraction(duration, 2)
    else:
        assert (wanted[0], wanted[-1]) == (start, start + duration)


@pytest.mark.parametrize("video", ["video1.mp4", "video2.mp4", "video3.mp4"])
@pytest.mark.parametrize("frame_sample_num", [1, 2, 3, 5])
def test_frames_equal_the_references_to_the_byte(
    parity_folder: Path, parity: dict[str, Any], video: str, frame_sample_num: int
) -> None:
    expected = parity["videos"][video]["runs"][str(frame_sample_num)]["frames"]
    found = list(sample_frames(parity_folder / video, SamplingRule(frame_sample_num)))
    assert [frame.pts for frame in found] == [frame["pts"] for frame in expected]
    assert [hashlib.sha256(frame.rgb.tobytes()).hexdigest() for frame in found] == [
        frame["rgb_sha256"] for frame in expected
    ]
