"""The files of videos, as long as they are those that were judged."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ocr_assets.video.fingerprint import content_digest
from ocr_assets.video.source_file import file_state

CHUNK_BYTES = 2**20


class VideoLostError(Exception):
    """A file is not there any more, or is not the one that was judged; the message names it."""


def content(path: str, video_id: str) -> Iterator[bytes]:
    """The content of a video, piece by piece.

    Whether it is the one that was judged is known after the last piece, so whoever writes it
    somewhere gives it its name only then.

    Args:
        path: The file.
        video_id: Its fingerprint when it was judged.

    Raises:
        VideoLostError: It cannot be read, or its content is another one.
    """
    digest = content_digest()
    try:
        # Not to wait for the other end of a pipe that has taken the file's place.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - of a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise VideoLostError(f"{path} is not a file any more")
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
    except OSError as error:
        raise VideoLostError(f"{path} cannot be read: {error.strerror}") from error
    if digest.hexdigest() != video_id:
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
    for _ in content(path, video_id):
        pass
