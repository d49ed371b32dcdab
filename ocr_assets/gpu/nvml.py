"""One NVML connection per process, through NVIDIA's own `pynvml` (package nvidia-ml-py)."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class NvmlUnavailableError(Exception):
    """NVML cannot be asked, or does not answer; the message says why."""


_lock = threading.RLock()
_connected = False


@contextmanager
def session() -> Iterator[Any]:
    """The module `pynvml`, connected to the driver.

    Connecting takes tens of milliseconds on a real driver, so the connection is kept. It is given
    up after an error that the block lets through, so that the next use starts afresh (a GPU came
    back, the driver was updated).

    Raises:
        NvmlUnavailableError: There is no driver, or the block let an NVML error through.
    """
    global _connected
    import pynvml

    with _lock:
        try:
            if not (_connected and _answers(pynvml)):
                pynvml.nvmlInit()
                _connected = True
            yield pynvml
        except pynvml.NVMLError as error:
            _disconnect(pynvml)
            raise NvmlUnavailableError(_explained(pynvml, error)) from error


def _answers(pynvml: Any) -> bool:
    """Whether the connection still stands; other code of the process may have shut NVML down."""
    try:
        pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError_Uninitialized:
        return False
    return True


def _disconnect(pynvml: Any) -> None:
    global _connected
    if _connected:
        _connected = False
        with suppress(pynvml.NVMLError_Uninitialized):  # that may have been the error
            pynvml.nvmlShutdown()


def _explained(pynvml: Any, error: Exception) -> str:
    missing = (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded)
    if isinstance(error, missing):
        return f"no NVIDIA driver on this machine (NVML: {error})"
    return f"NVML does not answer: {error}"


def _forget() -> None:
    """A forked child has no connection of its own; the parent's lock may be held for ever."""
    global _lock, _connected
    _lock = threading.RLock()
    _connected = False


os.register_at_fork(after_in_child=_forget)
