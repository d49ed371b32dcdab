"""A day of small clips, with and without text, to see the assets at work."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]

WIDTH, HEIGHT = 640, 360
FRAMES_PER_SECOND = 12
SECONDS = 3
FRAME_COUNT = FRAMES_PER_SECOND * SECONDS


@dataclass(frozen=True)
class Line:
    """A line of text: what it says, where its left end and middle are, and its size, in pixels."""

    text: str
    left: int
    middle: int
    size: int


SUBTITLES = [
    Line("We should have left an hour ago.", 124, 330, 26),
    Line("The last ferry of the day waits for nobody.", 76, 330, 26),
    Line("Then we shall have to swim.", 154, 330, 26),
]
WATERMARK = [Line("SAMPLE FOOTAGE", 470, 24, 18)]
SLIDE = [
    Line("Quarterly results", 40, 45, 48),
    Line("Revenue grew by eleven per cent", 40, 120, 34),
    Line("Costs stayed where they were", 40, 180, 34),
    Line("Two new markets opened in spring", 40, 240, 34),
    Line("Outlook: steady, with care", 40, 300, 34),
]
CREDITS = [
    Line(text, 170, 30 + 44 * index, 30)
    for index, text in enumerate(
        [
            "DIRECTED BY",
            "WRITTEN BY",
            "PRODUCED BY",
            "CAMERA",
            "LIGHTING",
            "COSTUMES",
            "CASTING",
            "MUSIC",
            "EDITING",
            "SOUND",
            "COLOUR",
            "THANKS",
        ]
    )
]
CREDITS_ROLL = 4  # pixels a frame


def make_demo_clips(folder: Path) -> list[Path]:
    """Writes seven clips of 640x360 pixels and three seconds, one of them broken on purpose.

    The credits roll and the subtitle changes; the watermark and the slide stay in their places.

    Args:
        folder: Where to; it is created if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips: dict[str, Callable[[int], Sequence[Line]]] = {
        "waves.mp4": lambda index: [],
        "waves.mkv": lambda index: [],
        "subtitles.mp4": subtitle_at,
        "watermark.mp4": lambda index: WATERMARK,
        "slides.mp4": lambda index: SLIDE,
        "credits.webm": credits_at,
    }
    paths = []
    for seed, (name, lines_at) in enumerate(clips.items()):
        path = folder / name
        write_clip(path, (picture(seed, index, lines_at(index)) for index in range(FRAME_COUNT)))
        paths.append(path)
    broken = folder / "broken.mp4"
    broken.write_bytes(paths[0].read_bytes()[:2000])
    return [*paths, broken]


def subtitle_at(index: int) -> list[Line]:
    """What is said in a frame: another sentence every second."""
    return [SUBTITLES[index // FRAMES_PER_SECOND]]


def credits_at(index: int) -> list[Line]:
    """The credits, as far up as they have rolled by a frame."""
    return [replace(line, middle=line.middle - CREDITS_ROLL * index) for line in CREDITS]


def picture(seed: int, index: int, lines: Iterable[Line]) -> Picture:
    """One frame: soft moving colours, and lines of text over them."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    phase = 2 * np.pi * index / FRAME_COUNT + seed
    channels = [
        110 + 50 * np.sin(x / (130 + 20 * channel) + phase) * np.cos(y / 110 + channel + seed)
        for channel in range(3)
    ]
    rgb = np.stack(channels, axis=2).astype(np.uint8)
    return draw_text(rgb, lines)


def draw_text(rgb: Picture, lines: Iterable[Line]) -> Picture:
    """The picture with white, dark-edged text on it."""
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    for line in lines:
        draw.text(
            (line.left, line.middle),
            line.text,
            font=ImageFont.load_default(line.size),
            fill=(255, 255, 255),
            stroke_width=2,
            stroke_fill=(20, 20, 20),
            anchor="lm",
        )
    return np.asarray(image)


def write_clip(
    path: Path, pictures: Iterable[Picture], *, frames_per_second: int = FRAMES_PER_SECOND
) -> None:
    """Encodes pictures as a video, in the container that the path's ending names.

    Args:
        path: Where to.
        pictures: uint8, (height, width, 3), RGB, all of one size.
        frames_per_second: Their rate.
    """
    import av

    codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=frames_per_second)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # with more, pictures would depend on the number of cores
        for index, rgb in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = rgb.shape[:2]
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, frames_per_second)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
