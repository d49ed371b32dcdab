from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.inspection import inspect_video
from ocr_assets.video.probe import probe
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
    assert (info.width, info.height, info.rotation_degrees) == (96, 64, 0)
    assert info.fps == pytest.approx(options["rate"])
    assert info.duration_seconds == pytest.approx(48 / options["rate"], abs=0.003)
    assert info.frame_count == 48


def test_the_size_is_what_a_viewer_sees(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "clip.mp4", numbered(3), rotation=90))
    assert (info.width, info.height, info.rotation_degrees) == (64, 96, 90)


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
