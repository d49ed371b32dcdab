"""Which samples a day has in an object storage: the same as in a folder, from its listing."""

from __future__ import annotations

import datetime as dt
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias

from ocr_assets.object_storage import is_object_url
from ocr_assets.object_storage_errors import (
    ImpossibleNameError,
    again_if_cut_short,
    of_object,
)
from ocr_assets.reasons import Fault, Status
from ocr_assets.video.listing import (
    OUTSIDE,
    VIDEO_SUFFIXES,
    Sample,
    VideoReference,
    jsonl_samples,
    why_no_path,
)
from ocr_assets.video.object_file import ObjectFile
from ocr_assets.video.object_url import joined, lies_in
from ocr_assets.video.object_version import ObjectVersion, locate
from ocr_assets.video.source_file import Storage

# A path, and the object there, or what is wrong with the folder there.
Listed: TypeAlias = tuple[str, ObjectVersion | Fault]


@dataclass(frozen=True)
class ObjectFolder:
    """A place in an object storage.

    Attributes:
        url: Without a slash at its end.
        storage: How to get there.
    """

    url: str
    storage: Storage

    def samples(
        self,
        root: str,
        *,
        recursive: bool = True,
        modified_on: dt.date | None = None,
        within_seconds: float | None = None,
    ) -> Iterator[Sample] | None:
        """One sample per video below it, in the order in which a folder's are; None without any.

        An object counts as a video by its ending alone, since looking into it costs a request.
        What a folder hides is hidden here: names that begin with a dot. The day's names are in
        memory, since a listing need not be in that order. What is deeper is listed in any case, a
        thousand objects with each request. A folder in it that holds an impossible name is given
        with an error, as one of a disk is that cannot be listed.

        Args:
            root: The source; sample ids are relative to it.
            recursive: Whether what lies deeper is listed too.
            modified_on: Only objects last modified on this day (UTC).
            within_seconds: How long it may take; None for as long as it takes.

        Returns:
            The samples; None if there is no object at all, be it a video or not.

        Raises:
            OSError: It cannot be listed.
            TimeoutError: It took too long; an OSError, too.
        """

        def samples_of(objects: Callable[[], Iterator[Listed]]) -> Iterator[Sample] | None:
            # If need be from the beginning, as the order is not always the same.
            return again_if_cut_short(
                lambda: self._samples(objects(), root, recursive, modified_on, within_seconds)
            )

        try:
            return samples_of(self._objects)
        except ImpossibleNameError:
            return samples_of(lambda: self._objects_by_folder(recursive))

    def names(self) -> list[str]:
        """What is directly in it: objects, and folders with a slash at the end.

        Raises:
            OSError: It cannot be listed.
        """
        store, key = locate(self.url, self.storage)

        import obstore
        from obstore.exceptions import BaseError

        try:
            listed = obstore.list_with_delimiter(store, key or None)
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise of_object(error, self.url) from None
        objects = [PurePosixPath(meta["path"]).name for meta in listed["objects"]]
        folders = [f"{PurePosixPath(path).name}/" for path in listed["common_prefixes"]]
        return sorted([*objects, *folders])

    def is_empty(self) -> bool:
        """Whether there is no object below it.

        Raises:
            OSError: It cannot be listed.
        """
        return next(self._objects(), None) is None

    def _samples(
        self,
        objects: Iterator[Listed],
        root: str,
        recursive: bool,
        modified_on: dt.date | None,
        within_seconds: float | None,
    ) -> Iterator[Sample] | None:
        ends = None if within_seconds is None else time.monotonic() + within_seconds
        found: list[Listed] = []
        folders: set[str] = set()
        is_there = False
        for name, version in objects:
            is_there = True
            if ends is not None and time.monotonic() > ends:
                raise TimeoutError(
                    f"it has more objects than can be listed in {within_seconds:g} seconds"
                )
            *above, last = name.split("/")
            folders |= {"/".join(above[:depth]) for depth in range(1, len(above) + 1)}
            if any(part.startswith(".") for part in (*above, last)) or (above and not recursive):
                continue
            if isinstance(version, Fault):
                found.append((name, version))
                continue
            if PurePosixPath(last).suffix.lower() not in VIDEO_SUFFIXES:
                continue
            modified = dt.datetime.fromtimestamp(version.last_modified, tz=dt.UTC).date()
            if modified_on is None or modified == modified_on:
                found.append((name, version))
        if not is_there:
            return None
        # An object without bytes that stands for a folder, as consoles and tools make them.
        found = [
            (name, version)
            for name, version in found
            if isinstance(version, Fault) or version.size or name not in folders
        ]
        found.sort(key=lambda one: one[0].split("/"))
        beginning = self.url.removeprefix(root).lstrip("/")
        return (
            Sample(
                f"{beginning}/{name}" if beginning else name,
                (
                    VideoReference(f"{self.url}/{name}", version)
                    if isinstance(version, Fault)
                    else VideoReference(f"{self.url}/{name}", version=version),
                ),
            )
            for name, version in found
        )

    def _objects(self) -> Iterator[Listed]:
        """All below it: their paths from here on."""
        store, key = locate(self.url, self.storage)

        import obstore
        from obstore.exceptions import BaseError

        above = len(key) + 1 if key else 0
        try:
            for page in obstore.list(store, key or None, chunk_size=1000):
                for meta in page:
                    if len(meta["path"]) > above:  # not what stands for the folder itself
                        yield meta["path"][above:], ObjectVersion.of(meta)
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise of_object(error, self.url) from None

    def _objects_by_folder(self, recursive: bool) -> Iterator[Listed]:
        """The same with a request for each folder, of which each may fail by itself.

        Raises:
            ImpossibleNameError: The name is directly in it, and nothing else of it can be had.
        """
        store, key = locate(self.url, self.storage)

        import obstore
        from obstore.exceptions import BaseError

        above = len(key) + 1 if key else 0
        pending = [key]
        while pending:
            folder = pending.pop()
            try:
                listed = obstore.list_with_delimiter(store, folder or None)
            except (BaseError, FileNotFoundError, ValueError) as error:
                known = of_object(error, f"{self.url}/{folder[above:]}".rstrip("/"))
                if folder == key or not isinstance(known, ImpossibleNameError):
                    raise known from None
                yield folder[above:], Fault(Status.UNREADABLE, known.problem.what)
                continue
            for meta in listed["objects"]:
                if len(meta["path"]) > above:
                    yield meta["path"][above:], ObjectVersion.of(meta)
            pending += listed["common_prefixes"] if recursive else []


