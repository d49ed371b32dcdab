import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.inspection import inspect_video
from ocr_assets.video.limits import VideoLimits
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


def fault(path: Path, limits: VideoLimits | None = None) -> tuple[str, str]:
    found = inspect_video(path, limits).fault
    assert found is not None
    return found.status, found.message


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
    assert fault(tmp_path / "empty.mp4") == ("not_a_video", "the file is empty")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "sound.mp4")
    assert fault(path) == ("not_a_video", "it has no video stream")


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.mp4") == ("missing", "No such file or directory")
    assert fault(tmp_path) == ("not_a_file", "Is a directory")


def test_a_truncated_file_is_refused_even_where_its_first_frames_decode(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", numbered(48), options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    found = inspect_video(cut)
    assert found.info is None
    assert found.fault is not None
    assert found.fault.status == "truncated"
    assert found.fault.message.startswith("it is truncated: its index reaches to byte ")
    assert inspect_video(whole).fault is None


def test_a_file_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", numbered(48))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:1500])
    assert fault(cut) == ("truncated", "it is truncated: the file ends within one of its boxes")


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile {}\n", "#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"]
)
def test_a_playlist_does_not_open_other_files(tmp_path: Path, text: str) -> None:
    other = write_video(tmp_path / "other.ts", numbered(3), container="mpegts")
    for name in ("list.mp4", "list.m3u8"):
        playlist = tmp_path / name
        playlist.write_text(text.format(other.name))
        assert fault(playlist) == (
            "format_refused",
            "its format is not one of those that are let in",
        )


@pytest.mark.parametrize("name", ["clip.mp4", "b_frames.avi"])
def test_a_codec_that_nobody_knows_is_no_reason_to_stop(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, numbered(12), **CONTAINERS[name])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzz9").replace(b"H264", b"zzz9"))
    assert fault(path) == ("no_decoder", "there is no decoder for its video codec")


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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert (found.info is None) != (found.fault is None)
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
    assert fault(path) == ("not_a_video", "it has no video stream")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (VideoLimits(max_pixels=6143), "its pictures of 96x64 have more than 6143 pixels"),
        (VideoLimits(max_duration_seconds=3.5), "it lasts 4.0 s, longer than 3.5 s"),
        (VideoLimits(max_frames=47), "it has 48 frames, more than 47"),
        (VideoLimits(max_streams=1), "it has 2 streams, more than 1"),
    ],
)
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_what_is_beyond_a_limit_is_too_large_and_what_is_at_it_is_not(
    tmp_path: Path, container: str, limits: VideoLimits, message: str
) -> None:
    path = write_video(tmp_path / f"clip.{container}", numbered(48), sound=True)
    assert fault(path, limits) == ("too_large", message)
    at_the_limit = VideoLimits(
        max_pixels=96 * 64, max_duration_seconds=4, max_frames=48, max_streams=2
    )
    assert inspect_video(path, at_the_limit).fault is None


def test_no_more_frames_are_taken_than_the_limit_allows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", numbered(48))
    rule = SamplingRule(sample_every_seconds=0.5)
    assert len(list(sample_frames(path, rule, VideoLimits(max_sampled_frames=8)))) == 8
    with pytest.raises(UnreadableVideoError, match="more than 7 frames would be taken"):
        list(sample_frames(path, rule, VideoLimits(max_sampled_frames=7)))


def test_pictures_that_turn_out_larger_than_the_container_says_are_not_decoded(
    tmp_path: Path,
) -> None:
    large = write_video(tmp_path / "large.ts", numbered(12, 192, 128))
    small = write_video(tmp_path / "small.ts", numbered(12))
    small.write_bytes(small.read_bytes() + large.read_bytes())
    limits = VideoLimits(max_pixels=96 * 64)
    assert inspect_video(small, limits).fault is None
    sizes = set()
    with pytest.raises(UnreadableVideoError, match="it has a picture of 192x128, more than 6144"):
        sizes.update(frame.rgb.shape for frame in sample_frames(small, SamplingRule(24), limits))
    assert sizes <= {(64, 96, 3)}
    assert len(list(sample_frames(small, SamplingRule(24)))) == 24
