"""Videos for the tests: pictures that tell their number and text of known place and size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ocr_assets.demo import Line, draw_text

if TYPE_CHECKING:
    from av import AudioStream
    from av.container import OutputContainer

Picture = NDArray[np.uint8]


def numbered(count: int, width: int = 96, height: int = 64) -> list[Picture]:
    """Pictures whose number can be read back after lossy coding: six bars, black or white."""
    return [_bars(number, width, height) for number in range(count)]


def number_of(picture: Picture) -> int:
    """Which of `numbered` a decoded picture is."""
    middle = picture[picture.shape[0] // 2].mean(axis=1)
    width = len(middle)
    bits = [middle[(2 * bit + 1) * width // 12] > 128 for bit in range(6)]
    return sum(1 << bit for bit, white in enumerate(bits) if white)


def text_picture(lines: Sequence[Line] = (), width: int = 640, height: int = 360) -> Picture:
    """White text with a dark edge on a plain, dark blue ground."""
    ground = np.full((height, width, 3), (20, 40, 90), np.uint8)
    return draw_text(ground, lines)


def write_video(
    path: Path,
    pictures: Iterable[Picture],
    *,
    rate: int = 12,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    options: dict[str, str] | None = None,
    ticks: Sequence[int] | None = None,
    rotation: int | None = None,
    key_frame_every: int = 6,
    b_frames: int = 0,
    sound: bool = False,
) -> Path:
    """Encodes pictures.

    Args:
        path: Where to; its ending names the container unless `container` does.
        pictures: uint8, (height, width, 3), RGB.
        rate: Frames per second, and so the ticks per second.
        codec: Encoder.
        pix_fmt: Pixel format.
        container: Muxer.
        options: The muxer's options.
        ticks: Timestamps; 0, 1, 2, ... unless given.
        rotation: Counter-clockwise rotation, in degrees, that the container asks players for.
        key_frame_every: Pictures from one key frame to the next.
        b_frames: B-frames between others; libx264 has two in any case.
        sound: Whether there is a second stream, of silence.
    """
    import av

    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.pix_fmt = pix_fmt
        stream.gop_size = key_frame_every
        stream.time_base = Fraction(1, rate)
        stream.max_b_frames = b_frames
        if codec == "libx264":
            stream.options = {"crf": "12", "bf": "2", "x264-params": "scenecut=0"}
        if rotation is not None:
            stream.set_display_rotation(rotation)
        silence = output.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index, picture in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = index if ticks is None else ticks[index]
            frame.time_base = Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if silence is not None:
            _write_silence(output, silence)
    return path


def write_sound(path: Path) -> Path:
    """An audio file without pictures."""
    import av

    with av.open(str(path), "w") as output:
        _write_silence(output, output.add_stream("aac", rate=44100, layout="mono"))
    return path


def _write_silence(output: OutputContainer, stream: AudioStream) -> None:
    import av

    for index in range(20):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate, frame.pts = 44100, index * 1024
        output.mux(stream.encode(frame))
    output.mux(stream.encode())


def _bars(number: int, width: int, height: int) -> Picture:
    picture = np.zeros((height, width, 3), np.uint8)
    for bit in range(6):
        if number >> bit & 1:
            picture[:, bit * width // 6 : (bit + 1) * width // 6] = 255
    return picture
