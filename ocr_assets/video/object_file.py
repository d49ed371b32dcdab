"""A video in an object storage, read by ranges."""

from __future__ import annotations

import errno
import hashlib
import io
from collections import OrderedDict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ocr_assets.object_storage import ensure_installed
from ocr_assets.object_storage_errors import again_if_cut_short, of_object
from ocr_assets.video.fingerprint import content_digest
from ocr_assets.video.object_version import ObjectVersion, current_version, locate
from ocr_assets.video.source_file import SourceFile, Storage

if TYPE_CHECKING:
    from obstore.store import ObjectStore

KIB = 1024
# A range that does not follow the one before is this long: with a request's latency of some tens
# of milliseconds, more would take longer than the request itself. It doubles for as long as
# reading goes on where it was.
LEAST_BYTES = 256 * KIB
MOST_BYTES = 4096 * KIB
# Decoders go back a little now and then.
ALIGNMENT = 64 * KIB
# What was read last stays, for a file that is opened again and for interleaved reads.
KEPT_BYTES = 12 * 1024 * KIB


class ObjectFile(SourceFile):
    """An object, pinned to the version that the first answer was of.

    Its bytes are kept for a while, so that opening it a second time costs nothing.
    """

    is_far = True

    def __init__(self, url: str, storage: Storage) -> None:
        """Asks for nothing yet.

        Args:
            url: Where it is.
            storage: How to get there.
        """
        super().__init__(url)
        self._storage = storage
        self._place: tuple[ObjectStore, str] | None = None
        self._version: ObjectVersion | None = None
        self._ranges: OrderedDict[int, memoryview] = OrderedDict()  # by their first byte
        self._expected = -1  # where the last range ended
        self._next_bytes = LEAST_BYTES
        self._read_error: Exception | None = None

    @property
    def version(self) -> ObjectVersion:
        """The version that is read.

        Raises:
            OSError: It is not there, or cannot be read.
        """
        if self._version is None:
            try:
                self._read_range(0, LEAST_BYTES)
            except _EmptyError:
                self._version = current_version(self.path, self._storage)
        assert self._version is not None
        return self._version

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.version.size

    @property
    def reads_whole(self) -> bool:
        """Whether its identity is that of its content."""
        return self._storage.identity == "content" or self.version.video_id(self.path) is None

    def open(self) -> BinaryIO:
        """Its bytes, from the first on."""
        return cast("BinaryIO", self.open_raw())

    def open_raw(self) -> _ObjectReader:
        """The same, by the type that a buffer takes."""
        self.version  # noqa: B018 - says now whether it is there
        return _ObjectReader(self)

    def identify(self) -> tuple[str, str | None]:
        """An id of its version or of its content, and its version's state."""
        video_id = None if self.reads_whole else self.version.video_id(self.path)
        if video_id is None:
            with self.open_raw() as file:
                video_id = hashlib.file_digest(file, content_digest).hexdigest()
        return video_id, self.version.state(self._storage.identity)

    def ensure_unchanged(self, state: str) -> None:
        """Refuses it if it is not the version that it was, whatever its identity was made by."""
        if state not in (self.version.state("version"), self.version.state("content")):
            raise OSError(errno.ESTALE, "it was changed in the storage since it was listed")

    def for_decoder(self) -> str | BinaryIO:
        """Its bytes, with errors as the end of the file."""
        return cast("BinaryIO", _DecoderInput(self))

    def raise_read_error(self) -> None:
        """Raises what went wrong while a decoder was reading."""
        if self._read_error is not None:
            raise self._read_error

    def note_read_error(self, error: Exception) -> None:
        """Keeps what a decoder must not see."""
        self._read_error = self._read_error or error

    @property
    def has_read_error(self) -> bool:
        """Whether something went wrong while a decoder was reading."""
        return self._read_error is not None

    def read_at(self, position: int, most: int) -> bytes:
        """Some of its bytes; none at the end.

        Args:
            position: From where on.
            most: At most so many.

        Raises:
            OSError: They cannot be read, or the object is another one now.
        """
        if position >= self.size or most <= 0:
            return b""
        for start, data in self._ranges.items():
            if start <= position < start + len(data):
                self._ranges.move_to_end(start)
                return bytes(data[position - start : position - start + most])
        is_next = position == self._expected
        self._next_bytes = min(2 * self._next_bytes, MOST_BYTES) if is_next else LEAST_BYTES
        first = position if is_next else position - position % ALIGNMENT
        last = first + self._next_bytes
        # What is there already is not read again.
        last = min((start for start in self._ranges if position < start < last), default=last)
        data = self._read_range(first, min(last, self.size))
        return bytes(data[position - first : position - first + most])

    def _read_range(self, first: int, end: int) -> memoryview:
        data, version = again_if_cut_short(lambda: self._get(first, end))
        if self._version is None:
            self._version = version
        elif not self._version.is_same(version):
            raise OSError(errno.ESTALE, "it was changed in the storage while it was being read")
        if len(data) != min(end, version.size) - first:
            raise OSError(errno.EIO, "the storage gave less of it than it has")
        self._expected = first + len(data)
        self._ranges[first] = data
        while len(self._ranges) > 1 and sum(map(len, self._ranges.values())) > KEPT_BYTES:
            self._ranges.popitem(last=False)
        return data

    def _get(self, first: int, end: int) -> tuple[memoryview, ObjectVersion]:
        ensure_installed(self.path)
        import obstore
        from obstore.exceptions import BaseError

        try:
            self._place = self._place or locate(self.path, self._storage)
            store, key = self._place
            answer = obstore.get(store, key, options={"range": (first, end)})
            return memoryview(answer.bytes()), ObjectVersion.of(answer.meta)
        except (BaseError, FileNotFoundError, ValueError) as error:
            if self._version is None and "416 " in str(error):
                raise _EmptyError from None
            raise of_object(error, self.path) from None


class _EmptyError(Exception):
    """Of an object without bytes there is no range."""


class _ObjectReader(io.RawIOBase):
    """A position in an object."""

    def __init__(self, source: ObjectFile) -> None:
        self._source = source
        self._position = 0
        # FFmpeg guesses formats by the name, too.
        self.name = PurePosixPath(source.path).name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}
        if base[whence] + offset < 0:
            raise OSError(errno.EINVAL, "a position before the beginning")
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._source.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class _DecoderInput(_ObjectReader):
    """The same for a decoder, which would take an error for one of the file.

    Nor may PyAV see it: it keeps exceptions of a reader for whatever call comes next.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except Exception as error:
            self._source.note_read_error(error)
            return -1

    def read(self, most: int = -1) -> bytes:
        if self._source.has_read_error:
            return b""
        try:
            data = self._source.read_at(self._position, most)
        except Exception as error:
            self._source.note_read_error(error)
            return b""
        self._position += len(data)
        return data
