"""GPUs that exist only in files, seen through the real `pynvml` by any number of processes.

    library = build(folder)
    nvml = FakeNvml(state, library)
    gpu = nvml.add_gpu(24 * GIB)
    subprocess.run([...], env=nvml.environment)

The state is a folder:

- `driver`: version, CUDA version, error code of init.
- `gpus`: one line per GPU or MIG instance, the fields of `_Gpu`. Both files are replaced whole.
- `allocations/<uuid>/<name>`: one file per allocation, its bytes as text. It counts for as long as
  somebody holds an flock on it, which a kernel drops the moment the holder dies, of SIGKILL too.
- `lock`: held while allocations change, and shared while they are summed.
"""

import contextlib
import dataclasses
import fcntl
import os
import threading
import uuid as uuids
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.c_library import compile_library

GIB = 1024**3
STATE_VARIABLE = "FAKE_NVML_STATE"
DRIVER_VERSION = "580.00-fake"
SONAME = "libnvidia-ml.so.1"
WHOLE = "-"  # the parent of a GPU that is no MIG instance


def build(folder: Path) -> Path:
    """Compile the library into `folder` and return its path."""
    source = Path(__file__).with_name("nvml.c")
    return compile_library(source, folder / SONAME, f"-Wl,-soname,{SONAME}")


@dataclasses.dataclass(frozen=True)
class _Gpu:
    """One line of `gpus`; nvml.c reads the fields in this order."""

    uuid: str
    parent: str
    gpu_instance: int
    compute_instance: int
    total_bytes: int
    used_bytes: int
    handle_fault: int
    memory_fault: int
    mig_mode: int  # -1 where the GPU has no MIG, 0 off, 1 on
    name: str


class FakeNvml:
    """Control of one folder of fake GPUs; safe to make again, in any process, for the same folder.

    Args:
        folder: The state, made where it is missing.
        library: What `build` returned.

    Attributes:
        state: The folder.
        environment: Variables under which a child process's `pynvml` sees these GPUs.
    """

    def __init__(self, folder: Path, library: Path) -> None:
        self.state = folder
        search = [str(library.parent), os.environ.get("LD_LIBRARY_PATH", "")]
        self.environment: dict[str, str] = {
            STATE_VARIABLE: str(folder),
            "LD_LIBRARY_PATH": ":".join(filter(None, search)),
        }
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "driver").exists():
            (folder / "gpus").touch()
            self.set_driver_version(DRIVER_VERSION)

    def add_gpu(
        self,
        total_bytes: int,
        *,
        name: str = "Fake GPU",
        uuid: str | None = None,
        used_bytes: int = 0,
        mig_mode: int | None = None,
    ) -> str:
        """Plug in a GPU, last in order, and return its UUID; `mig_mode` None means without MIG."""
        uuid = uuid or f"GPU-{uuids.uuid4()}"
        mode = -1 if mig_mode is None else mig_mode
        return self._add(_Gpu(uuid, WHOLE, 0, 0, total_bytes, used_bytes, 0, 0, mode, name))

    def add_mig(
        self,
        parent_uuid: str,
        total_bytes: int,
        *,
        name: str = "Fake GPU MIG",
        uuid: str | None = None,
        used_bytes: int = 0,
        gpu_instance: int | None = None,
        compute_instance: int = 0,
    ) -> str:
        """Cut an instance out of a GPU, turning its MIG mode on, and return the instance's UUID."""
        self._change(parent_uuid, mig_mode=1)
        uuid = uuid or f"MIG-{uuids.uuid4()}"
        if gpu_instance is None:
            gpu_instance = 1 + sum(gpu.parent == parent_uuid for gpu in _read(self.state))
        cut = (gpu_instance, compute_instance, total_bytes, used_bytes)
        return self._add(_Gpu(uuid, parent_uuid, *cut, 0, 0, -1, name))

    def set_used(self, uuid: str, used_bytes: int) -> None:
        """Say how much memory others hold, beside the allocations."""
        self._change(uuid, used_bytes=used_bytes)

    def set_fault(self, uuid: str, *, handle: int = 0, memory: int = 0) -> None:
        """Answer the request for a handle, or for memory, with NVML codes; 0 mends."""
        self._change(uuid, handle_fault=handle, memory_fault=memory)

    def remove_gpu(self, uuid: str) -> None:
        """Drop a GPU off the bus, with its MIG instances: their handles say GPU_IS_LOST."""
        with _driver_lock(self.state):
            _find(self.state, uuid)
            self._write(gpu for gpu in _read(self.state) if uuid not in (gpu.uuid, gpu.parent))

    def set_init_error(self, code: int) -> None:
        """Make every further init fail with this NVML code; 0 mends."""
        version, cuda_version, _ = (self.state / "driver").read_text().split()
        _replace(self.state / "driver", f"{version} {cuda_version} {code}\n")

    def set_driver_version(self, version: str, *, cuda_version: int = 13000) -> None:
        """Set the versions (CUDA's as 1000 * major + 10 * minor), and let init succeed."""
        _replace(self.state / "driver", f"{version} {cuda_version} 0\n")

    def _add(self, added: _Gpu) -> str:
        with _driver_lock(self.state):
            gpus = _read(self.state)
            if any(gpu.uuid == added.uuid for gpu in gpus):
                raise ValueError(f"there is a fake GPU {added.uuid} already")
            self._write([*gpus, added])
        return added.uuid

    def _change(self, uuid: str, **changes: Any) -> None:
        with _driver_lock(self.state):
            changed = dataclasses.replace(_find(self.state, uuid), **changes)
            self._write(changed if gpu.uuid == uuid else gpu for gpu in _read(self.state))

    def _write(self, gpus: Iterator[_Gpu] | list[_Gpu]) -> None:
        lines = [" ".join(map(str, dataclasses.astuple(gpu))) + "\n" for gpu in gpus]
        _replace(self.state / "gpus", "".join(lines))


