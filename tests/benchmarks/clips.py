"""The benchmark's inputs, made once and kept in the cache folder, until this file changes.

All contents differ, since equal files are detected only once. `inputs` runs this in
a process of its own.
"""

import concurrent.futures
import hashlib
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ocr_assets.demo import Line, draw_text, make_demo_clips
from ocr_assets.gpu.host import usable_cores
from tests.benchmarks.apart import answer
from tests.benchmarks.settings import cache_folder

Picture = NDArray[np.uint8]

WORDS = ["amber", "basin", "candle", "drift", "ember", "fallow", "garnet", "harbour", "island"]
SUFFIXES = {".mp4", ".mov", ".m4v"}  # the reference reads no others

LONG_RATE = 24
KEY_FRAME_SECONDS = 10
LONG_WIDTH, LONG_HEIGHT = 1280, 720
GROWTH_WIDTH, GROWTH_HEIGHT = 128, 96


def job_clips(count: int, folder: str | None) -> list[Path]:
    """Clips for the whole job: those of a folder, or made ones, then shifted copies of them.

    Args:
        count: How many.
        folder: Where the originals are; None: the demo's and some of 1280x720 pixels.
    """
    originals = _originals(Path(folder)) if folder else _made_originals()
    made = _folder() / f"job-{_fingerprint(originals)}"
    made.mkdir(exist_ok=True)
    return [
        _shifted(originals[index % len(originals)], index // len(originals), made)
        for index in range(count)
    ]


def tiny_clips() -> list[Path]:
    """One frame of 64x64 pixels: a job on it takes what a job takes that has nothing to do."""
    return [_kept("tiny.mp4", lambda path: _encode(path, [_soft_picture(0, 64, 64)]))]


def long_clips(lengths: list[int]) -> list[Path]:
    """H.264 of 1280x720 pixels, 24 frames a second, 10 s between key frames, with B-frames."""
    cycle = _kept("long-cycle.mp4", _write_cycle)
    return [
        _kept(f"long-{length}s.mp4", partial(_repeat, cycle=cycle, seconds=length))
        for length in lengths
    ]


def growth_clips(count: int) -> list[Path]:
    """Many clips of 128x96 pixels and three frames, with a word on each."""
    folder = _folder() / "growth"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:05d}.mp4" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    with concurrent.futures.ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(_write_growth_clip, missing, [folder] * len(missing)):
            pass
    return paths


