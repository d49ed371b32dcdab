"""What NVML says, through the real pynvml and a fake driver."""

import subprocess
import sys

import pynvml
import pytest

from ocr_assets.gpu import host
from ocr_assets.gpu.nvml import NvmlUnavailableError
from ocr_assets.gpu.snapshot import read_memory, take_snapshot
from tests.fake_nvml import GIB, FakeNvml


def visible(value: str | None, **others: str) -> dict[str, str]:
    return others if value is None else {"CUDA_VISIBLE_DEVICES": value, **others}


@pytest.fixture
def gpus(fake_nvml: FakeNvml) -> list[str]:
    return [fake_nvml.add_gpu(24 * GIB, uuid=f"GPU-{n}{n}{n}{n}-aaaa") for n in range(4)]


def test_every_gpu_is_there_with_its_memory(fake_nvml: FakeNvml) -> None:
    uuid = fake_nvml.add_gpu(24 * GIB, name="NVIDIA L4", used_bytes=5 * GIB)
    snapshot = take_snapshot({})
    (gpu,) = snapshot.gpus
    assert (gpu.uuid, gpu.name, gpu.index, gpu.torch_index) == (uuid, "NVIDIA L4", 0, 0)
    assert gpu.memory is not None
    assert (gpu.memory.total_bytes, gpu.memory.free_bytes) == (24 * GIB, 19 * GIB)
    assert (gpu.memory.used_bytes, gpu.memory.source) == (5 * GIB, "nvml")
    assert snapshot.problems == ()
    assert snapshot.driver_version == "580.00-fake"


@pytest.mark.parametrize(
    ("value", "order"),
    [
        (None, [0, 1, 2, 3]),
        ("2", [2]),
        ("3,0", [3, 0]),
        (" 1 , 2 ", [1, 2]),
        ("GPU-2222-aaaa,GPU-0000-aaaa", [2, 0]),
        ("GPU-33", [3]),
        ("0,GPU-1111-aaaa", [0, 1]),
        ("0,-1,1", [0]),
        ("1,9,2", [1]),
        ("-1", []),
        ("", []),
        ("1,1", []),
        ("GPU-", []),
        ("none", []),
    ],
)
def test_cuda_visible_devices_decides_which_and_in_what_order(
    gpus: list[str], value: str | None, order: list[int]
) -> None:
    snapshot = take_snapshot(visible(value))
    seen = sorted(snapshot.usable, key=lambda gpu: gpu.torch_index or 0)
    assert [gpu.index for gpu in seen] == order
    assert [gpu.torch_index for gpu in seen] == list(range(len(order)))
    assert len(snapshot.gpus) == 4
    if value and len(order) < len(value.split(",")):
        assert "CUDA_VISIBLE_DEVICES" in snapshot.problems[0]


def test_an_empty_cuda_visible_devices_is_named_as_the_reason(gpus: list[str]) -> None:
    assert take_snapshot(visible("")).problems == (
        "CUDA_VISIBLE_DEVICES is empty, which hides every GPU",
    )


