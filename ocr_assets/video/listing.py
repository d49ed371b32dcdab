"""Which samples a day has: files of a folder, or the lines of a Data-Juicer JSONL."""

import datetime as dt
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from ocr_assets.object_storage import is_object_url
from ocr_assets.reasons import Fault, Status, fault_of
from ocr_assets.video.object_url import joined
from ocr_assets.video.object_version import ObjectVersion
from ocr_assets.video.signature import has_video_signature

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".ts"})
# Ends the id of a sample whose path is shown by escapes, which might be another file's name. No
# path ends so.
NOT_UTF8 = "//not UTF-8"

OUTSIDE = Fault(
    Status.OUTSIDE_SOURCE, "it lies outside the source; allow_outside_source lets it in"
)

MAX_JSON_DEPTH = 100
MAX_LINE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class VideoReference:
    """A video that a sample names.

    Attributes:
        path: Absolute path as Python has it: bytes that are not UTF-8 are lone surrogates. Or the
            URL of an object.
        fault: Why it must not or cannot be opened; None if it may be tried.
        version: What the listing says of an object, if it was found by one.
    """

    path: str
    fault: Fault | None = None
    version: ObjectVersion | None = None

    @property
    def text(self) -> str:
        r"""The path as text that can be stored; bytes that are not UTF-8 are shown as `\xNN`."""
        return _text(self.path)

    @property
    def path_bytes(self) -> bytes | None:
        """The path's bytes where they are not UTF-8, so that it cannot be had from the text."""
        if _is_utf8(self.path) or not _can_be_a_path(self.path):
            return None
        return os.fsencode(self.path)


@dataclass(frozen=True)
class Sample:
    """One sample of the dataset.

    Attributes:
        sample_id: Unique within the day and the same on every run.
        videos: Its videos, maybe none.
        other_keys: The sample's other keys, untouched.
        fault: Why the sample itself cannot be read; it then has no videos.
    """

    sample_id: str
    videos: tuple[VideoReference, ...] = ()
    other_keys: dict[str, object] = field(default_factory=dict)
    fault: Fault | None = None


def list_folder(
    root: Path,
    folder: Path,
    *,
    recursive: bool = True,
    modified_on: dt.date | None = None,
    allow_outside_root: bool = False,
) -> Iterator[Sample]:
    """One sample per video file of a folder, in order of their paths.

    A file counts as a video by its ending or by its first bytes; hidden files do not count. What
    bears a video's name and is something else, a folder say, is given with an error.

    Args:
        root: The source; sample ids are relative to it.
        folder: The folder to list, the root or below it.
        recursive: Whether folders within it are listed too.
        modified_on: Only files last modified on this day (UTC).
        allow_outside_root: Whether links may lead out of the root.

    Raises:
        OSError: The folder cannot be listed.
    """
    for path, wrong in _walk(folder, recursive):
        # First, because it costs least: most files are of other days.
        if modified_on is not None and wrong is None and _modified(path) != modified_on:
            continue
        fault = wrong or _kind_fault(path) or _place_fault(path, root, allow_outside_root)
        # Only what may be opened is looked into: not a pipe, and not what lies outside the source.
        if (
            wrong is None
            and not _is_video_name(path)
            and (fault is not None or not has_video_signature(path))
        ):
            continue
        relative = path.relative_to(root).as_posix()
        sample_id = _text(relative) + ("" if _is_utf8(relative) else NOT_UTF8)
        yield Sample(sample_id, (VideoReference(str(path), fault),))


def read_jsonl(file: Path, root: Path, *, allow_outside_root: bool = False) -> Iterator[Sample]:
    """One sample per line of a Data-Juicer dataset; blank lines are passed over.

    `videos` is a list of paths, relative to the file. A line that is no such sample is given with
    an error.

    Args:
        file: The JSONL file.
        root: The source, which the videos must lie in.
        allow_outside_root: Whether they may lie elsewhere, in an object storage even.

    Raises:
        OSError: The file cannot be read.
    """
    with file.open("rb") as lines:
        yield from jsonl_samples(
            lines,
            file.name,
            lambda path: _reference(file.parent, path, root, allow_outside_root),
        )


