"""What runs in a decode worker: a process of its own for native decoders, which can crash.

It imports little, so that it starts fast and stays small. `workers.py` is the other side.
"""

from __future__ import annotations

import ctypes
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ocr_assets.object_storage import ObjectStorageUnavailableError
from ocr_assets.object_storage_errors import ObjectStorageFailedError
from ocr_assets.reasons import Fault, Status, fault_of
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.fingerprint import picture_hash
from ocr_assets.video.images import EncodedImage, encode_image
from ocr_assets.video.inspection import inspect_in_steps
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.sampling import SamplingRule, sample_frames
from ocr_assets.video.source_file import SourceFile, Storage, source_file

# Frames are handed over in pieces that end with the frame that brings them to this many bytes.
PIECE_BYTES = 8 * 2**20
M_ARENA_MAX = -8  # malloc.h of glibc


@dataclass(frozen=True)
class EncodedFrame:
    """One frame of a video's sample, compressed.

    Attributes:
        index: Place in the sample, from 0.
        pts: Presentation timestamp in ticks of the stream's time base.
        timestamp_seconds: The same in seconds.
        width: Width in pixels, as a viewer sees it.
        height: Height in pixels, as a viewer sees it.
        image: The upright RGB picture.
        image_hash: `picture_hash` of the picture.
    """

    index: int
    pts: int
    timestamp_seconds: float
    width: int
    height: int
    image: EncodedImage
    image_hash: str


@dataclass(frozen=True)
class SampleVideo:
    """Take the frames of a rule, and compress them.

    Attributes:
        path: The video.
        rule: Which frames.
        state: What `identify` said of an object that must not have changed since; None: any will
            do.
    """

    path: str
    rule: SamplingRule
    state: str | None = None

    def results(
        self, source: SourceFile, limits: VideoLimits
    ) -> Iterator[tuple[EncodedFrame, int]]:
        """The frames, and how many bytes they have."""
        if self.state is not None:
            source.ensure_unchanged(self.state)
        for frame in sample_frames(source, self.rule, limits):
            image = encode_image(frame.rgb)
            height, width, _ = frame.rgb.shape
            yield (
                EncodedFrame(
                    frame.index,
                    frame.pts,
                    frame.timestamp_seconds,
                    width,
                    height,
                    image,
                    picture_hash(frame.rgb),
                ),
                len(image.data),
            )


@dataclass(frozen=True)
class InspectVideo:
    """Find out everything the manifest says; each result knows more than the one before."""

    path: str

    def results(self, source: SourceFile, limits: VideoLimits) -> Iterator[tuple[Any, int]]:
        """What is known; a piece of its own each, in case that the next step crashes."""
        for inspection in inspect_in_steps(source, limits):
            yield inspection, PIECE_BYTES


Job = SampleVideo | InspectVideo


@dataclass(frozen=True)
class Setup:
    """What a worker is told before its first job.

    Attributes:
        limits: What a video may cost, and how large it may be.
        storage: How videos that are objects are reached.
    """

    limits: VideoLimits
    storage: Storage


@dataclass(frozen=True)
class Piece:
    """Some of a job's results. Unless it is the last, the worker waits to be told to go on.

    Attributes:
        results: In order.
        bytes: How large they are.
        seconds: How long it took to make them.
        last: Whether no more follow.
        fault: Why not, where the video is at fault.
        error: What the other end is to raise, where the storage is, or what is installed.
        bug: A traceback, where this code is.
    """

    results: tuple[Any, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    last: bool = False
    fault: Fault | None = None
    error: Exception | None = None
    bug: str | None = None


def serve(connection: Connection) -> None:
    """Does jobs until the other end of the connection is closed.

    The first thing it gets is its `Setup`. Limits of time are kept by the other end.
    """
    try:
        setup: Setup = connection.recv()
        client = _StorageClient()
        _limit_memory(setup.limits.max_memory_bytes)
        connection.send(None)  # ready
        while True:
            for piece in _pieces(connection.recv(), setup, client):
                connection.send(piece)
                if not piece.last:
                    connection.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _limit_memory(more_bytes: int) -> None:
    """Lets this process's address space grow by so much at most."""
    if sys.platform != "linux":
        return  # elsewhere the kernel does not keep such limits
    import resource

    import av  # noqa: F401 - what it needs itself does not count

    limit = _address_space_bytes() + more_bytes
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


@contextmanager
def _memory_of_its_own() -> Iterator[None]:
    """What is taken inside the block, and kept, does not count for the limit."""
    if sys.platform != "linux":
        yield
        return
    import resource

    limit, most = resource.getrlimit(resource.RLIMIT_AS)
    before = _address_space_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        yield
    finally:
        if limit != resource.RLIM_INFINITY:
            limit += max(_address_space_bytes() - before, 0)
            limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _address_space_bytes() -> int:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


class _StorageClient:
    """What an object storage's client takes for itself, which does not count as a video's."""

    def __init__(self) -> None:
        self._is_started = False

    def connect(self, source: SourceFile) -> None:
        """Asks for a video's first bytes; with the first of all, the client starts its threads.

        Raises:
            OSError: It is not there, or cannot be read.
        """
        with nullcontext() if self._is_started else _memory_of_its_own():
            if not self._is_started and hasattr(libc := ctypes.CDLL(None), "mallopt"):
                # Otherwise glibc sets 64 MiB of address space aside for each of the threads.
                libc.mallopt(M_ARENA_MAX, 1)
            self._is_started = True
            source.size  # noqa: B018


def _pieces(job: Job, setup: Setup, client: _StorageClient) -> Iterator[Piece]:
    limits = setup.limits
    piece = Piece()
    began = time.monotonic()

    def finished(**values: Any) -> Piece:
        return replace(piece, seconds=time.monotonic() - began, **values)

    try:
        source = source_file(job.path, setup.storage)
        if source.is_far:
            client.connect(source)
        for result, size in job.results(source, limits):
            piece = replace(piece, results=(*piece.results, result), bytes=piece.bytes + size)
            if piece.bytes >= PIECE_BYTES:
                yield finished()
                piece, began = Piece(), time.monotonic()
    except UnreadableVideoError as error:
        yield finished(last=True, fault=error.fault)
    except (ObjectStorageFailedError, ObjectStorageUnavailableError) as error:
        yield finished(last=True, error=error)
    except OSError as error:
        yield finished(last=True, fault=fault_of(error))
    except MemoryError:
        limit = f"{limits.max_memory_bytes / 2**30:.1f} GiB"
        message = f"the decoder needed more memory than it may have ({limit})"
        yield finished(last=True, fault=Fault(Status.OUT_OF_MEMORY, message))
    except Exception:
        yield finished(last=True, bug=traceback.format_exc())
    else:
        yield finished(last=True)
