"""Where the videos of a day come from."""

import datetime as dt
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import ConfigDict, Field, field_validator

from ocr_assets.object_storage import (
    StorageOptions,
    StorageOptionsError,
    is_in_object_storage,
    is_object_url,
)
from ocr_assets.object_storage_errors import ObjectStorageError
from ocr_assets.settings import Layout
from ocr_assets.video.listing import Sample, list_folder, read_jsonl
from ocr_assets.video.object_listing import ObjectFolder, object_jsonl_samples
from ocr_assets.video.object_version import current_version
from ocr_assets.video.source_file import ObjectIdentity, Storage
from ocr_assets.video.source_state import SourceState, source_state

# The keys of metadata that say what a day was made from.
SOURCE = "source"
SOURCE_FINGERPRINT = "source_fingerprint"


class SourceMissingError(LookupError):
    """The source has nothing for the day: no folder, no file."""


class VideoSource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Lists the samples of a day."""

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be a secret that is refused

    root: str = Field(
        default="videos",
        min_length=1,
        description=(
            "The folder that holds the videos, or its URL in an object storage: "
            "`s3://bucket/prefix`, `gs://...` or `az://...`."
        ),
    )
    layout: Layout = Field(
        default="auto",
        description=(
            "How the root tells the days apart. `day_folder`: `<root>/<YYYY-MM-DD>/**`. `jsonl`: "
            "`<root>/<YYYY-MM-DD>.jsonl`, in Data-Juicer's form. `auto`: the JSONL if the day has "
            "one, else the day's folder. `modified_date`: `<root>/*`, by the day each file was "
            "last modified (UTC). `whole_folder`: `<root>/**`, all of it on whichever day is "
            "asked for."
        ),
    )
    allow_outside_source: bool = Field(
        default=False,
        description="Whether links and paths in a JSONL may lead to files outside the root.",
    )
    storage_options: dict[str, str] = Field(
        default={},
        description=(
            "How an object storage is reached: `aws_endpoint_url`, `aws_region`, "
            "`aws_allow_http`, `timeout`, `max_retries`, `retry_timeout` and so on. No "
            "credentials: those are taken from the environment, AWS_ACCESS_KEY_ID for example."
        ),
    )
    object_identity: ObjectIdentity = Field(
        default="version",
        description=(
            "What makes two objects one video. `version`: URL, size and e_tag, so that no object "
            "is read whole for it and copies are sampled each by themselves. `content`: every new "
            "object is read whole; its `video_id` is then that of a file with the same content."
        ),
    )

    @field_validator("root")
    @classmethod
    def _is_addressable(cls, root: str) -> str:
        is_in_object_storage(root)
        return root

    @field_validator("storage_options")
    @classmethod
    def _make_sense(cls, options: dict[str, str]) -> dict[str, str]:
        StorageOptions.of(options, "video_source")
        return options

    def samples(self, date: dt.date, within_seconds: float | None = None) -> Iterator[Sample]:
        """The samples of one day, in an order that is the same on every run.

        Args:
            date: The day.
            within_seconds: How long it may take to list an object storage; None for as long as it
                takes.

        Raises:
            SourceMissingError: There is no such root, or nothing in it that stands for the day. A
                folder or file for the day that is empty is a day without samples.
            OSError: It cannot be listed.
        """
        if self.is_in_object_storage:
            return self._objects(date, within_seconds)
        root = self.absolute_root
        if not root.is_dir():
            raise SourceMissingError(f"the source {root} is not a folder")
        allow = self.allow_outside_source
        folder = root / date.isoformat()
        jsonl = self._jsonl(date)
        if jsonl is not None:
            return read_jsonl(jsonl, root, allow_outside_root=allow)
        if self.layout in ("day_folder", "auto") and folder.is_dir():
            return list_folder(root, folder, allow_outside_root=allow)
        if self.layout == "modified_date":
            return list_folder(
                root, root, recursive=False, modified_on=date, allow_outside_root=allow
            )
        if self.layout == "whole_folder":
            return list_folder(root, root, allow_outside_root=allow)
        raise SourceMissingError(self._has_no(date))

    @property
    def is_in_object_storage(self) -> bool:
        """Whether the root is a URL."""
        return is_object_url(self.root)

    @property
    def absolute_root(self) -> Path:
        """The folder that holds the videos, where it is one."""
        return Path(self.root).expanduser().absolute()

    @property
    def place(self) -> str:
        """The folder or the URL that holds the videos."""
        return self.root.rstrip("/") if self.is_in_object_storage else str(self.absolute_root)

    @property
    def identity(self) -> str:
        """Which source this is; the states of two sources have nothing to do with each other."""
        return f"{self.layout} {self.place}"

    def storage(self) -> Storage:
        """How videos that are objects are reached."""
        options = StorageOptions.of(self.storage_options, "video_source")
        return Storage(options, self.object_identity)

    def state(self, date: dt.date, within_seconds: float | None = None) -> SourceState:
        """What one day's samples are now, to be compared with what they are later.

        Args:
            date: The day.
            within_seconds: How long it may take; None for as long as it takes.

        Raises:
            SourceMissingError: As `samples` does.
            OSError: They cannot be listed.
            TimeoutError: It took too long; an OSError, too.
        """
        samples = self.samples(date, within_seconds)
        return source_state(samples, self._listed_at(date), within_seconds)

    def why_not_there(self) -> str | None:
        """Why there is nothing to be found at all; None if there is something."""
        try:
            if self.is_in_object_storage:
                is_empty = ObjectFolder(self.place, self.storage()).is_empty()
            elif not self.absolute_root.is_dir():
                return f"the source {self.place} is not a folder"
            else:
                with os.scandir(self.absolute_root) as entries:
                    is_empty = not any(True for _ in entries)
        except ObjectStorageError as error:
            return f"the source {error}"
        except StorageOptionsError as error:
            return str(error)
        except OSError as error:
            return f"the source {self.place} cannot be looked at: {error.strerror}"
        # Most likely a disk that is not mounted, and not days that all lost their videos.
        return f"the source {self.place} is empty" if is_empty else None

    def names(self) -> list[str]:
        """What is directly in the root: files, and folders with a slash at the end.

        Raises:
            OSError: It cannot be listed.
        """
        if self.is_in_object_storage:
            return ObjectFolder(self.place, self.storage()).names()
        return sorted(
            f"{path.name}/" if path.is_dir() else path.name for path in self.absolute_root.iterdir()
        )

    def _objects(self, date: dt.date, within_seconds: float | None) -> Iterator[Sample]:
        root, storage = self.place, self.storage()
        try:
            if self._jsonl_modified(date) is not None:
                return object_jsonl_samples(
                    self._jsonl_url(date),
                    root,
                    storage,
                    allow_outside_root=self.allow_outside_source,
                )
            samples = None
            if self.layout in ("day_folder", "auto"):
                folder = ObjectFolder(f"{root}/{date}", storage)
                samples = folder.samples(root, within_seconds=within_seconds)
            elif self.layout == "modified_date":
                samples = ObjectFolder(root, storage).samples(
                    root, recursive=False, modified_on=date, within_seconds=within_seconds
                )
            elif self.layout == "whole_folder":
                samples = ObjectFolder(root, storage).samples(root, within_seconds=within_seconds)
        except FileNotFoundError as error:
            raise SourceMissingError(f"the source {root}: {error.strerror}") from error
        except ObjectStorageError:
            raise
        except OSError as error:
            problem = f"the source cannot be listed: {error.strerror or error}"
            raise OSError(error.errno or errno.ETIMEDOUT, problem, root) from error
        if samples is None:
            raise SourceMissingError(self._has_no(date))
        return samples

    def _has_no(self, date: dt.date) -> str:
        wanted = {
            "jsonl": f"{date}.jsonl",
            "day_folder": f"{date}/",
            "auto": f"{date}.jsonl or {date}/",
        }.get(self.layout, "objects")
        return f"the source {self.place} has no {wanted}"

    def _jsonl(self, date: dt.date) -> Path | None:
        """The file that lists the day's samples, if one does."""
        jsonl = self.absolute_root / f"{date.isoformat()}.jsonl"
        return jsonl if self.layout in ("jsonl", "auto") and jsonl.is_file() else None

    def _jsonl_url(self, date: dt.date) -> str:
        return f"{self.place}/{date}.jsonl"

    def _jsonl_modified(self, date: dt.date) -> float | None:
        """When the object that lists the day's samples was last modified, if there is one."""
        if self.layout not in ("jsonl", "auto"):
            return None
        try:
            return current_version(self._jsonl_url(date), self.storage()).last_modified
        except FileNotFoundError:
            return None

    def _listed_at(self, date: dt.date) -> float | None:
        if self.is_in_object_storage:
            return self._jsonl_modified(date)
        jsonl = self._jsonl(date)
        return None if jsonl is None else jsonl.stat().st_mtime
