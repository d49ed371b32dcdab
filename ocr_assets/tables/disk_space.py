"""Whether there is room for what is about to be written."""

import errno
import shutil
from pathlib import Path


class NoSpaceError(OSError):
    """A file system has less room than is needed; nothing was written yet."""

    def __str__(self) -> str:
        """The sentence alone, without the number."""
        return str(self.strerror)


def ensure_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Asks the file system of a folder for its free space.

    Args:
        folder: Where the bytes are to go; it need not exist yet.
        needed_bytes: How many there will be, as far as is known.
        what: What they are, for the message: `the frames of 2026-01-31`.

    Raises:
        NoSpaceError: Fewer are free for the user that runs this.
    """
    # resolve(): the folder may be a link to another file system.
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise NoSpaceError(
            errno.ENOSPC,
            f"{what} may take {_size(needed_bytes)} and the file system of {folder} has "
            f"{_size(free_bytes)} free; it takes {_size(needed_bytes - free_bytes)} more",
        )


def _size(count: int) -> str:
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.1f} MiB"
