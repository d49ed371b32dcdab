"""A folder of tables in an object storage."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from ocr_assets.object_storage import StorageOptions, ensure_installed, open_store
from ocr_assets.object_storage_errors import ObjectStorageError, as_object_storage_errors
from ocr_assets.tables.folder import Content, EnsureHeld, Entry, Folder
from ocr_assets.tables.lease import days_leased

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore

CHUNK_BYTES = 16 * 2**20  # what is larger is uploaded in pieces of this size
REMOVED_AT_ONCE = 1_000
REMOVAL_ATTEMPTS = 3
LISTING_ATTEMPTS = 3


@dataclass(frozen=True)
class Tagged:
    """An object and which version of it this is."""

    text: str
    tag: UpdateVersion


@dataclass(frozen=True)
class ObjectFolder(Folder):
    """The objects below a URL. An object is there as a whole or not at all, and there for good.

    Attributes:
        url: Where they are, without a slash at its end.
        given: What else has to be known.
    """

    url: str
    given: StorageOptions

    @classmethod
    def at(cls, url: str, options: Mapping[str, str]) -> Self:
        """The folder at a URL.

        Args:
            url: `s3://bucket/prefix`.
            options: As deltalake takes them.

        Raises:
            ValueError: Delta cannot address it.
            StorageOptionsError: As `StorageOptions.of` does; a ValueError, too.
            ObjectStorageUnavailableError: The package for it is not installed.
        """
        ensure_installed(url)
        path = urllib.parse.urlsplit(url).path
        if urllib.parse.quote(path, safe="/=~._-") != path:
            raise ValueError(
                f"{url} is not of the form s3://bucket/prefix, with a prefix of letters of ASCII, "
                "digits and / = ~ . _ - alone: Delta does not find what has others in its URL"
            )
        return cls(url.rstrip("/"), StorageOptions.of(options, "tables"))

    @property
    def uri(self) -> str:
        """Its URL."""
        return self.url

    @property
    def options(self) -> dict[str, str] | None:
        """See `Folder`."""
        return self.given.for_deltalake()

    @property
    def scan_options(self) -> dict[str, Any] | None:
        """See `Folder`."""
        return self.given.for_polars()

    def within(self, name: str) -> Self:
        """See `Folder`."""
        return type(self)(f"{self.url}/{name}", self.given)

    def impatient(self, seconds: float) -> Self:
        """The same with requests that take little more than so long, with all repetitions."""
        return type(self)(self.url, self.given.within(seconds))

    def make(self) -> None:
        """There is nothing to be made."""

    def settle(self, log: str, since: int) -> None:
        """What was put is there for good."""

    @contextlib.contextmanager
    def replaced(self, name: str) -> Iterator[Path]:
        """See `Folder`."""
        import obstore

        with tempfile.TemporaryDirectory(prefix="ocr_assets-") as folder:
            path = Path(folder) / "object"
            yield path
            with self.errors(name):
                obstore.put(self._store, name, path, chunk_size=CHUNK_BYTES)

    @contextlib.contextmanager
    def replaced_text(self, name: str) -> Iterator[TextIO]:
        """See `Folder`."""
        with self.replaced(name) as path, path.open("w", encoding="utf-8") as file:
            yield file

    def read(self, name: str) -> Content | None:
        """See `Folder`."""
        import obstore

        try:
            with self.errors(name):
                found = obstore.get(self._store, name)
                text = bytes(found.bytes()).decode()
        except FileNotFoundError:
            return None
        return Content(text, found.meta["last_modified"].timestamp())

    def entries(self, name: str) -> list[Entry]:
        """See `Folder`."""
        # obstore asks again by itself, but not for an answer that is cut short.
        for _ in range(LISTING_ATTEMPTS - 1):
            try:
                return self._entries(name)
            except ObjectStorageError as error:
                if error.problem.lasting:
                    raise
        return self._entries(name)

    def _entries(self, name: str) -> list[Entry]:
        import obstore

        with self.errors(name):
            return [
                Entry(one["path"].rpartition("/")[2], one["size"], one["last_modified"].timestamp())
                for batch in obstore.list(self._store, name)
                for one in batch
            ]

    def remove(self, names: Iterable[str]) -> None:
        """See `Folder`."""
        left = iter(names)
        while batch := list(itertools.islice(left, REMOVED_AT_ONCE)):
            self._remove(batch)

    def _remove(self, names: list[str]) -> None:
        import obstore

        for attempt in range(REMOVAL_ATTEMPTS):
            try:
                with self.errors(names[0]):
                    obstore.delete(self._store, names)
            except FileNotFoundError:  # storages that mind
                if len(names) > 1:
                    for name in names:
                        self._remove([name])
                return
            except ObjectStorageError as error:  # unlike others this request is not tried again
                if error.problem.lasting or attempt + 1 == REMOVAL_ATTEMPTS:
                    raise
                time.sleep(2.0**attempt)
            else:
                return

    def remove_unfinished(self, log: str, notes: str, before: float) -> None:
        """There is nothing that can be seen; README says what a bucket has to do by itself."""

    def errors(self, name: str = "") -> AbstractContextManager[None]:
        """See `Folder`."""
        return as_object_storage_errors(self.address(name) if name else self.url)

    def ensure_space(self, needed_bytes: int, what: str) -> None:
        """There is room."""

    def days_locked(
        self,
        dates: Sequence[dt.date],
        holder: str,
        *,
        wait_seconds: float,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> AbstractContextManager[EnsureHeld]:
        """See `Folder`."""
        return days_leased(self, dates, holder, wait_seconds=wait_seconds, say=say, warn=warn)

    def tagged(self, name: str) -> Tagged | None:
        """An object with its tag; None if it is not there."""
        import obstore

        try:
            with self.errors(name):
                found = obstore.get(self._store, name)
                text = bytes(found.bytes()).decode()
        except FileNotFoundError:
            return None
        return Tagged(text, _tag(found.meta["e_tag"], found.meta["version"]))

    def put_if(self, name: str, text: str, tag: UpdateVersion | None) -> UpdateVersion | None:
        """Puts an object if it is the version with the tag, or with None, if it is not there.

        Returns:
            The new tag; None if it was not so. Which may also be so where an answer was lost, and
            the request tried again: who has put it, a look at it tells.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode = "create" if tag is None else tag
        try:
            with self.errors(name):
                try:
                    put = obstore.put(self._store, name, text.encode(), mode=mode)  # type: ignore[arg-type]
                except (AlreadyExistsError, PreconditionError):
                    return None
        except FileNotFoundError:
            return None  # it was there when the tag was read
        return _tag(put["e_tag"], put["version"])

    @property
    def _store(self) -> ObjectStore:
        return open_store(self.url, self.given)


def _tag(e_tag: str | None, version: str | None) -> UpdateVersion:
    tag: UpdateVersion = {}
    if e_tag is not None:
        tag["e_tag"] = e_tag
    if version is not None:
        tag["version"] = version
    return tag
