"""The folder through which processes of one user tell each other of their leases."""

import os
import stat
import warnings
from pathlib import Path

import platformdirs


class StateError(Exception):
    """The folder cannot be used; the message says why and what mends it."""


def default_state_directory() -> Path:
    """`ocr_assets` in the user's runtime folder (`$XDG_RUNTIME_DIR`, `/run/user/<uid>`, ...)."""
    with warnings.catch_warnings():
        # Containers rarely have a runtime folder; the one in /tmp will do, and `doctor` names it.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir("ocr_assets", ensure_exists=False))


def ensure_state_directory(directory: Path) -> None:
    """Makes the folder, with mode 0700, or makes sure that nobody else can write to it.

    Raises:
        StateError: It cannot be made, is not ours, or others may write to it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = directory.lstat()
        above = directory.parent.stat()
    except OSError as error:
        raise StateError(
            f"the state directory {directory} cannot be made: {error.strerror}; set "
            "OCR_ASSETS_STATE to a folder on a local disk that you may write to"
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"the state directory {directory} is a link; name the folder itself")
    if status.st_uid != os.geteuid():
        raise StateError(
            f"the state directory {directory} belongs to user {status.st_uid}, not to "
            f"{os.geteuid()}; set OCR_ASSETS_STATE to a folder of your own"
        )
    if above.st_uid not in (0, os.geteuid()):
        raise StateError(
            f"{directory.parent}, which holds the state directory, belongs to user {above.st_uid}, "
            "who could replace it; set OCR_ASSETS_STATE to a folder of your own"
        )
    if status.st_mode & 0o077:
        raise StateError(
            f"the state directory {directory} is open to other users; `chmod 700 {directory}`"
        )
