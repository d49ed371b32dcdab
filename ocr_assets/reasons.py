"""Why something has no result or is not kept: a closed vocabulary, the same in all tables."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What became of a sample, a video or a frame. Everything but `ok` quarantines."""

    OK = "ok"
    # About the sample or the path, before any file is opened.
    BAD_SAMPLE = "bad_sample"
    OUTSIDE_SOURCE = "outside_source"
    NOT_A_FILE = "not_a_file"
    # About the file.
    MISSING = "missing"
    UNREADABLE = "unreadable"
    # About its content.
    NOT_A_VIDEO = "not_a_video"
    FORMAT_REFUSED = "format_refused"
    NO_DECODER = "no_decoder"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    # About what it did to the process that decoded it.
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DECODER_CRASHED = "decoder_crashed"
    # About later steps.
    NO_FRAMES = "no_frames"
    TOO_FEW_FRAMES = "too_few_frames"
    DETECTOR_FAILED = "detector_failed"
    WORKER_DIED = "worker_died"

    @property
    def meaning(self) -> str:
        """One line that explains it."""
        return MEANINGS[self]


class DropReason(StrEnum):
    """Why a sample that can be read is dropped."""

    ABOVE = "above_max_area_ratio"
    BELOW = "below_min_area_ratio"


MEANINGS = {
    Status.OK: "it can be read",
    Status.BAD_SAMPLE: "the line is no sample, or names no possible path",
    Status.OUTSIDE_SOURCE: "the path leads out of the source, which is not allowed",
    Status.NOT_A_FILE: "a folder, a pipe, a link to a folder or the like",
    Status.MISSING: "there is no such file",
    Status.UNREADABLE: "the file or folder cannot be read: permission, an error of the disk or net",
    Status.NOT_A_VIDEO: "no video stream, or not a video at all",
    Status.FORMAT_REFUSED: "a format that is not let in, a playlist for example",
    Status.NO_DECODER: "there is no decoder for its codec",
    Status.TRUNCATED: "the file ends before its video does",
    Status.DAMAGED: "it cannot be decoded",
    Status.TOO_LARGE: "more pixels, seconds, streams or frames than the limits allow",
    Status.TIMEOUT: "decoding took longer than the limit; the process was ended",
    Status.OUT_OF_MEMORY: "decoding needed more memory than the limit",
    Status.DECODER_CRASHED: "the process that decoded it crashed",
    Status.NO_FRAMES: "no frame was sampled",
    Status.TOO_FEW_FRAMES: "one frame was sampled, and `static_text_ratio` needs two",
    Status.DETECTOR_FAILED: "the detector failed on one of its frames",
    Status.WORKER_DIED: "whatever worked on it, on a cluster, died each time it was tried",
}


@dataclass(frozen=True)
class Fault:
    """Why something has no result.

    Attributes:
        status: The kind, not `ok`.
        message: The particulars, as a sentence.
    """

    status: Status
    message: str


def fault_of(error: OSError) -> Fault:
    """What an error of the operating system says of a file."""
    message = error.strerror or str(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Fault(Status.MISSING, message)
    if isinstance(error, IsADirectoryError):
        return Fault(Status.NOT_A_FILE, message)
    return Fault(Status.UNREADABLE, message)