def object_jsonl_samples(
    url: str, root: str, storage: Storage, *, allow_outside_root: bool = False
) -> Iterator[Sample]:
    """One sample per line of a Data-Juicer dataset that is an object.

    Its videos are objects: paths relative to it, or URLs.

    Args:
        url: The JSONL file.
        root: The source, which the videos must lie in.
        storage: How to get there.
        allow_outside_root: Whether they may lie elsewhere, in other buckets even.

    Raises:
        OSError: The file cannot be read.
    """
    folder = url.rpartition("/")[0]

    def refer(text: str) -> VideoReference:
        if (fault := why_no_path(text)) is not None:
            return VideoReference(text, fault)
        if ("://" in text and not is_object_url(text)) or text.startswith("/"):
            problem = "it is neither the URL of an object nor a path relative to the JSONL"
            return VideoReference(text, Fault(Status.BAD_SAMPLE, problem))
        place = joined(folder, text)
        if place is None:
            return VideoReference(text, OUTSIDE)
        if place == folder or text.endswith("/"):
            return VideoReference(place, Fault(Status.NOT_A_FILE, "it is a folder"))
        is_allowed = allow_outside_root or lies_in(root, place)
        return VideoReference(place, None if is_allowed else OUTSIDE)

    with io.BufferedReader(ObjectFile(url, storage).open_raw(), 2**20) as lines:
        yield from jsonl_samples(lines, PurePosixPath(url).name, refer)
