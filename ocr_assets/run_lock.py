"""Whether the process of a run lives, as everybody can tell who shares its state folder.

The process keeps a file locked there; see `ocr_assets.gpu.held_file`. Process ids say nothing
across containers, and names of hosts may be those of several.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ocr_assets import settings
from ocr_assets.gpu.held_file import Found, HeldFile, locked, look_at
from ocr_assets.gpu.state_directory import ensure_state_directory

FOLDER, LOCK = "runs", ".lock"
FORGOTTEN_AFTER_SECONDS = 30 * 86_400


@contextlib.contextmanager
def held(run_id: str) -> Iterator[None]:
    """This process is the run's, until the end of the block or its own.

    Raises:
        StateError: The state folder cannot be used.
        OSError: The file cannot be made.
    """
    folder = _folder(make=True)
    with locked(folder / LOCK):
        (folder / run_id).unlink(missing_ok=True)  # of an earlier process of the run
        file = HeldFile(folder / run_id, {"pid": os.getpid()})
    try:
        yield
    finally:
        file.path.unlink(missing_ok=True)
        file.let_go()


def look(run_id: str) -> Found | None:
    """The run's file; None if there is none here, as of a run of another host.

    Raises:
        OSError: It cannot be looked at.
    """
    folder = _folder(make=False)
    if not (folder / run_id).exists():
        return None
    with locked(folder / LOCK):
        try:
            return look_at(folder / run_id)
        except FileNotFoundError:
            return None  # the run has just ended


def left_behind() -> list[str]:
    """The runs of processes that have died, and whose files nobody has deleted yet."""
    folder = _folder(make=False)
    names = [path.name for path in folder.glob("*") if path.name != LOCK]
    return [name for name in names if (found := look(name)) is not None and not found.alive]


def is_old(run_id: str) -> bool:
    """Whether a file that is left behind has been there for a month."""
    return time.time() - (_folder(make=False) / run_id).stat().st_mtime > FORGOTTEN_AFTER_SECONDS


def forget(run_id: str) -> None:
    """Deletes a file that is left behind."""
    (_folder(make=False) / run_id).unlink(missing_ok=True)


def _folder(*, make: bool) -> Path:
    state = Path(settings.state_directory())
    if make:
        ensure_state_directory(state)
        (state / FOLDER).mkdir(mode=0o700, exist_ok=True)
    return state / FOLDER
