"""The GPUs of this machine, as NVML sees them.

```python
for gpu in take_snapshot().gpus:
    print(gpu.uuid, gpu.name, gpu.free_bytes, gpu.torch_index)
```
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ocr_assets.gpu import host, nvml
from ocr_assets.gpu.visible import visible_uuids

NO_INSTANCES = "MIG is enabled, but it has no instances"


@dataclass(frozen=True)
class Memory:
    """A device's memory, in bytes.

    Attributes:
        total_bytes: All of it.
        free_bytes: What is free, whoever uses the rest.
        source: `nvml`, or `host`: a device without memory of its own shares the machine's, and
            what is free is what the machine has available.
    """

    total_bytes: int
    free_bytes: int
    source: Literal["nvml", "host"] = "nvml"

    @property
    def used_bytes(self) -> int:
        """What is not free."""
        return self.total_bytes - self.free_bytes


@dataclass(frozen=True)
class Gpu:
    """One device that work can be put on: a whole GPU, or a MIG instance of one.

    Attributes:
        uuid: NVML's UUID, `GPU-...` or `MIG-...`; the one name that all processes agree on.
        name: The product's name.
        index: NVML's index of the GPU, or of the GPU that the instance is part of.
        memory: None if it cannot be told; `problem` says why.
        torch_index: PyTorch's index of it in this process; None: hidden from the process.
        parent_uuid: Of a MIG instance, the GPU that it is part of.
        instance: Of a MIG instance, the numbers of its GPU instance and compute instance.
        problem: Why the device cannot be used, or None.
    """

    uuid: str
    name: str
    index: int
    memory: Memory | None
    torch_index: int | None = None
    parent_uuid: str | None = None
    instance: tuple[int, int] | None = None
    problem: str | None = None

    @property
    def label(self) -> str:
        """How people call it: `GPU 0`, `GPU 0 MIG 3/0`."""
        mig = "" if self.instance is None else f" MIG {self.instance[0]}/{self.instance[1]}"
        return f"GPU {self.index}{mig}"


@dataclass(frozen=True)
class Snapshot:
    """What NVML said at one moment.

    Attributes:
        gpus: All devices. A GPU that is split into MIG instances is represented by them alone.
        problems: What could not be found out, and why; empty on a healthy machine with a GPU.
        driver_version: None without a driver.
    """

    gpus: tuple[Gpu, ...]
    problems: tuple[str, ...] = ()
    driver_version: str | None = None

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """The devices that this process can see and whose memory is known."""
        return tuple(
            gpu for gpu in self.gpus if gpu.torch_index is not None and gpu.memory is not None
        )


def take_snapshot(environment: Mapping[str, str] | None = None) -> Snapshot:
    """Looks at all GPUs; a device that fails becomes a problem, never an exception.

    Args:
        environment: Where CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are looked up; by default the
            process's own.
    """
    environment = os.environ if environment is None else environment
    try:
        with nvml.session() as library:
            driver = library.nvmlSystemGetDriverVersion()
            gpus: list[Gpu] = []
            problems: list[str] = []
            for index in range(library.nvmlDeviceGetCount()):
                try:
                    handle = library.nvmlDeviceGetHandleByIndex(index)
                    gpus += _devices(library, index, handle)
                except library.NVMLError as error:
                    problems.append(f"GPU {index} does not answer: {error}")
    except nvml.NvmlUnavailableError as error:
        return Snapshot((), (str(error),))
    # CUDA does not count a GPU that is split into nothing.
    visible = visible_uuids([gpu for gpu in gpus if gpu.problem != NO_INSTANCES], environment)
    placed = tuple(
        replace(gpu, torch_index=visible.uuids.index(gpu.uuid))
        if gpu.uuid in visible.uuids
        else gpu
        for gpu in gpus
    )
    problems += [f"{gpu.label}: {gpu.problem}" for gpu in placed if gpu.problem]
    return Snapshot(placed, (*problems, *visible.problems), driver)


def read_memory(uuid: str) -> Memory:
    """The memory of one device now.

    Raises:
        NvmlUnavailableError: The driver, or the device, does not answer.
    """
    with nvml.session() as library:
        return _memory(library, library.nvmlDeviceGetHandleByUUID(uuid))


def _devices(library: Any, index: int, handle: Any) -> list[Gpu]:
    """The GPU, or its MIG instances if it is split."""
    uuid = library.nvmlDeviceGetUUID(handle)
    if not _is_split(library, handle):
        return [_gpu(library, handle, uuid, index)]
    instances = []
    for number in range(library.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instance = library.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except library.NVMLError_NotFound:
            continue  # slots that hold no instance
        gpu = _gpu(library, instance, library.nvmlDeviceGetUUID(instance), index)
        numbers = (
            library.nvmlDeviceGetGpuInstanceId(instance),
            library.nvmlDeviceGetComputeInstanceId(instance),
        )
        instances.append(replace(gpu, parent_uuid=uuid, instance=numbers))
    if not instances:
        name = library.nvmlDeviceGetName(handle)
        return [Gpu(uuid, name, index, None, problem=NO_INSTANCES)]
    return instances


def _is_split(library: Any, handle: Any) -> bool:
    try:
        current, _ = library.nvmlDeviceGetMigMode(handle)
    except library.NVMLError_NotSupported:
        return False
    return bool(current == library.NVML_DEVICE_MIG_ENABLE)


def _gpu(library: Any, handle: Any, uuid: str, index: int) -> Gpu:
    name = library.nvmlDeviceGetName(handle)
    try:
        return Gpu(uuid, name, index, _memory(library, handle))
    except library.NVMLError as error:
        return Gpu(uuid, name, index, None, problem=f"its memory cannot be read: {error}")


def _memory(library: Any, handle: Any) -> Memory:
    try:
        memory = library.nvmlDeviceGetMemoryInfo(handle)
    except library.NVMLError_NotSupported:
        # Devices that share the machine's memory (Jetson, GB10) have none of their own to report.
        return Memory(host.total_memory_bytes(), host.available_memory_bytes(), "host")
    return Memory(int(memory.total), int(memory.free))
