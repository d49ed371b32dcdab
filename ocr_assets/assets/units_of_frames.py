"""The videos of a day, as units of work of `sampled_frames`."""

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set

import polars as pl

from ocr_assets.compute.frames_work import FramesUnit, VideoToSample
from ocr_assets.compute.reused_frames import FramePlaces
from ocr_assets.object_storage import is_object_url
from ocr_assets.tables.partition_writer import PartSize
from ocr_assets.tables.stored_path import stored_path
from ocr_assets.video.sampling import SamplingRule

COLUMNS = ("video_id", "path", "path_bytes", "file_state")
# What frames of real clips take on average in lossless WebP, and a third of it, so that nothing is
# refused that would fit.
MEAN_BYTES_A_PIXEL, LEAST_BYTES_A_PIXEL = 0.75, 0.25


class UnitsOfFrames:
    """Videos in groups whose frames take about a part, as far as the manifest tells.

    They are made one by one as they are asked for: a day can have a million videos.

    Attributes:
        digest: Hash of which videos are in which unit. A unit is known by its number, so that the
            same numbers have to mean the same videos.
    """

    def __init__(
        self,
        videos: pl.DataFrame,
        sampled: Mapping[str, FramePlaces],
        rule: SamplingRule,
        size: PartSize,
    ) -> None:
        """Finds where one unit ends and the next begins.

        Args:
            videos: Rows of `video_manifest`, one for each video.
            sampled: Where frames are that other runs have sampled.
            rule: Which frames to take.
            size: When a part is full.
        """
        self._videos = videos.select(COLUMNS)
        self._sampled = sampled
        self._starts = [*_starts(videos, rule, size), videos.height]
        self._numbers: Sequence[int] = range(len(self._starts) - 1)
        digest = hashlib.sha256()
        for number in self._numbers:
            digest.update(repr(self._rows(number)["video_id"].to_list()).encode())
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        """How many units there are."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[FramesUnit]:
        """The units, in order."""
        return map(self.unit, self._numbers)

    @property
    def video_count(self) -> int:
        """How many videos are in them."""
        return sum(self._starts[number + 1] - self._starts[number] for number in self._numbers)

    def without(self, finished: Set[int]) -> "UnitsOfFrames":
        """The others.

        Args:
            finished: Numbers of units.
        """
        others = copy.copy(self)
        others._numbers = [number for number in self._numbers if number not in finished]
        return others

    def unit(self, number: int) -> FramesUnit:
        """One of them, by its place in the day."""
        return FramesUnit(
            number, tuple(self._video(*row) for row in self._rows(number).iter_rows())
        )

    def _rows(self, number: int) -> pl.DataFrame:
        start, end = self._starts[number : number + 2]
        return self._videos[start:end]

    def _video(
        self, video_id: str, path: str, path_bytes: bytes | None, file_state: str | None
    ) -> VideoToSample:
        places = tuple(self._sampled.get(video_id, ()))
        where = stored_path(path, path_bytes)
        return VideoToSample(video_id, where, _version(path, file_state), places)


def least_bytes(videos: pl.DataFrame, rule: SamplingRule) -> int:
    """What the frames of videos take at least, as far as the manifest tells.

    Args:
        videos: Rows of `video_manifest`.
        rule: Which frames to take.
    """
    needed = videos.select((_pixels() * _frames(rule)).sum())
    return int(LEAST_BYTES_A_PIXEL * (needed.item() or 0))


def _starts(videos: pl.DataFrame, rule: SamplingRule, size: PartSize) -> Iterator[int]:
    frames = _frames(rule).fill_null(rule.frame_sample_num).ceil().alias("frames")
    expected = videos.select(frames, _pixels().fill_null(0).alias("pixels"))
    rows, size_bytes = 0.0, 0.0
    for place, (of_video, pixels) in enumerate(expected.iter_rows()):
        of_video_bytes = MEAN_BYTES_A_PIXEL * pixels * of_video
        is_full = rows + of_video > size.rows or size_bytes + of_video_bytes > size.bytes
        if place == 0 or is_full:
            yield place
            rows, size_bytes = 0.0, 0.0
        rows += of_video
        size_bytes += of_video_bytes


def _frames(rule: SamplingRule) -> pl.Expr:
    every = rule.sample_every_seconds
    wanted = rule.frame_sample_num if every is None else pl.col("duration_seconds") / every
    return pl.min_horizontal("frame_count", wanted)


def _pixels() -> pl.Expr:
    return pl.col("width") * pl.col("height").cast(pl.Int64)


def _version(path: str, file_state: str | None) -> str | None:
    """What an object was like when the manifest was made: its id is of that version."""
    if file_state is None or not is_object_url(path):
        return None
    return file_state.rpartition(" ")[2]  # before it stands what decided on the other columns
