"""A folder of tables on a file system."""

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from ocr_assets.tables.day_lock import days_locked
from ocr_assets.tables.delta_log import STAGED, sync_log
from ocr_assets.tables.disk_space import ensure_space
from ocr_assets.tables.durable import make_folder, sync
from ocr_assets.tables.folder import Content, EnsureHeld, Entry, Folder
from ocr_assets.tables.replace_file import remove_older, replace_file, replaced
from ocr_assets.tables.storage_errors import as_os_errors


@dataclass(frozen=True)
class LocalFolder(Folder):
    """One of this host, or of a file system that it shares with others.

    Attributes:
        path: Its absolute path.
    """

    path: Path

    @classmethod
    def at(cls, root: str | Path) -> Self:
        """The folder at a path.

        Raises:
            ValueError: Delta cannot address it.
        """
        path = Path(root).expanduser().absolute()
        if "%" in str(path):
            raise ValueError(f"{path} holds a %, which Delta takes for an encoded character")
        return cls(path)

    @property
    def uri(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def options(self) -> dict[str, str] | None:
        """Nothing."""
        return None

    @property
    def scan_options(self) -> dict[str, Any] | None:
        """Nothing."""
        return None

    def within(self, name: str) -> Self:
        """See `Folder`."""
        return type(self)(self.path / name)

    def make(self) -> None:
        """See `Folder`."""
        make_folder(self.path)

    def settle(self, log: str, since: int) -> None:
        """See `Folder`."""
        if since < 0:
            sync(self.path)
        sync_log(self.path / log, since)

    def replaced(self, name: str) -> AbstractContextManager[Path]:
        """See `Folder`."""
        return replaced(self.path / name)

    def replaced_text(self, name: str) -> AbstractContextManager[TextIO]:
        """See `Folder`."""
        return replace_file(self.path / name)

    def read(self, name: str) -> Content | None:
        """See `Folder`."""
        try:
            with (self.path / name).open(encoding="utf-8") as file:
                return Content(file.read(), os.fstat(file.fileno()).st_mtime)
        except FileNotFoundError:
            return None

    def entries(self, name: str) -> list[Entry]:
        """See `Folder`."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path / name) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it is gone again
                    status = entry.stat()
                    found.append(Entry(entry.name, status.st_size, status.st_mtime))
        return found

    def remove(self, names: Iterable[str]) -> None:
        """See `Folder`."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def remove_unfinished(self, log: str, notes: str, before: float) -> None:
        """See `Folder`."""
        remove_older((self.path / notes).glob(".*"), before)
        remove_older((self.path / log).glob(STAGED), before)

    @contextlib.contextmanager
    def errors(self, name: str = "") -> Iterator[None]:
        """See `Folder`."""
        with as_os_errors(self.path / name):
            yield

    def ensure_space(self, needed_bytes: int, what: str) -> None:
        """See `Folder`."""
        ensure_space(self.path, needed_bytes, what)

    @contextlib.contextmanager
    def days_locked(
        self,
        dates: Sequence[dt.date],
        holder: str,
        *,
        wait_seconds: float,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> Iterator[EnsureHeld]:
        """See `Folder`; the lock ends with the process that holds it, so that none is lost."""
        with days_locked(self.path, dates, holder, wait_seconds=wait_seconds, say=say):
            yield lambda date: None
