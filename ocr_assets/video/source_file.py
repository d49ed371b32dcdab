"""A video as bytes that can be read: a file, or an object in an object storage.

```python
source = source_file("s3://videos/2026-01-31/clip.mp4", Storage())
with source.open() as file:
    print(source.size, file.read(16))
```
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from ocr_assets.object_storage import StorageOptions, is_object_url
from ocr_assets.video.fingerprint import fingerprint

ObjectIdentity = Literal["version", "content"]

# A file may change again within one tick of its file system's clock, and look the same.
SETTLED_SECONDS = 2


@dataclass(frozen=True)
class Storage:
    """How videos that are objects are reached, and told from each other.

    Attributes:
        options: As `open_store` takes them.
        identity: `version`: an object's id is made from its URL, size and e_tag. `content`: it is
            read whole, and has the id that a file with its content has.
    """

    options: StorageOptions = field(default_factory=StorageOptions)
    identity: ObjectIdentity = "version"


class SourceFile(ABC):
    """A file or an object, for as long as somebody works on it.

    Attributes:
        path: Its path, or its URL.
        is_far: Whether reading costs so much more than decoding that little of it should be read.
    """

    is_far = False

    def __init__(self, path: str) -> None:
        """Opens nothing yet."""
        self.path = path

    @property
    @abstractmethod
    def size(self) -> int:
        """Its size in bytes.

        Raises:
            OSError: It is not there, or cannot be asked.
        """

    @property
    def reads_whole(self) -> bool:
        """Whether `identify` reads all of it."""
        return True

    @abstractmethod
    def open(self) -> BinaryIO:
        """Its bytes, from the first on.

        Raises:
            OSError: It cannot be read; also while it is being read.
        """

    @abstractmethod
    def identify(self) -> tuple[str, str | None]:
        """Its `video_id`, and what changes whenever the content does.

        The latter is None if the content may be another one already.

        Raises:
            OSError: It cannot be read.
        """

    def ensure_unchanged(self, state: str) -> None:  # noqa: B027 - it would take reading a file
        """Refuses an object that is not the version that it was.

        Args:
            state: What `identify` said of it then.

        Raises:
            OSError: It is another one, or cannot be read.
        """

    @abstractmethod
    def for_decoder(self) -> str | BinaryIO:
        """What PyAV opens. The file's errors are then told by `raise_read_error`."""

    def raise_read_error(self) -> None:  # noqa: B027 - FFmpeg itself tells it of a file
        """Raises what went wrong while a decoder was reading.

        A decoder takes it for the end of the file, so it is asked for before anything that the
        decoder has said is believed.

        Raises:
            OSError: That is what went wrong.
        """


class LocalFile(SourceFile):
    """A file in a file system."""

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return Path(self.path).stat().st_size

    def open(self) -> BinaryIO:
        """Its bytes, from the first on."""
        return Path(self.path).open("rb")

    def identify(self) -> tuple[str, str | None]:
        """The fingerprint of its content, and its place, size and times."""
        before = Path(self.path).stat()
        video_id = fingerprint(self.path)
        return video_id, _settled_state(before, Path(self.path).stat())

    def for_decoder(self) -> str | BinaryIO:
        """Its path."""
        return str(Path(self.path).absolute())  # "a:b.mp4" would be taken for a protocol


def source_file(path: str | Path, storage: Storage | None = None) -> SourceFile:
    """A path or a URL as something that can be read; nothing is opened yet."""
    if is_object_url(str(path)):
        from ocr_assets.video.object_file import ObjectFile

        return ObjectFile(str(path), storage or Storage())
    return LocalFile(str(path))


def as_source(video: str | Path | SourceFile) -> SourceFile:
    """The same, for what may be one already."""
    return video if isinstance(video, SourceFile) else source_file(video)


def file_state(status: os.stat_result) -> str:
    """What changes whenever a file's content does: place, size and times.

    The time of the last change of its inode cannot be set back, unlike that of the content.
    """
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(map(str, numbers))


def _settled_state(before: os.stat_result, after: os.stat_result) -> str | None:
    changed = max(after.st_mtime, after.st_ctime)
    is_settled = file_state(before) == file_state(after) and time.time() - changed > SETTLED_SECONDS
    return file_state(after) if is_settled else None
