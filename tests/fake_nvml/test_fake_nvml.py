"""The fake NVML library, asked through the real `pynvml`."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.fake_nvml import DRIVER_VERSION, GIB, STATE_VARIABLE, FakeNvml, allocate, used_bytes


@pytest.fixture
def nvml(fake_nvml: FakeNvml) -> FakeNvml:
    pynvml.nvmlInit()
    return fake_nvml


def memory(uuid: str) -> tuple[int, int, int]:
    info = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid))
    return info.total, info.used, info.free


@contextlib.contextmanager
def child(nvml: FakeNvml, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has run `script` up to its first `print`, and reads its stdin."""
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    with subprocess.Popen(
        command,
        env=os.environ | nvml.environment,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


HOLDER = """
import os, pathlib, sys
from tests.fake_nvml import allocate
held = allocate(pathlib.Path(os.environ["FAKE_NVML_STATE"]), sys.argv[1], int(sys.argv[2]))
print("holding", "torch" in sys.modules, flush=True)
sys.stdin.read()
"""


def test_gpus_have_names_uuids_and_an_order(nvml: FakeNvml) -> None:
    uuids = [nvml.add_gpu(8 * GIB, name="NVIDIA A, 8 GB"), nvml.add_gpu(80 * GIB)]
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    assert [pynvml.nvmlDeviceGetUUID(handle) for handle in handles] == uuids
    assert [pynvml.nvmlDeviceGetName(handle) for handle in handles] == [
        "NVIDIA A, 8 GB",
        "Fake GPU",
    ]
    assert [pynvml.nvmlDeviceGetIndex(handle) for handle in handles] == [0, 1]
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetHandleByIndex(2)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetHandleByUUID("GPU-nowhere")
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetName(None)


def test_versions_are_told(nvml: FakeNvml) -> None:
    assert pynvml.nvmlSystemGetDriverVersion() == DRIVER_VERSION
    nvml.set_driver_version("570.1", cuda_version=12080)
    assert pynvml.nvmlSystemGetDriverVersion() == "570.1"
    assert pynvml.nvmlSystemGetCudaDriverVersion() == 12080


def test_init_counts_and_the_last_shutdown_ends_it(fake_nvml: FakeNvml) -> None:
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()
    pynvml.nvmlInit()
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()
    assert pynvml.nvmlDeviceGetCount() == 0
    pynvml.nvmlShutdown()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlShutdown()


def test_init_fails_as_it_is_told_and_without_a_state_folder(
    fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.set_init_error(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    with pytest.raises(pynvml.NVMLError_LibRmVersionMismatch):
        pynvml.nvmlInit()
    fake_nvml.set_init_error(0)
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()
    monkeypatch.delenv(STATE_VARIABLE)
    with pytest.raises(pynvml.NVMLError_LibraryNotFound):
        pynvml.nvmlInit()


def test_memory_is_base_use_and_allocations_in_both_versions(nvml: FakeNvml) -> None:
    uuid = nvml.add_gpu(8 * GIB, used_bytes=GIB)
    assert memory(uuid) == (8 * GIB, GIB, 7 * GIB)
    with allocate(nvml.state, uuid, 2 * GIB) as held:
        assert memory(uuid) == (8 * GIB, 3 * GIB, 5 * GIB)
        held.resize(GIB)
        info = pynvml.nvmlDeviceGetMemoryInfo(
            pynvml.nvmlDeviceGetHandleByUUID(uuid), version=pynvml.nvmlMemory_v2
        )
        assert (info.total, info.reserved, info.free, info.used) == (8 * GIB, 0, 6 * GIB, 2 * GIB)
        assert used_bytes(nvml.state, uuid) == 2 * GIB
    assert memory(uuid) == (8 * GIB, GIB, 7 * GIB)
    nvml.set_used(uuid, 9 * GIB)
    assert memory(uuid) == (8 * GIB, 9 * GIB, 0)


def test_faults_come_and_go(nvml: FakeNvml) -> None:
    uuid = nvml.add_gpu(8 * GIB)
    nvml.set_fault(uuid, memory=pynvml.NVML_ERROR_UNKNOWN)
    with pytest.raises(pynvml.NVMLError_Unknown):
        memory(uuid)
    nvml.set_fault(uuid, handle=pynvml.NVML_ERROR_NO_PERMISSION)
    assert pynvml.nvmlDeviceGetCount() == 1
    with pytest.raises(pynvml.NVMLError_NoPermission):
        pynvml.nvmlDeviceGetHandleByIndex(0)
    nvml.set_fault(uuid)
    assert memory(uuid) == (8 * GIB, 0, 8 * GIB)


def test_a_gpu_off_the_bus_is_lost_to_its_handle_and_found_by_nobody(nvml: FakeNvml) -> None:
    uuid = nvml.add_gpu(8 * GIB)
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    nvml.remove_gpu(uuid)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetMemoryInfo(handle)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetHandleByUUID(uuid)
    with pytest.raises(LookupError, match=uuid):
        allocate(nvml.state, uuid, 0)


def test_mig_instances_have_memory_of_their_own_and_their_gpu_counts_it(nvml: FakeNvml) -> None:
    plain, gpu = nvml.add_gpu(8 * GIB), nvml.add_gpu(80 * GIB, mig_mode=0)
    parent = pynvml.nvmlDeviceGetHandleByIndex(1)
    assert pynvml.nvmlDeviceGetMigMode(parent) == [0, 0]
    instances = [nvml.add_mig(gpu, 10 * GIB, gpu_instance=7), nvml.add_mig(gpu, 20 * GIB)]
    assert pynvml.nvmlDeviceGetCount() == 2
    assert pynvml.nvmlDeviceGetMigMode(parent) == [1, 1]
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(parent) == 7
    handles = [pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, index) for index in range(2)]
    assert [pynvml.nvmlDeviceGetUUID(handle) for handle in handles] == instances
    assert [pynvml.nvmlDeviceGetIndex(handle) for handle in handles] == [0, 1]
    assert [pynvml.nvmlDeviceGetGpuInstanceId(handle) for handle in handles] == [7, 2]
    assert [pynvml.nvmlDeviceGetComputeInstanceId(handle) for handle in handles] == [0, 0]
    assert [pynvml.nvmlDeviceIsMigDeviceHandle(h).value for h in (*handles, parent)] == [1, 1, 0]
    owner = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handles[1])
    assert pynvml.nvmlDeviceGetUUID(owner) == gpu
    with allocate(nvml.state, instances[0], 3 * GIB):
        assert memory(instances[0]) == (10 * GIB, 3 * GIB, 7 * GIB)
        assert memory(instances[1]) == (20 * GIB, 0, 20 * GIB)
        assert memory(gpu) == (80 * GIB, 3 * GIB, 77 * GIB)
        assert used_bytes(nvml.state, gpu) == 3 * GIB
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, 2)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetGpuInstanceId(parent)
    without = pynvml.nvmlDeviceGetHandleByUUID(plain)
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(without) == 0
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetMigMode(without)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(without, 0)


