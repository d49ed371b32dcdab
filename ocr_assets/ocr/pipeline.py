"""Frames through the detector: images are decoded ahead of it, boxes are awaited behind it.

```python
frame = FrameToDo(encoded.data, 1280, 720, finish=lambda rgb, outcome: print(outcome))
for name in detect_frames([("part 1", [frame])], session, DetectionThresholds(), batch_frames=4):
    print(name, "is done")
```

While the device works on some batches, the images of the next are decoded in other threads. What is
under way is bounded everywhere, so that memory does not grow with the number of frames.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ocr_assets.ahead import ahead
from ocr_assets.gpu import host
from ocr_assets.ocr.canvas import Picture
from ocr_assets.ocr.detector import DetectionError
from ocr_assets.ocr.outcome import Outcome, PendingOutcome
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.thresholds import DetectionThresholds
from ocr_assets.video.images import decode_image

MOST_DECODERS = 8
BATCHES_UNDER_WAY = 3  # on the device, or queued for it

Name = TypeVar("Name")
Finish = Callable[[Picture | None, Outcome], None]


@dataclass(frozen=True)
class FrameToDo:
    """A frame to find text on.

    Attributes:
        image: A compressed image, as `encode_image` makes them.
        width: Its width in pixels.
        height: Its height in pixels.
        finish: Called with the picture and the outcome, in the thread that asks for results; the
            picture is None if the image cannot be decoded.
    """

    image: bytes
    width: int
    height: int
    finish: Finish


def detect_frames(
    groups: Iterable[tuple[Name, Sequence[FrameToDo]]],
    session: DetectionSession,
    thresholds: DetectionThresholds,
    batch_frames: int,
) -> Iterator[Name]:
    """Finds the text on groups of frames; within a group, frames of one size go together.

    Args:
        groups: A name and the frames of each; taken as there is room for them.
        session: The way to the detector.
        thresholds: EasyOCR's parameters.
        batch_frames: Most frames that the session is given at once.

    Yields:
        The name of each group when all its frames are finished, in order.

    Raises:
        Exception: What `session.begin` raises.
    """
    cores = host.usable_cores()
    decoders = min(cores, MOST_DECODERS)
    # On the CPU every core works on a frame of its own, and another one waits for it.
    most_frames = max(BATCHES_UNDER_WAY * batch_frames, 2 * cores)
    under_way: deque[_Batch[Name]] = deque()
    with (
        _cancelled_at_the_end(under_way),
        ThreadPoolExecutor(decoders, thread_name_prefix="image decoder") as executor,
    ):
        for batch in ahead(executor, _decode, _batches(groups, batch_frames), most=decoders):
            if batch.pictures:
                pictures = list(batch.pictures.values())
                pending = session.begin(pictures, thresholds)
                batch.pending = dict(zip(batch.pictures, pending, strict=True))
            under_way.append(batch)
            while under_way and (
                under_way[0].is_done() or sum(len(one.pending) for one in under_way) > most_frames
            ):
                # It is taken out when it is done, so that it is cancelled with the others before.
                yield from under_way[0].finish()
                under_way.popleft()
        while under_way:
            yield from under_way[0].finish()
            under_way.popleft()


@dataclass
class _Batch(Generic[Name]):
    """Frames of one size on their way, and the groups that end with them."""

    frames: Sequence[FrameToDo] = ()
    ends: list[Name] = field(default_factory=list)
    pictures: dict[int, Picture] = field(default_factory=dict)
    failures: dict[int, DetectionError] = field(default_factory=dict)
    pending: dict[int, PendingOutcome] = field(default_factory=dict)

    def is_done(self) -> bool:
        return all(pending.done() for pending in self.pending.values())

    def finish(self) -> Iterator[Name]:
        for index, frame in enumerate(self.frames):
            if index in self.failures:
                frame.finish(None, self.failures[index])
            else:
                frame.finish(self.pictures[index], self.pending[index].result())
        yield from self.ends


@contextmanager
def _cancelled_at_the_end(batches: Iterable[_Batch[Name]]) -> Iterator[None]:
    """After an error or an interrupt nothing more is begun; otherwise nothing is left."""
    try:
        yield
    finally:
        for batch in batches:
            for pending in batch.pending.values():
                pending.cancel()


def _batches(
    groups: Iterable[tuple[Name, Sequence[FrameToDo]]], batch_frames: int
) -> Iterator[_Batch[Name]]:
    for name, frames in groups:
        by_size: dict[tuple[int, int], list[FrameToDo]] = defaultdict(list)
        for frame in frames:
            by_size[frame.width, frame.height].append(frame)
        batches: list[_Batch[Name]] = [
            _Batch(alike[start : start + batch_frames])
            for alike in by_size.values()
            for start in range(0, len(alike), batch_frames)
        ] or [_Batch()]
        batches[-1].ends.append(name)
        yield from batches


def _decode(batch: _Batch[Name]) -> _Batch[Name]:
    for index, frame in enumerate(batch.frames):
        try:
            batch.pictures[index] = decode_image(frame.image)
        except ValueError as error:
            batch.failures[index] = DetectionError(str(error))
    return batch