def jsonl_samples(
    lines: BinaryIO, name: str, refer: Callable[[str], VideoReference]
) -> Iterator[Sample]:
    """The same from an open file.

    Args:
        lines: The file.
        name: The file's name, by which sample ids begin.
        refer: What a path in it stands for.

    Raises:
        OSError: The file cannot be read.
    """
    for number, line in enumerate(_bounded_lines(lines), start=1):
        sample_id = f"{name}:{number}"
        if line is None:
            problem = f"line {number} has more than {MAX_LINE_BYTES} bytes"
            yield Sample(sample_id, fault=Fault(Status.BAD_SAMPLE, problem))
            continue
        if not line.strip():
            continue
        try:
            sample = _parse(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:
            problem = f"line {number} is not JSON: {error}"
            yield Sample(sample_id, fault=Fault(Status.BAD_SAMPLE, problem))
            continue
        if not isinstance(sample, dict):
            problem = f"line {number} is not a JSON object"
            yield Sample(sample_id, fault=Fault(Status.BAD_SAMPLE, problem))
            continue
        videos = sample.pop("videos", None)
        if videos is None:
            videos = []
        if not isinstance(videos, list) or not all(isinstance(path, str) for path in videos):
            problem = f"line {number}: `videos` is not a list of paths"
            fault = Fault(Status.BAD_SAMPLE, problem)
            yield Sample(sample_id, other_keys=sample, fault=fault)
            continue
        yield Sample(sample_id, tuple(map(refer, videos)), sample)


def why_no_path(text: str) -> Fault | None:
    """Why a text in a JSONL can be no path at all; None if it can."""
    if "\0" in text or not _can_be_a_path(text):
        problem = "its path holds a NUL character or half a character"
        return Fault(Status.BAD_SAMPLE, problem)
    return None


def _bounded_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines; None for one that is too long to be held in memory."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield None


def _parse(text: str) -> object:
    """Strict JSON, of a depth that every reader can take."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a JSON number")

    def parse_float(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits)

    parsed: object = json.loads(text, parse_constant=refuse, parse_float=parse_float)
    level = [parsed]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError(f"it is nested deeper than {MAX_JSON_DEPTH} levels")
    return parsed


def _walk(folder: Path, recursive: bool) -> Iterator[tuple[Path, Fault | None]]:
    """Files in order of their names, and folders where something is wrong with them, and what."""
    pending = list(reversed(_entries(folder)))
    while pending:
        path = pending.pop()
        try:
            if not path.is_dir():
                yield path, None
                continue
            if path.is_symlink():
                problem = "it is a link to a folder, and those are not followed"
                yield path, Fault(Status.NOT_A_FILE, problem)
                continue
            if _is_video_name(path):
                yield path, Fault(Status.NOT_A_FILE, "it is a folder")
            if recursive:
                pending += reversed(_entries(path))
        except OSError as error:
            yield path, Fault(Status.UNREADABLE, f"it cannot be listed: {error.strerror}")


def _entries(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        visible = [entry.name for entry in entries if not entry.name.startswith(".")]
    return [folder / name for name in sorted(visible)]


def _is_video_name(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _modified(path: Path) -> dt.date | None:
    try:
        return dt.datetime.fromtimestamp(path.lstat().st_mtime, tz=dt.UTC).date()
    except (OSError, ValueError, OverflowError):
        return None  # gone meanwhile, or in a year that is no year


def _reference(base: Path, text: str, root: Path, allow_outside_root: bool) -> VideoReference:
    if (fault := why_no_path(text)) is not None:
        return VideoReference(text, fault)
    if is_object_url(text):
        # No folder holds it, so it lies outside the source whatever bucket it names.
        place = joined("", text)
        return VideoReference(place or text, None if place and allow_outside_root else OUTSIDE)
    if "://" in text:
        return VideoReference(text, Fault(Status.BAD_SAMPLE, "it is not a path in a file system"))
    path = Path(os.path.normpath(base / text))
    fault = _place_fault(path, root, allow_outside_root) or _kind_fault(path)
    return VideoReference(str(path), fault)


def _kind_fault(path: Path) -> Fault | None:
    try:
        if path.is_dir():
            return Fault(Status.NOT_A_FILE, "it is a folder")
        if path.exists() and not path.is_file():
            return Fault(Status.NOT_A_FILE, "it is not a regular file")
    except OSError as error:
        return fault_of(error)
    return None


def _place_fault(path: Path, root: Path, allow_outside_root: bool) -> Fault | None:
    if allow_outside_root:
        return None
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except OSError as error:
        problem = f"its path cannot be resolved: {error.strerror}"
        return Fault(Status.UNREADABLE, problem)
    except RuntimeError:
        return Fault(Status.NOT_A_FILE, "its links go in a circle")
    return None if inside else OUTSIDE


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _can_be_a_path(text: str) -> bool:
    """Whether there are bytes for it: JSON may hold lone surrogates that stand for none."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _text(path: str) -> str:
    r"""A path as text: itself, or its bytes with `\xNN` for what is not UTF-8 and `\\` for `\`."""
    if _is_utf8(path):
        return path
    data = os.fsencode(path) if _can_be_a_path(path) else path.encode("utf-8", "surrogatepass")
    return data.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
