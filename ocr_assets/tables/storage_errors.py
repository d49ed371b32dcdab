"""Errors of files as polars and deltalake tell them, and as the operating system does."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from deltalake.exceptions import DeltaError

from ocr_assets.object_storage_errors import ObjectStorageError, in_own_words

# What polars raises where a part file is missing, torn or something else.
UNREADABLE_PART = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


@contextlib.contextmanager
def as_os_errors(path: Path) -> Iterator[None]:
    """Raises what polars and deltalake say of the operating system as its own errors.

    Args:
        path: What is worked on; their texts shorten paths, or have none.

    Raises:
        OSError: With the number that was in the text of another error, within the block.
    """
    try:
        yield
    except (OSError, DeltaError, pl.exceptions.PolarsError) as error:
        code = os_error(error)
        if code is None or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise OSError(code, os.strerror(code), str(path)) from error


def os_error(error: BaseException) -> int | None:
    """The operating system's number for an error; None where it is not one of its errors.

    polars and deltalake have it in their text alone, and not always in an OSError.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, (OSError, DeltaError, pl.exceptions.PolarsError)):
        found = re.search(r"\(os error (\d+)\)", str(error))
        return int(found[1]) if found else None
    return None


def plain(text: str) -> str:
    """Without the colours, the tree and the stack of functions that deltalake's texts come with."""
    text = re.sub(r"\x1b\[\d*m", "", text)
    text = re.sub(r"\n\s*0: .*", "", text, flags=re.DOTALL)
    return re.sub(r"\s*\u21b3\s*", ": ", text).strip()


def reason(error: BaseException) -> str:
    """What is wrong, in a line."""
    error = in_own_words(error)
    if isinstance(error, ObjectStorageError):
        return str(error)
    code = os_error(error)
    if code is not None:
        return os.strerror(code)
    line = plain(str(error)).partition("\n")[0].rstrip(".")
    return line.partition(", hint: ")[0] or type(error).__name__  # hints are for programmers