def test_counting_unequal_gpus_by_index_is_doubtful_unless_by_bus(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(24 * GIB, name="Large")
    fake_nvml.add_gpu(8 * GIB, name="Small")
    assert "PCI_BUS_ID" in take_snapshot(visible("1")).problems[0]
    assert take_snapshot(visible("1", CUDA_DEVICE_ORDER="PCI_BUS_ID")).problems == ()


def test_mig_instances_are_devices_of_their_own(fake_nvml: FakeNvml) -> None:
    parent = fake_nvml.add_gpu(80 * GIB, name="NVIDIA H100")
    small = fake_nvml.add_mig(parent, 10 * GIB, gpu_instance=7)
    large = fake_nvml.add_mig(parent, 40 * GIB, gpu_instance=3, used_bytes=GIB)
    snapshot = take_snapshot({})
    assert [gpu.uuid for gpu in snapshot.gpus] == [small, large]
    assert [gpu.label for gpu in snapshot.gpus] == ["GPU 0 MIG 7/0", "GPU 0 MIG 3/0"]
    assert {gpu.parent_uuid for gpu in snapshot.gpus} == {parent}
    # CUDA shows a process one instance alone.
    assert [gpu.uuid for gpu in snapshot.usable] == [small]
    for value in (large, large[:12], f"MIG-{parent}/3/0"):
        (seen,) = take_snapshot(visible(value)).usable
        assert (seen.uuid, seen.torch_index) == (large, 0)
        assert seen.memory is not None
        assert seen.memory.free_bytes == 39 * GIB
    assert [gpu.uuid for gpu in take_snapshot(visible("0")).usable] == [small]
    assert [gpu.uuid for gpu in take_snapshot(visible(parent)).usable] == [small]


def test_mig_without_instances_is_a_stated_problem(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(80 * GIB, mig_mode=1)
    snapshot = take_snapshot({})
    assert snapshot.usable == ()
    assert snapshot.problems == ("GPU 0: MIG is enabled, but it has no instances",)


def test_a_device_that_shares_the_machines_memory_uses_what_the_machine_has(
    fake_nvml: FakeNvml,
) -> None:
    uuid = fake_nvml.add_gpu(8 * GIB)
    fake_nvml.set_fault(uuid, memory=pynvml.NVML_ERROR_NOT_SUPPORTED)
    memory = take_snapshot({}).usable[0].memory
    assert memory is not None
    assert memory.source == "host"
    assert memory.total_bytes == host.total_memory_bytes()
    assert 0 < memory.free_bytes < memory.total_bytes
    assert read_memory(uuid).source == "host"


def test_without_a_driver_there_is_a_reason_and_no_gpu(
    fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAKE_NVML_STATE")
    snapshot = take_snapshot({})
    assert snapshot.gpus == ()
    (problem,) = snapshot.problems
    assert problem.startswith("no NVIDIA driver on this machine")


def test_an_nvml_that_fails_is_a_reason_and_is_asked_again(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(GIB)
    fake_nvml.set_init_error(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    (problem,) = take_snapshot({}).problems
    assert problem.startswith("NVML does not answer: RM has detected")
    fake_nvml.set_init_error(0)
    assert len(take_snapshot({}).usable) == 1


def test_a_gpu_that_is_lost_does_not_hide_the_others(fake_nvml: FakeNvml) -> None:
    lost, memoryless, fine = (fake_nvml.add_gpu(GIB) for _ in range(3))
    fake_nvml.set_fault(lost, handle=pynvml.NVML_ERROR_GPU_IS_LOST)
    fake_nvml.set_fault(memoryless, memory=pynvml.NVML_ERROR_UNKNOWN)
    snapshot = take_snapshot({})
    assert [gpu.uuid for gpu in snapshot.usable] == [fine]
    assert snapshot.problems[0].startswith("GPU 0 does not answer: ")
    assert snapshot.problems[1].startswith("GPU 1: its memory cannot be read: ")


def test_a_gpu_that_falls_off_the_bus_between_two_calls_is_an_error_of_ours(
    fake_nvml: FakeNvml,
) -> None:
    uuid = fake_nvml.add_gpu(GIB)
    assert take_snapshot({}).usable
    fake_nvml.remove_gpu(uuid)
    with pytest.raises(NvmlUnavailableError):
        read_memory(uuid)
    assert take_snapshot({}).gpus == ()


def test_another_process_sees_the_same_gpus(fake_nvml: FakeNvml) -> None:
    uuid = fake_nvml.add_gpu(8 * GIB, used_bytes=GIB)
    program = (
        "from ocr_assets.gpu.snapshot import take_snapshot\n"
        "gpu, = take_snapshot().gpus\n"
        "print(gpu.uuid, gpu.memory.free_bytes)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [uuid, str(7 * GIB)]


def test_a_forked_child_connects_anew(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(GIB)
    take_snapshot({})
    program = (
        "import os\n"
        "from ocr_assets.gpu.snapshot import take_snapshot\n"
        "take_snapshot()\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(len(take_snapshot().gpus))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "1"