class Allocation:
    """Memory that this process holds until `free`, or until it dies; made by `allocate`."""

    def __init__(self, state: Path, uuid: str, error: type[Exception] | None) -> None:
        self.size_bytes = 0
        self._state, self._uuid, self._error = state, uuid, error
        self._path = state / "allocations" / uuid / uuids.uuid4().hex
        with _driver_lock(state):
            _find(state, uuid)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: int | None = os.open(self._path, os.O_CREAT | os.O_RDWR)
            _mine.add(self)
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def resize(self, size_bytes: int) -> None:
        """Grow or shrink; over-full, nothing changes and it raises as `allocate` does."""
        with _driver_lock(self._state):
            if self._file is None:
                raise ValueError(f"{self._path.name} is freed, or is another process's")
            gpu, used = _find(self._state, self._uuid), _used(self._state, self._uuid)
            free = max(0, gpu.total_bytes - used)
            if size_bytes - self.size_bytes <= free or size_bytes <= self.size_bytes:
                os.pwrite(self._file, f"{size_bytes:020}".encode(), 0)
                self.size_bytes = size_bytes
                return
        error = self._error
        if error is None:
            import torch  # seconds: paid by those who run out of memory

            error = torch.OutOfMemoryError
        raise error(
            f"CUDA out of memory. Tried to allocate {(size_bytes - self.size_bytes) / GIB:.2f} GiB."
            f" Fake {gpu.uuid} has a total capacity of {gpu.total_bytes / GIB:.2f} GiB of which"
            f" {free / GIB:.2f} GiB is free."
        )

    def free(self) -> None:
        """Give the memory back; a second time is no error, and a forked child's does nothing."""
        with _driver_lock(self._state):
            if self._file is not None:
                self._path.unlink()
                self._forget()

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self.size_bytes = None, 0
        _mine.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.free()


def allocate(
    state: Path, uuid: str, size_bytes: int, *, error: type[Exception] | None = None
) -> Allocation:
    """Take memory of a GPU or MIG instance, atomically among all processes.

    Raises:
        error: There is not enough left; without it `torch.OutOfMemoryError`, torch imported then.
        LookupError: There is no such GPU.
    """
    allocation = Allocation(state, uuid, error)
    try:
        allocation.resize(size_bytes)
    except BaseException:
        allocation.free()
        raise
    return allocation


def used_bytes(state: Path, uuid: str) -> int:
    """Bytes in use, as NVML reports them: base use, living allocations, MIG instances' use."""
    with _driver_lock(state):
        _find(state, uuid)
        return _used(state, uuid)


_mine: set[Allocation] = set()
_fork_lock = threading.Lock()  # no fork while this process changes its allocations


def _after_fork_in_child() -> None:
    for allocation in list(_mine):
        allocation._forget()
    _fork_lock.release()


os.register_at_fork(
    before=_fork_lock.acquire,
    after_in_parent=_fork_lock.release,
    after_in_child=_after_fork_in_child,
)


@contextlib.contextmanager
def _driver_lock(state: Path) -> Iterator[None]:
    with _fork_lock, (state / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _used(state: Path, uuid: str) -> int:
    branch = [gpu for gpu in _read(state) if uuid in (gpu.uuid, gpu.parent)]
    return sum(gpu.used_bytes + _held_bytes(state, gpu.uuid) for gpu in branch)


def _held_bytes(state: Path, uuid: str) -> int:
    """Sum the allocations of living processes, and sweep up those of the dead."""
    held = 0
    for path in (state / "allocations" / uuid).glob("*"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                held += int(file.read() or 0)
            else:
                path.unlink()
    return held


def _read(state: Path) -> list[_Gpu]:
    gpus = []
    for line in (state / "gpus").read_text().splitlines():
        uuid, parent, *numbers, name = line.split(" ", 9)
        in_order: list[Any] = [uuid, parent, *map(int, numbers), name]
        gpus.append(_Gpu(*in_order))
    return gpus


def _find(state: Path, uuid: str) -> _Gpu:
    for gpu in _read(state):
        if gpu.uuid == uuid:
            return gpu
    raise LookupError(f"no fake GPU {uuid} in {state}")


def _replace(path: Path, text: str) -> None:
    """Write under another name and rename, so that a reader sees the old text or the new one."""
    fresh = path.with_name(f".{path.name}-{uuids.uuid4().hex}")
    fresh.write_text(text)
    fresh.replace(path)
