"""Replacing a file as a whole or not at all."""

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from ocr_assets.tables.durable import make_folder, sync

FORGOTTEN_SECONDS = 7 * 86_400.0


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path to write a file to that takes the place of `path` when the block ends without error.

    Its name begins with a dot, which Delta and our own readers pass over.
    """
    make_folder(path.parent)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[TextIO]:
    """A text file to write to that takes the place of `path` in the same way.

    What a killed process left of the same file goes when it is a week old.
    """
    remove_older(path.parent.glob(f".{path.name}.*"), time.time() - FORGOTTEN_SECONDS)
    with replaced(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        yield file


def remove_older(paths: Iterable[Path], before: float) -> None:
    """Removes files and folders last written before a time, in seconds since the epoch."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # its writer has just finished with it
            if path.stat().st_mtime >= before:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
