"""What goes wrong in one process is told in another."""

import pickle

import pytest

from ocr_assets.compute.on_ray.dispatch import WorkerDiedError, WorkerRetiredError
from ocr_assets.compute.ray_environment import ClusterUnreachableError, OtherVersionError
from ocr_assets.compute.reused_frames import FramesGoneError
from ocr_assets.gpu.admission import LeaseRefusedError
from ocr_assets.gpu.faults import DeviceError, DeviceFaultError, OutOfDeviceMemoryError
from ocr_assets.gpu.nvml import NvmlUnavailableError
from ocr_assets.gpu.placement import NoRoomError
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.object_storage_errors import ObjectStorageError, ObjectStorageFailedError, Problem
from ocr_assets.ocr.detector import DetectionError
from ocr_assets.ocr.reader import LeaseTooSmallError
from ocr_assets.ocr.reader_pool import ReaderNotLoadedError
from ocr_assets.ocr.weights import WeightsError
from ocr_assets.reasons import Status
from ocr_assets.tables.disk_space import NoSpaceError
from ocr_assets.tables.partitioned import TableDamagedError
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.workers import DecodeWorkerError

ERRORS = [
    NoRoomError("the GPU is full", never=True),
    LeaseRefusedError("the GPU is full", never=False),
    ReaderNotLoadedError("GPU-1", "GPU 0", "out of memory"),
    UnreadableVideoError(Status.DAMAGED, "it is damaged"),
    ObjectStorageError("s3://bucket", Problem("is away", "wait", lasting=False)),
    ObjectStorageFailedError("s3://bucket", Problem("is away", "wait", lasting=False)),
    NoSpaceError(28, "no room for the frames"),
    OtherVersionError("node 1 has 1.0, the run 2.0"),
    *(
        kind("what is wrong")
        for kind in (
            ClusterUnreachableError,
            DecodeWorkerError,
            DetectionError,
            DeviceError,
            DeviceFaultError,
            FramesGoneError,
            LeaseTooSmallError,
            NvmlUnavailableError,
            OutOfDeviceMemoryError,
            StateError,
            TableDamagedError,
            WeightsError,
            WorkerDiedError,
            WorkerRetiredError,
        )
    ),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_another_process_is_the_same_here_with_its_notes(error: Exception) -> None:
    error.add_note("on another host")
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert str(there) == str(error) != ""
    assert vars(there) == vars(error)
