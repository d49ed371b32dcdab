"""What is on the disk also after the power has failed."""

import errno
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Returns when a file's content, or the names in a folder, are on the disk.

    A new name is only safe when its folder was synced as well.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems keep names safe by themselves and cannot sync a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            error.filename = str(path)
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it that are missing."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    if missing:
        path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)
