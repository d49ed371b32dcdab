"""What runs in a decode worker: a process of its own for native decoders, which can crash.

It imports little, so that it starts fast and stays small. `workers.py` is the other side.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.fingerprint import picture_hash
from ocr_assets.video.images import EncodedImage, encode_image
from ocr_assets.video.inspection import inspect_in_steps
from ocr_assets.video.sampling import SamplingRule, sample_frames

# Frames are handed over in pieces that end with the frame that brings them to this many bytes.
PIECE_BYTES = 8 * 2**20


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
    """Take the frames of a rule, and compress them."""

    path: str
    rule: SamplingRule

    def results(self) -> Iterator[tuple[EncodedFrame, int]]:
        """The frames, and how many bytes they have."""
        for frame in sample_frames(self.path, self.rule):
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

    def results(self) -> Iterator[tuple[Any, int]]:
        """What is known; a piece of its own each, in case that the next step crashes."""
        for inspection in inspect_in_steps(self.path):
            yield inspection, PIECE_BYTES


Job = SampleVideo | InspectVideo


@dataclass(frozen=True)
class Piece:
    """Some of a job's results. Unless it is the last, the worker waits to be told to go on.

    Attributes:
        results: In order.
        bytes: How large they are.
        last: Whether no more follow.
        reason: Why not, where the video is at fault.
        fault: A traceback, where this code is.
    """

    results: tuple[Any, ...]
    bytes: int
    last: bool = False
    reason: str | None = None
    fault: str | None = None


def serve(connection: Connection) -> None:
    """Does jobs until the other end of the connection is closed."""
    # The place for a limit on this process's memory: resource.setrlimit(resource.RLIMIT_AS, ...).
    try:
        connection.send(None)  # ready
        while True:
            for piece in _pieces(connection.recv()):
                connection.send(piece)
                if not piece.last:
                    connection.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _pieces(job: Job) -> Iterator[Piece]:
    piece = Piece((), 0)
    try:
        for result, size in job.results():
            piece = Piece((*piece.results, result), piece.bytes + size)
            if piece.bytes >= PIECE_BYTES:
                yield piece
                piece = Piece((), 0)
    except (UnreadableVideoError, OSError) as error:
        yield replace(piece, last=True, reason=str(error))
    except MemoryError:
        yield replace(piece, last=True, reason="the decoder ran out of memory")
    except Exception:
        yield replace(piece, last=True, fault=traceback.format_exc())
    else:
        yield replace(piece, last=True)