def text_picture(width: int, height: int, *, dense: bool) -> Picture:
    """A soft ground with a title and a subtitle, or a page full of words."""
    chance = random.Random(width * height)
    ground = _soft_picture(1, width, height)
    if not dense:
        size = height // 14
        return draw_text(
            ground,
            [
                Line(_sentence(chance, 2), width // 12, height // 8, size),
                Line(_sentence(chance, 4), width // 5, height - height // 10, size),
            ],
        )
    # Words far enough apart to be boxes of their own.
    size, column = 14, 90
    return draw_text(
        ground,
        [
            Line(chance.choice(WORDS), left, middle, size)
            for middle in range(14, height - 8, 22)
            for left in range(6, width - column, column)
        ],
    )


def _folder() -> Path:
    made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"clips-{made_by}"
    folder.mkdir(exist_ok=True)
    return folder


def _originals(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{folder} holds no clips ({', '.join(sorted(SUFFIXES))})")
    return found


def _made_originals() -> list[Path]:
    demo = _folder() / "demo"
    made = {demo / name for name in ("waves.mp4", "subtitles.mp4", "watermark.mp4", "slides.mp4")}
    if not all(path.exists() for path in made):
        part = demo.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        make_demo_clips(part)
        part.replace(demo)
    hd = [
        _kept(f"hd-{name}.mp4", partial(_write_hd, dense=dense))
        for name, dense in (("subtitle", False), ("page", True))
    ]
    return [*sorted(made), *hd]


def _fingerprint(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _kept(name: str, write: Callable[[Path], object]) -> Path:
    """A file in the cache folder, written if it is not there, and never seen half written."""
    return _write_once(_folder() / name, write)


def _write_once(path: Path, write: Callable[[Path], object]) -> Path:
    if not path.exists():
        part = path.with_name(f"part-{path.name}")
        write(part)
        part.replace(path)
    return path


def _shifted(original: Path, copy: int, folder: Path) -> Path:
    """The original itself, or encoded anew with all of its pictures some pixels aside."""
    name = f"{original.stem}-{copy:03d}{original.suffix.lower()}"
    if copy == 0:
        return _write_once(folder / name, partial(shutil.copyfile, original))
    right, down = 2 * (copy % 12) - 12, 2 * (copy // 12 % 12) - 10
    return _write_once(folder / name, partial(_shift, original=original, right=right, down=down))


def _shift(path: Path, original: Path, right: int, down: int) -> None:
    import av

    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)

    def pictures() -> Iterator[Picture]:
        for frame in source.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24")
            size = (rgb.shape[1], rgb.shape[0])
            moved = cv2.warpAffine(rgb, matrix, size, borderMode=cv2.BORDER_REPLICATE)
            yield np.asarray(moved, np.uint8)

    with av.open(str(original)) as source:
        rate = source.streams.video[0].average_rate or Fraction(LONG_RATE)
        _encode(path, pictures(), rate=Fraction(rate))


def _write_hd(path: Path, dense: bool) -> None:
    page = text_picture(LONG_WIDTH, LONG_HEIGHT, dense=dense)
    _encode(path, (np.roll(page, 2 * index, axis=0) for index in range(36)), rate=Fraction(12))


def _write_cycle(path: Path) -> None:
    """What is between two key frames of a long clip."""
    chance = np.random.default_rng(0)
    grain = chance.integers(0, 24, (LONG_HEIGHT, LONG_WIDTH, 3), np.uint8)
    ground = text_picture(LONG_WIDTH, LONG_HEIGHT, dense=False)
    pictures = (
        np.roll(ground, 3 * index, axis=1) // 2 + 40 + np.roll(grain, 31 * index, axis=0)
        for index in range(LONG_RATE * KEY_FRAME_SECONDS)
    )
    options = {"preset": "medium", "b": "1000k", "bf": "2", "x264-params": "scenecut=0"}
    _encode(path, pictures, rate=Fraction(LONG_RATE), options=options)


def _repeat(path: Path, cycle: Path, seconds: int) -> None:
    """Puts the same packets one behind the other, as often as fits."""
    import av

    with av.open(str(path), "w") as output, av.open(str(cycle)) as source:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for turn in range(seconds // KEY_FRAME_SECONDS):
            source.seek(0)
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue  # the last one, which is empty
                ticks = int(turn * KEY_FRAME_SECONDS / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = copy
                output.mux(packet)


def _write_growth_clip(number: int, folder: Path) -> None:
    def write(path: Path) -> None:
        chance = random.Random(number)
        ground = _soft_picture(number, GROWTH_WIDTH, GROWTH_HEIGHT)
        lines = [Line(chance.choice(WORDS), 4, 24, 18), Line(f"{number:05d}", 30, 70, 18)]
        _encode(path, [draw_text(ground, lines)] * 3)

    _write_once(folder / f"{number:05d}.mp4", write)


def _soft_picture(seed: int, width: int, height: int) -> Picture:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    channels = [
        110 + 50 * np.sin(x / (130 + 20 * channel) + seed) * np.cos(y / 110 + channel + seed)
        for channel in range(3)
    ]
    return np.stack(channels, axis=2).astype(np.uint8)


def _sentence(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(words))


def _encode(
    path: Path,
    pictures: Iterable[Picture],
    *,
    rate: Fraction = Fraction(12),
    options: dict[str, str] | None = None,
) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"
        stream.gop_size = int(rate * KEY_FRAME_SECONDS)
        stream.options.update(options or {"preset": "veryfast", "crf": "16"})
        for index, rgb in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = rgb.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = index, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


MAKERS: dict[str, Callable[..., list[Path]]] = {
    "job": job_clips,
    "tiny": tiny_clips,
    "long": long_clips,
    "growth": growth_clips,
}


def _make(kind: str, **arguments: Any) -> list[str]:
    return [str(path) for path in MAKERS[kind](**arguments)]


if __name__ == "__main__":
    answer(_make)
