"""The files of videos, as long as they are those that were judged."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ocr_assets.object_storage import is_object_url
from ocr_assets.object_storage_errors import ObjectStorageFailedError
from ocr_assets.video.fingerprint import content_digest
from ocr_assets.video.object_file import ObjectFile
from ocr_assets.video.source_file import Storage, file_state

CHUNK_BYTES = 2**20


class VideoLostError(Exception):
    """A file is not there any more, or is not the one that was judged; the message names it."""


def content(path: str, video_id: str, storage: Storage) -> Iterator[bytes]:
    """The content of a video, piece by piece.

    Whether it is the one that was judged is known after the last piece, so whoever writes it
    somewhere gives it its name only then.

    Args:
        path: The file or the object.
        video_id: Its fingerprint when it was judged, or that of the object's version.
        storage: How objects are reached.

    Raises:
        VideoLostError: It cannot be read, or its content is another one.
        ObjectStorageFailedError: Nor could any other object.
    """
    digest = content_digest()
    is_known = False
    try:
        if is_object_url(path):
            source = ObjectFile(path, storage)
            # Pinned to that version, then; otherwise its content may be what was judged.
            is_known = source.version.video_id(path) == video_id
            pieces = _object_content(source)
        else:
            pieces = _file_content(path)
        for piece in pieces:
            digest.update(piece)
            yield piece
    except ObjectStorageFailedError:
        raise
    except OSError as error:
        raise VideoLostError(f"{path} cannot be read: {error.strerror}") from error
    if not is_known and digest.hexdigest() != video_id:
        raise VideoLostError(f"{path} has changed since it was judged")


def ensure_unchanged(path: str, video_id: str, known_state: str | None) -> None:
    """Reads a video, unless its size, times and inode say that it is as it was.

    Args:
        path: The file.
        video_id: Its fingerprint when it was judged.
        known_state: Its `file_state` then, if it is known.

    Raises:
        VideoLostError: It cannot be read, or its content is another one.
    """
    with contextlib.suppress(OSError):  # reading it says what is wrong
        if known_state is not None and file_state(Path(path).stat()) == known_state:
            return
    for _ in content(path, video_id, Storage()):
        pass


def has_content(target: Path, path: str, video_id: str, storage: Storage) -> bool:
    """Whether a file that is there has the content of a video, which is read if need be.

    Args:
        target: The file.
        path: The video's file or object.
        video_id: Its fingerprint when it was judged, or that of the object's version.
        storage: How objects are reached.

    Raises:
        VideoLostError: The video cannot be read, or its content is another one.
        OSError: The file cannot be read.
    """
    digest = content_digest()
    for piece in _file_content(str(target)):
        digest.update(piece)
    if digest.hexdigest() == video_id:
        return True
    if not is_object_url(path):
        return False
    theirs = content_digest()  # the id may be that of a version, which tells nothing of a file
    for piece in content(path, video_id, storage):
        theirs.update(piece)
    return theirs.digest() == digest.digest()


def _file_content(path: str) -> Iterator[bytes]:
    # Not to wait for the other end of a pipe that has taken the file's place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - of a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise VideoLostError(f"{path} is not a file any more")
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _object_content(source: ObjectFile) -> Iterator[bytes]:
    with source.open() as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
