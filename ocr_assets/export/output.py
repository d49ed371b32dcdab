"""Where an export goes: a file or a folder of shards, there as a whole or not at all."""

import contextlib
import glob
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from ocr_assets.export.shards import SHARD_NAME
from ocr_assets.tables.durable import make_folder, sync
from ocr_assets.tables.replace_file import FORGOTTEN_SECONDS, remove_older, replaced

UNFINISHED_DIGITS = "[0-9a-f]" * 32


def why_not(out: Path, *, is_folder: bool, force: bool) -> str | None:
    """Why an output must not be written there; None if it may.

    Args:
        out: The file or the folder.
        is_folder: Whether it is to be a folder of shards.
        force: Whether what is there may be replaced, if it is such an output.
    """
    if not out.exists():
        return None
    if not force:
        return "exists; --force replaces it"
    if is_folder:
        if not out.is_dir():
            return "is not a folder"
        others = [entry.name for entry in out.iterdir() if not re.fullmatch(SHARD_NAME, entry.name)]
        return f"holds {min(others)}, which is no shard, and is not replaced" if others else None
    return None if out.is_file() else "is not a file"


@contextlib.contextmanager
def replaced_file(out: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `out` when the block ends without an error."""
    _remove_forgotten(out)
    with replaced(out) as unfinished:
        yield unfinished


@contextlib.contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """The same for a folder."""
    _remove_forgotten(out)
    make_folder(out.parent)
    unfinished, old = _unfinished(out), _unfinished(out)
    unfinished.mkdir()
    try:
        yield unfinished
        sync(unfinished)
        if out.exists():
            out.rename(old)
        try:
            unfinished.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _unfinished(out: Path) -> Path:
    return out.with_name(f".{out.name}.{uuid.uuid4().hex}")


def _remove_forgotten(out: Path) -> None:
    """What killed exports to the same place have left goes when it is a week old."""
    forgotten = out.parent.glob(f".{glob.escape(out.name)}.{UNFINISHED_DIGITS}")
    remove_older(forgotten, time.time() - FORGOTTEN_SECONDS)
