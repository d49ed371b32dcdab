"""A folder of tables, wherever it is: what tables need of a disk and of an object storage.

```python
folder = folder_at("s3://bucket/tables", {"aws_region": "eu-central-1"})
with folder.within("numbers").replaced("date=2026-01-31/part.parquet") as path:
    rows.write_parquet(path)
```
"""

from __future__ import annotations

import abc
import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO, TypeAlias

from ocr_assets import settings
from ocr_assets.object_storage import is_in_object_storage

EnsureHeld: TypeAlias = Callable[[dt.date], None]


@dataclass(frozen=True)
class Entry:
    """What is in a folder.

    Attributes:
        name: Its name there.
        size_bytes: Its size.
        modified_at: When it was last written, in seconds since the epoch.
    """

    name: str
    size_bytes: int
    modified_at: float


@dataclass(frozen=True)
class Content:
    """A small file as a whole.

    Attributes:
        text: What is in it.
        modified_at: When it was last written, in seconds since the epoch.
    """

    text: str
    modified_at: float


class Folder(abc.ABC):
    """A place with files, which have names relative to it: `date=2026-01-31/part.parquet`.

    It is a value that can be pickled. All methods raise OSError where the storage fails.
    """

    @property
    @abc.abstractmethod
    def uri(self) -> str:
        """Where it is, as Delta, polars and people take it."""

    @property
    @abc.abstractmethod
    def options(self) -> dict[str, str] | None:
        """What deltalake needs besides; None: nothing."""

    @property
    @abc.abstractmethod
    def scan_options(self) -> dict[str, Any] | None:
        """What polars needs besides; None: nothing."""

    @abc.abstractmethod
    def within(self, name: str) -> Self:
        """A folder in it."""

    def address(self, name: str) -> str:
        """Where a file in it is, as polars and people take it."""
        return f"{self.uri}/{name}"

    @abc.abstractmethod
    def make(self) -> None:
        """Makes the folder, if it has to be."""

    @abc.abstractmethod
    def settle(self, log: str, since: int) -> None:
        """Returns when a table in it has the log's entries after a version for good.

        Args:
            log: The name of the log's folder.
            since: The version.
        """

    @abc.abstractmethod
    def replaced(self, name: str) -> AbstractContextManager[Path]:
        """A path of this host to write to, that becomes the file when the block ends without error.

        Others see the file as it was or as it is then, nothing in between.
        """

    @abc.abstractmethod
    def replaced_text(self, name: str) -> AbstractContextManager[TextIO]:
        """The same, as a text file to write to."""

    @abc.abstractmethod
    def read(self, name: str) -> Content | None:
        """A file; None if it is not there."""

    @abc.abstractmethod
    def entries(self, name: str) -> list[Entry]:
        """The files of a folder in it, in any order; none if it is not there."""

    @abc.abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Removes files, as far as they are there."""

    @abc.abstractmethod
    def remove_unfinished(self, log: str, notes: str, before: float) -> None:
        """Removes what killed processes have left of files that never got their names.

        Args:
            log: The folder of a table's log.
            notes: The folder of its checkpoints.
            before: Only what was last written before, in seconds since the epoch.
        """

    @abc.abstractmethod
    def errors(self, name: str = "") -> AbstractContextManager[None]:
        """Raises errors of the storage that happen in the block as OSError, with what is wrong.

        Args:
            name: What is worked on.
        """

    @abc.abstractmethod
    def ensure_space(self, needed_bytes: int, what: str) -> None:
        """See `disk_space.ensure_space`."""

    @abc.abstractmethod
    def days_locked(
        self,
        dates: Sequence[dt.date],
        holder: str,
        *,
        wait_seconds: float,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> AbstractContextManager[EnsureHeld]:
        """Keeps days of the tables in it for oneself while the block runs.

        In the block there is a function to be called, with a day, before something that relies on
        having it. It raises DayLostError if it is another one's by now, and OSError if the storage
        does not say. Days that were not asked for it passes over.

        Args:
            dates: The days, taken in order, so that two runs cannot wait for each other.
            holder: Who takes them, for people to read: `run 1b2c3d4e`.
            wait_seconds: How long to wait for whoever has one of them.
            say: Takes a message when there is somebody to wait for, and when the waiting is over.
            warn: Takes a message when the days are lost before the block ends.

        Raises:
            DaysLockedError: The message names who has the day.
        """


def folder_at(root: str | Path, options: Mapping[str, str] | None = None) -> Folder:
    """The folder at a path or URL.

    Args:
        root: `data`, or `s3://bucket/prefix`.
        options: What else has to be known of an object storage; of no use for a path.

    Raises:
        ValueError: Delta cannot address it, or it or the options hold what belongs into the
            environment, or make no sense.
        ObjectStorageUnavailableError: The package for an object storage is not installed.
    """
    if is_in_object_storage(str(root)):
        from ocr_assets.tables.object_folder import ObjectFolder

        return ObjectFolder.at(str(root), options or {})
    from ocr_assets.tables.local_folder import LocalFolder

    return LocalFolder.at(root)


def folder_of_code_location(root: str | Path) -> Folder:
    """The same with the options that OCR_ASSETS_TABLES_STORAGE_OPTIONS sets.

    Raises:
        SettingError: The variable is no object of texts.
        ValueError: As for `folder_at`.
    """
    options = settings.fields_set("tables").get("storage_options") or {}
    if not isinstance(options, dict) or not all(isinstance(one, str) for one in options.values()):
        raise settings.SettingError(
            f"{settings.field_prefix('tables')}STORAGE_OPTIONS is not a JSON object of texts, such "
            'as {"aws_region": "eu-central-1"}'
        )
    return folder_at(root, options)
