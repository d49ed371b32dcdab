"""A folder of the exported videos: links to them, or copies."""

import contextlib
import datetime as dt
import os
import stat
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ocr_assets.export.request import ExportError, LinkOrCopy
from ocr_assets.export.source_files import (
    VideoLostError,
    content,
    ensure_unchanged,
    has_content,
)
from ocr_assets.object_storage import is_object_url
from ocr_assets.tables.durable import make_folder, sync
from ocr_assets.tables.replace_file import FORGOTTEN_SECONDS, remove_older
from ocr_assets.video.listing import NOT_UTF8, VideoReference
from ocr_assets.video.source_file import Storage

MAX_NAME_BYTES = 255
MAX_SUFFIX_BYTES = 32
ID_DIGITS = 16
UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class JudgedVideo:
    """A video of a sample, as `filtered_dataset` has it.

    Attributes:
        path: Absolute path, or URL.
        video_id: Fingerprint of its content when it was judged.
        date: The sample's day.
        sample_id: The sample's.
    """

    path: str
    video_id: str
    date: dt.date
    sample_id: str


class _NameTakenError(Exception):
    """Something else has the name."""


class VideoFolder:
    """Puts videos into a folder, each under a name of its own that is the same every time.

    What is there already is not overwritten: a video whose name is taken has digits of its
    fingerprint in it.

    Attributes:
        placed: Links or copies made.
        found: Those that were there already, from an earlier export or for an earlier sample.
    """

    def __init__(self, folder: Path, how: LinkOrCopy, storage: Storage | None = None) -> None:
        """Names the folder, and makes it.

        Args:
            folder: Where the videos go.
            how: `link`: symbolic links to the absolute paths. `copy`: copies.
            storage: How videos that are objects are reached.

        Raises:
            OSError: It cannot be made.
        """
        self.placed = 0
        self.found = 0
        self._folder = folder.absolute()
        self._how = how
        self._storage = storage or Storage()
        make_folder(self._folder)
        forgotten = self._folder.glob(f"{UNFINISHED}*")
        remove_older(forgotten, time.time() - FORGOTTEN_SECONDS)

    def place(self, video: JudgedVideo, known_states: Mapping[tuple[str, str], str]) -> Path:
        """Links or copies a video.

        Args:
            video: The video.
            known_states: `file_state` of files by path and fingerprint, as far as known; a link's
                file that is still in that state is not read.

        Returns:
            Where it is now.

        Raises:
            VideoLostError: The file is not the one that was judged, or something else has both
                names that it could get.
            OSError: The folder cannot be written to.
        """
        target = self._folder / placed_name(video)
        known_state = known_states.get((video.path, video.video_id))
        try:
            is_new = self._put(video, target, known_state)
        except _NameTakenError:
            # By a file of others, or by another video whose path in the source begins with a day.
            target = target.with_name(_with_digits(target, video.video_id[:ID_DIGITS]))
            try:
                is_new = self._put(video, target, known_state)
            except _NameTakenError as error:
                raise VideoLostError(f"{target} is there already and is another file") from error
        self.placed += is_new
        self.found += not is_new
        return target

    def _put(self, video: JudgedVideo, target: Path, known_state: str | None) -> bool:
        """Whether there is a link or copy now that was not there before."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise VideoLostError(f"{target.parent} is no folder") from error
        if self._how == "link":
            return self._link(video, target, known_state)
        return self._copy(video, target)

    def _link(self, video: JudgedVideo, target: Path, known_state: str | None) -> bool:
        ensure_unchanged(video.path, video.video_id, known_state)
        try:
            target.symlink_to(video.path)
        except FileExistsError as error:
            if target.is_symlink() and _is_link_to(target, video):
                return False
            raise _NameTakenError from error
        return True

    def _copy(self, video: JudgedVideo, target: Path) -> bool:
        if os.path.lexists(target):
            is_file = stat.S_ISREG(target.lstat().st_mode)
            if is_file and has_content(target, video.path, video.video_id, self._storage):
                return False
            raise _NameTakenError
        unfinished = self._folder / f"{UNFINISHED}{uuid.uuid4().hex}"
        try:
            with unfinished.open("wb") as file:
                for chunk in content(video.path, video.video_id, self._storage):
                    file.write(chunk)
            sync(unfinished)
            unfinished.rename(target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()
            raise
        return True


def ensure_possible(folder: Path, videos: Iterable[JudgedVideo], how: LinkOrCopy) -> None:
    """Refuses what cannot be linked to, and what the source's next run might find.

    Args:
        folder: Where videos are to go; it need not be there.
        videos: Those that were judged.
        how: How they are to be put there.

    Raises:
        ExportError: One of them is an object and is to be linked to, or lies in the folder, or the
            folder in one that was searched for them.
    """
    chosen = folder.resolve()
    resolved: dict[Path, Path] = {}
    for video in videos:
        if is_object_url(video.path):
            if how == "link":
                raise ExportError(
                    f"{video.path} is in an object storage, and no link leads there; "
                    "--copy downloads the videos"
                )
            continue
        searched = _searched_folder(video)
        home = searched or Path(video.path).parent
        if home not in resolved:
            resolved[home] = home.resolve()
        if resolved[home].is_relative_to(chosen):
            problem = f"holds the videos that were judged, in {home}"
        elif searched and chosen.is_relative_to(resolved[home]):
            problem = f"lies in {home}, where the videos that were judged were found"
        else:
            continue
        raise ExportError(f"{folder} {problem}; choose another folder for --link or --copy")


def placed_name(video: JudgedVideo) -> str:
    """A video's path in the folder: its day, then the path of its sample in the source.

    A sample of a JSONL has no such path; there it is the file's own name with digits of its
    fingerprint. Videos of one day with the same name have equal content, then, or are of one
    sample.
    """
    relative = _relative_path(video.path, video.sample_id)
    if relative is None:
        relative = _with_digits(Path(video.path), video.video_id[:ID_DIGITS])
    day = video.date.isoformat()
    return relative if relative.startswith(f"{day}/") else f"{day}/{relative}"


def _is_link_to(target: Path, video: JudgedVideo) -> bool:
    """Whether a link leads to the video, or to another file with its content."""
    if str(target.readlink()) == video.path:
        return True
    try:
        ensure_unchanged(str(target), video.video_id, None)
    except VideoLostError:
        return False
    return True


def _relative_path(path: str, sample_id: str) -> str | None:
    """The end of the path that the sample id is; None if it is none."""
    shown = sample_id.removesuffix(NOT_UTF8)
    parts = path.split("/")[-shown.count("/") - 1 :]
    relative = "/".join(parts)
    is_safe = all(part not in ("", ".", "..") for part in parts)
    return relative if is_safe and VideoReference(relative).text == shown else None


def _searched_folder(video: JudgedVideo) -> Path | None:
    """The folder that the day's videos were looked for in; None if a JSONL named the video."""
    relative = _relative_path(video.path, video.sample_id)
    if relative is None:
        return None
    source = Path(video.path.removesuffix(relative))
    day = video.date.isoformat()
    return source / day if relative.startswith(f"{day}/") else source


def _with_digits(path: Path, digits: str) -> str:
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= MAX_SUFFIX_BYTES else ""
    ending = f"-{digits}{suffix}"
    stem = path.name.removesuffix(suffix)
    while stem and len(os.fsencode(stem + ending)) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return stem + ending
