"""What PyTorch's CUDA errors mean for the process.

Only running out of memory is worth another try in the same process. After any other CUDA error
every later call fails as well: the context is lost, and the process with it.
"""

OUT_OF_MEMORY_SIGNS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # its handle could not be allocated
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "unable to find an engine",  # cuDNN, when no algorithm's workspace fits
    "Unable to find a valid cuDNN algorithm",
    "can't allocate memory",  # the CPU's allocator
)
CUDA_SIGNS = ("CUDA error", "CUDA driver error", "CUDNN_STATUS", "CUBLAS_STATUS", "cuDNN error")


UNUSABLE_SIGNS = (
    "no kernel image is available",
    "Found no NVIDIA driver",
    "No CUDA GPUs are available",
    "driver on your system is too old",
    "CUDA unknown error",
    "not compiled with CUDA",
)


class DeviceError(Exception):
    """PyTorch cannot use the device, and will not be able to; another one may do."""


class OutOfDeviceMemoryError(Exception):
    """The device has no memory for this; a smaller batch or another device may do."""


class DeviceFaultError(Exception):
    """CUDA failed in a way that this process cannot recover from; a new process may."""


def as_device_error(
    error: Exception,
) -> OutOfDeviceMemoryError | DeviceFaultError | DeviceError | None:
    """What an error that PyTorch raised says of the device; None if it says nothing."""
    import torch

    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return OutOfDeviceMemoryError(_first_line(text) or type(error).__name__)
    if not isinstance(error, RuntimeError | AssertionError):
        return None
    if any(sign in text for sign in UNUSABLE_SIGNS):
        return DeviceError(_first_line(text))
    if any(sign in text for sign in OUT_OF_MEMORY_SIGNS):
        return OutOfDeviceMemoryError(_first_line(text))
    if any(sign in text for sign in CUDA_SIGNS):
        return DeviceFaultError(
            f"{_first_line(text)}; CUDA does not work in this process any more, a new process may "
            "succeed: run the step again"
        )
    return None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
