"""Frames that are sought and found with pictures left out are those of a plain decoder."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocr_assets.video.sampling import SamplingRule, sample_frames
from tests.clips import Picture

FRAMES = 200
# How each clip is written: the encoder, its options, and what else is special about it.
CLIPS: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"x264": "bframes=3:b-pyramid=normal:scenecut=0"},
    "no_b_frames.mp4": {"x264": "bframes=0"},
    "many_b_frames.mov": {"x264": "bframes=8:b-pyramid=strict:b-adapt=0"},
    "open_gop.mkv": {"gop": 25, "x264": "open-gop=1:bframes=4"},
    "open_gop.ts": {"gop": 25, "x264": "open-gop=1:bframes=4"},
    "interlaced.mp4": {"x264": "tff=1:bframes=3"},
    "refreshed.mp4": {"gop": 25, "x264": "intra-refresh=1"},
    "fragmented.mp4": {"x264": "bframes=3", "muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "late.mp4": {"x264": "bframes=3", "ticks": [500 + 2 * n for n in range(FRAMES)]},
    "varying.mp4": {"x264": "bframes=3", "ticks": [n + 40 * (n // 60) for n in range(FRAMES)]},
    "long_last_frame.mkv": {"x264": "bframes=3", "ticks": [*range(FRAMES - 1), FRAMES + 100]},
    "h265.mp4": {"codec": "libx265"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "h264.avi": {"x264": "bframes=3"},
    "mpeg2.mpg": {"codec": "mpeg2video", "format": "mpeg", "b_frames": 2, "gop": 12},
    "mpeg2.ts": {"codec": "mpeg2video", "format": "mpegts", "b_frames": 2, "gop": 12},
}


def write_clip(
    path: Path,
    pictures: list[Picture],
    *,
    codec: str = "libx264",
    x264: str = "",
    gop: int = 100,
    b_frames: int = 0,
    ticks: Sequence[int] = range(FRAMES),
    format: str | None = None,  # noqa: A002
    muxer: dict[str, str] | None = None,
) -> Path:
    import av

    quiet = {"x264-params": x264} if codec == "libx264" else {"x265-params": "log-level=error"}
    with av.open(str(path), "w", format=format, options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=25, options=quiet if "libx26" in codec else {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.gop_size, stream.max_b_frames = "yuv420p", gop, b_frames
        stream.codec_context.time_base = stream.time_base = Fraction(1, 25)
        for tick, picture in zip(ticks, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def moving(count: int) -> list[Picture]:
    """Noise that moves, so that pictures differ and refer to each other."""
    random = np.random.default_rng(7)
    ground = random.integers(0, 256, (16, 16, 3), np.uint8).repeat(8, 0).repeat(12, 1)
    grain = random.integers(0, 12, (count, 128, 192, 1), np.uint8)
    return [(np.roll(ground // 2, n, (0, 1)) + grain[n]).astype(np.uint8) for n in range(count)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, pictures = tmp_path_factory.mktemp("clips"), moving(FRAMES)
    return {name: write_clip(folder / name, pictures, **options) for name, options in CLIPS.items()}


@pytest.fixture(scope="module")
def decoded(clips: dict[str, Path]) -> dict[str, list[tuple[int, str]]]:
    """Timestamp and hash of every frame, by a decoder that starts at the start."""
    return {name: decode_everything(path) for name, path in clips.items()}


def decode_everything(path: Path) -> list[tuple[int, str]]:
    import av

    with av.open(str(path)) as container:
        return [
            (-1 if frame.pts is None else frame.pts, digest(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]


def digest(rgb: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(rgb).tobytes()).hexdigest()


def has_exact_timestamps(name: str) -> bool:
    return not name.endswith((".avi", ".mpg"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(CLIPS)),
    rule=st.one_of(
        st.integers(1, 12).map(SamplingRule),
        st.floats(0.04, 5).map(lambda every: SamplingRule(sample_every_seconds=round(every, 2))),
    ),
)
def test_every_rule_gives_the_bytes_of_a_decoder_that_starts_at_the_start(
    clips: dict[str, Path],
    decoded: dict[str, list[tuple[int, str]]],
    name: str,
    rule: SamplingRule,
) -> None:
    found = [(frame.pts, digest(frame.rgb)) for frame in sample_frames(clips[name], rule)]
    assert found
    if has_exact_timestamps(name):
        assert set(found) <= set(decoded[name])
    else:
        assert {one for _, one in found} <= {one for _, one in decoded[name]}


@pytest.mark.parametrize("name", [name for name in CLIPS if has_exact_timestamps(name)])
@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_taken_is_the_first_frame_at_or_after_the_wanted_time_else_the_last(
    clips: dict[str, Path], decoded: dict[str, list[tuple[int, str]]], name: str, number: int
) -> None:
    import av

    everything = sorted(decoded[name])
    assert len({pts for pts, _ in everything}) == len({one for _, one in everything}) == FRAMES
    with av.open(str(clips[name])) as container:
        stream = container.streams.video[0]
        start, duration = everything[0][0], stream.duration
        if duration is None or "fragmented" in name or name.endswith(".ts"):
            packets = [packet for packet in container.demux(stream) if packet.size]
            frame_duration = round(1 / (stream.average_rate * stream.time_base))
            ends = [packet.pts + (packet.duration or frame_duration) for packet in packets]
            duration = max(ends) - start
    off = 1 if name.endswith((".mkv", ".webm", ".ts")) or "fragmented" in name else 0
    wanted = (
        [start + Fraction(duration, 2)]
        if number == 1
        else [start + Fraction(duration * index, number - 1) for index in range(number)]
    )
    expected = [
        next((frame for frame in everything if frame[0] >= time - off), everything[-1])
        for time in wanted
    ]
    found = sample_frames(clips[name], SamplingRule(number))
    assert [(frame.pts, digest(frame.rgb)) for frame in found] == expected


def test_the_file_is_opened_once_where_the_container_says_what_it_holds(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    opened = []
    really_open = av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: (opened.append(a), really_open(*a, **k))[1])
    list(sample_frames(clips["b_frames.mp4"], SamplingRule(3)))
    assert len(opened) == 1