def test_a_buffer_that_is_too_small_is_refused(nvml: FakeNvml, nvml_library: Path) -> None:
    nvml.add_gpu(8 * GIB)
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    code = ctypes.CDLL(str(nvml_library)).nvmlDeviceGetUUID(
        handle, ctypes.create_string_buffer(8), ctypes.c_uint(8)
    )
    assert code == pynvml.NVML_ERROR_INSUFFICIENT_SIZE


def test_a_full_gpu_refuses_as_torch_does_and_keeps_what_it_held(nvml: FakeNvml) -> None:
    import torch

    uuid = nvml.add_gpu(8 * GIB)
    with allocate(nvml.state, uuid, 6 * GIB) as held:
        with pytest.raises(torch.OutOfMemoryError, match=r"2\.00 GiB is free"):
            allocate(nvml.state, uuid, 3 * GIB)
        with pytest.raises(MemoryError):
            allocate(nvml.state, uuid, 3 * GIB, error=MemoryError)
        held.resize(8 * GIB)
        with pytest.raises(torch.OutOfMemoryError):
            held.resize(8 * GIB + 1)
        assert memory(uuid) == (8 * GIB, 8 * GIB, 0)
    held.free()
    with pytest.raises(ValueError, match="freed"):
        held.resize(1)


def test_a_killed_process_loses_its_memory_at_once(nvml: FakeNvml) -> None:
    uuid = nvml.add_gpu(8 * GIB)
    with child(nvml, HOLDER, uuid, str(5 * GIB)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding False\n"
        assert memory(uuid) == (8 * GIB, 5 * GIB, 3 * GIB)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert memory(uuid) == (8 * GIB, 0, 8 * GIB)
    allocate(nvml.state, uuid, 8 * GIB).free()


def test_a_child_process_sees_the_same_gpus(nvml: FakeNvml) -> None:
    uuid = nvml.add_gpu(8 * GIB)
    script = """
    import pynvml, sys
    pynvml.nvmlInit()
    print(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(sys.argv[1])).free)
    """
    with (
        allocate(nvml.state, uuid, 5 * GIB),
        child(nvml, script, uuid) as process,
    ):
        assert process.communicate(timeout=60)[0] == f"{3 * GIB}\n"


def test_processes_that_race_never_overfill_a_gpu(nvml: FakeNvml) -> None:
    uuid = nvml.add_gpu(8 * GIB)
    script = """
    import os, pathlib, sys
    from tests.fake_nvml import allocate
    state, full = pathlib.Path(os.environ["FAKE_NVML_STATE"]), 0
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(200):
        try:
            allocate(state, sys.argv[1], 3 * 1024**3, error=MemoryError).free()
        except MemoryError:
            full += 1
    print(full, flush=True)
    """
    with contextlib.ExitStack() as stack:
        racers = [stack.enter_context(child(nvml, script, uuid)) for _ in range(4)]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        seen = set()
        while any(racer.poll() is None for racer in racers):
            seen.add(memory(uuid)[1] // GIB)
        assert seen <= {0, 3, 6}
        assert [racer.returncode for racer in racers] == [0, 0, 0, 0]
    assert memory(uuid) == (8 * GIB, 0, 8 * GIB)


def test_the_control_can_rewrite_while_threads_read(nvml: FakeNvml) -> None:
    uuid, other = nvml.add_gpu(8 * GIB), nvml.add_gpu(8 * GIB)
    seen: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(memory(uuid)[1])

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for round_ in range(200):
        nvml.set_used(uuid, GIB * (1 + round_ % 2))
        nvml.set_used(other, round_)
    stop.set()
    for reader in readers:
        reader.join()
    assert seen <= {0, GIB, 2 * GIB}


def test_children_do_not_keep_their_parents_memory(nvml: FakeNvml) -> None:
    uuid = nvml.add_gpu(8 * GIB)
    fork = """
    import os, pathlib, sys, time
    from tests.fake_nvml import allocate
    held = allocate(pathlib.Path(os.environ["FAKE_NVML_STATE"]), sys.argv[1], 5 * 1024**3)
    os.posix_spawnp("sleep", ["sleep", "5"], os.environ)
    if os.fork() == 0:
        held.free()
        print(os.getpid(), flush=True)
        time.sleep(60)
    sys.stdin.read()
    """
    with child(nvml, fork, uuid) as process:
        assert process.stdout is not None
        forked = int(process.stdout.readline())
        try:
            assert memory(uuid)[1] == 5 * GIB
            process.kill()
            process.wait()
            assert memory(uuid)[1] == 0
            os.kill(forked, 0)
        finally:
            os.kill(forked, signal.SIGKILL)


def test_a_memory_query_with_forty_allocations_takes_less_than_a_millisecond(
    nvml: FakeNvml,
) -> None:
    uuid = nvml.add_gpu(80 * GIB)
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(allocate(nvml.state, uuid, GIB))
        durations = []
        for _ in range(50):
            started = time.perf_counter()
            assert pynvml.nvmlDeviceGetMemoryInfo(handle).used == 40 * GIB
            durations.append(time.perf_counter() - started)
    assert min(durations) < 1e-3


def test_torch_does_not_take_the_fake_gpus_for_cuda_devices(nvml: FakeNvml) -> None:
    import torch

    before = torch.cuda.device_count()
    nvml.add_gpu(8 * GIB)
    assert torch.cuda.device_count() == before
