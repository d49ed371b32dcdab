import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.inspection import inspect_video
from ocr_assets.video.probe import probe
from ocr_assets.video.sampling import SamplingRule, sample_frames
from tests.clips import numbered, write_sound, write_video
from tests.video.test_sampling import CONTAINERS

# What FFmpeg calls the container of each file in CONTAINERS.
NAMES = {
    "clip.mp4": "mp4",
    "clip.mov": "mov",
    "clip.m4v": "mp4",
    "fragmented.mp4": "mp4",
    "clip.mkv": "matroska",
    "clip.webm": "webm",
    "clip.ts": "mpegts",
    "clip.mpg": "mpeg",
    "clip.avi": "avi",
    "b_frames.avi": "avi",
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_tells_its_size_rate_and_length(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {"rate": 12, **CONTAINERS[name]}
    info = probe(write_video(tmp_path / name, numbered(48), **options))
    assert info.container == NAMES[name]
    assert (info.width, info.height) == (96, 64)
    assert info.fps == pytest.approx(options["rate"])
    assert info.duration_seconds == pytest.approx(48 / options["rate"], abs=0.003)
    assert info.frame_count == 48


def test_the_size_is_what_a_viewer_sees(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "clip.mp4", numbered(3), rotation=90))
    assert (info.width, info.height) == (64, 96)


def test_odd_sizes_are_kept(tmp_path: Path) -> None:
    pictures = [np.zeros((63, 97, 3), np.uint8)] * 3
    info = probe(write_video(tmp_path / "clip.mkv", pictures, codec="ffv1", pix_fmt="yuv444p"))
    assert (info.width, info.height, info.codec) == (97, 63, "ffv1")


def test_a_parity_clip_is_what_the_reference_says(
    parity_folder: Path, parity: dict[str, Any]
) -> None:
    for name, expected in parity["videos"].items():
        info = probe(parity_folder / name)
        assert (info.codec, info.width, info.height) == (
            expected["codec"],
            expected["width"],
            expected["height"],
        )
        assert info.fps == expected["fps"]
        assert info.frame_count == expected["nb_frames"]
        assert info.duration_seconds == pytest.approx(expected["duration"])


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert inspect_video(tmp_path / "empty.mp4").error == "the file is empty"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    assert inspect_video(write_sound(tmp_path / "sound.mp4")).error == "it has no video stream"


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    assert inspect_video(tmp_path / "none.mp4").error == "No such file or directory"
    assert inspect_video(tmp_path).error == "Is a directory"


def test_a_truncated_file_is_refused_even_where_its_first_frames_decode(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", numbered(48), options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    found = inspect_video(cut)
    assert found.info is None
    assert found.error is not None
    assert found.error.startswith("it is truncated: its index reaches to byte ")
    assert inspect_video(whole).error is None


def test_a_file_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", numbered(48))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:1500])
    assert "it is damaged" in str(inspect_video(cut).error)


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile {}\n", "#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"]
)
def test_a_playlist_does_not_open_other_files(tmp_path: Path, text: str) -> None:
    other = write_video(tmp_path / "other.ts", numbered(3), container="mpegts")
    for name in ("list.mp4", "list.m3u8"):
        playlist = tmp_path / name
        playlist.write_text(text.format(other.name))
        with pytest.raises(UnreadableVideoError, match="not a video in a supported format"):
            probe(playlist)


@pytest.mark.parametrize("name", ["clip.mp4", "b_frames.avi"])
def test_a_codec_that_nobody_knows_is_no_reason_to_stop(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, numbered(12), **CONTAINERS[name])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzz9").replace(b"H264", b"zzz9"))
    assert inspect_video(path).error == "there is no decoder for its video codec"


def test_the_first_fragments_frame_count_is_not_taken_for_the_videos(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe"}
    info = probe(write_video(tmp_path / "clip.mp4", numbered(48), options=options))
    assert info.frame_count == 48


def test_avi_counts_the_frames_that_are_there(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", numbered(300))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    info = probe(path)
    assert 100 < info.frame_count < 200
    assert info.duration_seconds == pytest.approx(info.frame_count / 12)
    first, middle, _ = (frame.timestamp_seconds for frame in sample_frames(path, SamplingRule(3)))
    assert (first, middle) == pytest.approx((0, info.duration_seconds / 2), abs=0.1)


def test_a_path_that_looks_like_a_protocol_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "clip.mp4", numbered(3)).rename(tmp_path / "http:clip.mp4")
    monkeypatch.chdir(tmp_path)
    assert probe("http:clip.mp4").frame_count == 3


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(CONTAINERS)),
    cut=st.floats(0.1, 1),
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_damaged_files_give_frames_or_a_reason(
    whole_files: dict[str, bytes],
    tmp_path: Path,
    name: str,
    cut: float,
    damage: list[tuple[float, bytes]],
) -> None:
    data = bytearray(whole_files[name])
    for place, garbage in damage:
        start = int(place * len(data))
        data[start : start + len(garbage)] = garbage
    path = tmp_path / name
    path.write_bytes(data[: int(cut * len(data))])
    found = inspect_video(path)
    assert (found.info is None) != (found.error is None)
    for rule in (SamplingRule(3), SamplingRule(sample_every_seconds=0.5)):
        with contextlib.suppress(UnreadableVideoError):
            assert list(sample_frames(path, rule))


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: write_video(folder / name, numbered(24), **options).read_bytes()
        for name, options in CONTAINERS.items()
    }


def test_a_cover_picture_is_not_taken_for_the_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    assert inspect_video(path).error == "it has no video stream"
