"""Which errors of PyTorch are worth another try, and which cost the process its CUDA."""

import numpy as np
import pytest

from ocr_assets.gpu.faults import (
    DeviceError,
    DeviceFaultError,
    OutOfDeviceMemoryError,
    as_device_error,
)

OUT_OF_MEMORY = [
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
]
FAULTS = [
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered",
    "CUDA error: unspecified launch failure",
    "CUDA driver error: unknown error",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, ...)`",
    "CUBLAS_STATUS_INTERNAL_ERROR",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
]
ADVICE = (
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace "
    "below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
)


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_running_out_of_memory_is_worth_another_try(message: str) -> None:
    error = as_device_error(RuntimeError(f"{message}\n{ADVICE}"))
    assert isinstance(error, OutOfDeviceMemoryError)
    assert str(error) == message


@pytest.mark.parametrize("message", FAULTS)
def test_any_other_cuda_error_asks_for_a_new_process(message: str) -> None:
    error = as_device_error(RuntimeError(f"{message}\n{ADVICE}"))
    assert isinstance(error, DeviceFaultError)
    assert str(error) == (
        f"{message}; CUDA does not work in this process any more, a new process may succeed: run "
        "the step again"
    )


def test_pytorchs_own_error_classes_are_known() -> None:
    import torch

    tried = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
    assert isinstance(as_device_error(torch.OutOfMemoryError(tried)), OutOfDeviceMemoryError)
    assert isinstance(as_device_error(torch.OutOfMemoryError()), OutOfDeviceMemoryError)
    for message, kind in [
        ("CUDA error: out of memory", OutOfDeviceMemoryError),
        ("CUDA error: misaligned address", DeviceFaultError),
    ]:
        assert isinstance(as_device_error(torch.AcceleratorError(message)), kind)


def test_pytorchs_cpu_allocator_runs_out_of_memory() -> None:
    import torch

    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    error = as_device_error(raised.value)
    assert isinstance(error, OutOfDeviceMemoryError)
    assert "you tried to allocate 4503599627370496 bytes" in str(error)


def test_numpy_runs_out_of_memory() -> None:
    with pytest.raises(MemoryError) as raised:
        np.empty(2**50)
    error = as_device_error(raised.value)
    assert isinstance(error, OutOfDeviceMemoryError)
    assert str(error).startswith("Unable to allocate 8.00 PiB")


def test_an_error_without_words_is_named_by_its_class() -> None:
    assert str(as_device_error(MemoryError())) == "MemoryError"


def test_mistakes_of_the_program_say_nothing_of_the_device() -> None:
    import torch

    with pytest.raises(RuntimeError, match="must match") as raised:
        torch.ones(2) + torch.ones(3)
    assert as_device_error(raised.value) is None
    assert as_device_error(RuntimeError()) is None


@pytest.mark.parametrize("kind", [ValueError, OSError, KeyError])
def test_only_what_pytorch_raises_is_read_for_signs(kind: type[Exception]) -> None:
    assert as_device_error(kind("CUDA error: out of memory")) is None


def test_our_own_errors_are_not_translated_again() -> None:
    assert as_device_error(OutOfDeviceMemoryError("CUDA out of memory")) is None
    assert as_device_error(DeviceFaultError("CUDA error: unknown error")) is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"CUDA error: no kernel image is available for execution\n{ADVICE}"),
        RuntimeError("Found no NVIDIA driver on your system. Please check that you have one"),
        RuntimeError("No CUDA GPUs are available"),
        RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."),
        RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment"),
        AssertionError("Torch not compiled with CUDA enabled"),
    ],
)
def test_a_device_that_pytorch_can_never_use_is_told_apart(error: Exception) -> None:
    assert isinstance(as_device_error(error), DeviceError)
