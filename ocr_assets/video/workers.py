"""Decoding several videos at a time, each in a process that may crash without harm to the others.

```python
with DecodeWorkers(4) as workers:
    for frames in workers.sample(["a.mp4", "b.mkv"], SamplingRule(3)):
        for frame in frames:
            print(frame.timestamp_seconds, len(frame.image.data))
```
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from ocr_assets.child_process import ChildProcess
from ocr_assets.reasons import Fault, Status
from ocr_assets.video import decode_worker
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.decode_worker import (
    EncodedFrame,
    InspectVideo,
    Job,
    Piece,
    SampleVideo,
    Setup,
)
from ocr_assets.video.inspection import Inspection
from ocr_assets.video.limits import VideoLimits
from ocr_assets.video.sampling import SamplingRule
from ocr_assets.video.source_file import Storage

# Videos that are begun or waiting to be, for each worker: the next one is at hand when it is done.
VIDEOS_PER_WORKER = 2
# Results that wait for their turn; with more, only the video whose turn it is goes on.
BUFFER_BYTES = 256 * 2**20
# What an earlier video may have left behind in a process, so that it is not this one's doing.
TRIED_AGAIN = (Status.DECODER_CRASHED, Status.OUT_OF_MEMORY)


class DecodeWorkerError(RuntimeError):
    """The workers themselves are at fault, and not a video."""


class DecodeWorkers:
    """Processes that decode; a context manager that leaves none behind.

    They are started when there is work for them, one for each video at most, and die with the
    process that started them. They see no secrets of its environment but those of object storages;
    see `child_process`. One iteration at a time.

    A process that is at one video for longer than the limits allow is killed and replaced. A video
    that crashes its process or exhausts its memory is tried once more in a new one, if that process
    had others before it.
    """

    def __init__(
        self, count: int, limits: VideoLimits | None = None, storage: Storage | None = None
    ) -> None:
        """Starts nothing yet.

        Args:
            count: Most processes, at least 1.
            limits: What a video may cost, and how large it may be.
            storage: How videos that are objects are reached.
        """
        if count < 1:
            raise ValueError(f"{count} decode workers are too few")
        self._count = count
        self._limits = limits or VideoLimits()
        self._storage = storage or Storage()
        self._workers: list[_Worker] = []
        self._tasks: deque[_Task] = deque()  # in the order of their results

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends all processes; at once, if there is an error or they are still at work."""
        for worker in self._workers:
            worker.child.connection.close()
        for worker in self._workers:
            worker.child.end(patient=exception is None and worker.task is None)
        self._workers.clear()
        self._tasks.clear()

    @property
    def process_ids(self) -> list[int]:
        """The processes there are."""
        return [worker.child.process.pid for worker in self._workers]

    def sample(self, paths: Iterable[str], rule: SamplingRule) -> Iterator[Iterator[EncodedFrame]]:
        """As `sample_each`, by the same rule for all videos."""
        return self.sample_each(SampleVideo(path, rule) for path in paths)

    def sample_each(self, jobs: Iterable[SampleVideo]) -> Iterator[Iterator[EncodedFrame]]:
        """For each video, in the order given, the frames that the rule takes from it.

        A video's iterator raises `UnreadableVideoError` where the file cannot be decoded or the
        process that decodes it dies; frames already given stay good. What is not read of it before
        the next one is asked for is passed over.

        Raises:
            DecodeWorkerError: The workers do not work.
            ObjectStorageFailedError: The storage of the videos does not; no video is at fault.
            ObjectStorageUnavailableError: What reads them is not installed.
        """
        return self._each(jobs)

    def inspect(self, paths: Iterable[str]) -> Iterator[Inspection]:
        """For each file, in the order given, what it is or why it cannot be read.

        Raises:
            As `sample_each`.
        """
        for results in self._each(InspectVideo(path) for path in paths):
            known = Inspection()
            try:
                for known in results:  # noqa: B007 - the last one knows most
                    pass
            except UnreadableVideoError as error:
                known = replace(known, fault=error.fault)
            yield known

    def _each(self, jobs: Iterable[Job]) -> Iterator[Iterator[Any]]:
        self._drop_what_was_abandoned()
        remaining = iter(jobs)
        while True:
            for job in remaining:
                self._tasks.append(_Task(job))
                if len(self._tasks) >= self._count * VIDEOS_PER_WORKER:
                    break
            if not self._tasks:
                return
            task = self._tasks[0]
            results = self._results(task)
            yield results
            with contextlib.suppress(UnreadableVideoError):
                deque(results, maxlen=0)
            self._tasks.popleft()

    def _drop_what_was_abandoned(self) -> None:
        """Ends the workers that are at work for an iteration that nobody goes on with."""
        for worker in [worker for worker in self._workers if worker.task is not None]:
            self._end(worker)
        self._tasks.clear()

    def _results(self, task: _Task) -> Iterator[Any]:
        while True:
            self._assign()
            self._receive(patient=False)
            while task.pieces:
                piece = task.pieces.popleft()
                if piece.bug is not None:
                    raise DecodeWorkerError(f"a bug in decoding {task.job.path!r}:\n{piece.bug}")
                if piece.error is not None:
                    raise piece.error
                for one in self._tasks:
                    self._let_go_on(one)
                yield from piece.results
                if piece.fault is not None:
                    raise UnreadableVideoError(piece.fault.status, piece.fault.message)
                if piece.last:
                    return
            self._let_go_on(task)
            self._receive(patient=True)

    def _assign(self) -> None:
        """Gives waiting videos to idle workers, new ones if there may be more."""
        for task in self._tasks:
            while not task.is_begun:
                idle = [one for one in self._workers if one.task is None]
                if task.is_second_try and idle:
                    self._end(idle.pop())  # to make room for a new one
                    idle = []
                if not idle and len(self._workers) >= self._count:
                    return
                worker = idle[0] if idle else self._start()
                try:
                    worker.child.connection.send(task.job)
                except OSError:  # it was killed while it had nothing to do
                    self._bury(worker)
                    continue
                worker.begin(task)

    def _start(self) -> _Worker:
        worker = _Worker(ChildProcess.start(decode_worker.__name__))
        self._workers.append(worker)
        with contextlib.suppress(OSError):  # that it is dead shows when it is read from
            worker.child.connection.send(Setup(self._limits, self._storage))
        return worker

    def _receive(self, *, patient: bool) -> None:
        """Takes what the workers have sent; if patient, waits until there is something.

        A worker whose time is over is ended.
        """
        busy = {one.child.connection: one for one in self._workers if one.task is not None}
        left = [self._limits.max_seconds - one.seconds for one in busy.values() if one.is_at_work]
        timeout = max(min(left), 0) if left else None
        ready = {*wait(list(busy), timeout=timeout if patient else 0)}
        for connection, worker in busy.items():
            if connection in ready:
                self._receive_from(worker)
            elif worker.is_at_work and worker.seconds > self._limits.max_seconds:
                self._end(worker)
                message = f"decoding took longer than {self._limits.max_seconds:g} s"
                self._fail(worker, Fault(Status.TIMEOUT, message))
        self._assign()

    def _receive_from(self, worker: _Worker) -> None:
        task = worker.task
        assert task is not None
        try:
            received: Piece | None = worker.child.connection.recv()
        except (EOFError, OSError):
            how = self._bury(worker)
            self._fail(worker, Fault(Status.DECODER_CRASHED, f"the decoder process died ({how})"))
            return
        if received is None:
            worker.is_ready = True
            worker.resume()
            return
        worker.pause(received.seconds)
        fault = received.fault
        if fault is not None and fault.status == Status.OUT_OF_MEMORY:
            self._end(worker)  # what it has taken may be in the way of the next
            task.add(replace(received, last=False, fault=None))
            self._fail(worker, fault)
            return
        task.add(received)
        if received.last:
            worker.task = None
        else:
            worker.waits = True
            self._let_go_on(task)

    def _fail(self, worker: _Worker, fault: Fault) -> None:
        """Ends a video with a fault, or has it tried again if the process may have been unfit."""
        task = worker.task
        assert task is not None
        if fault.status in TRIED_AGAIN and worker.videos > 1 and not task.is_second_try:
            task.try_again()
        else:
            task.add(Piece(last=True, fault=fault))

    def _let_go_on(self, task: _Task) -> None:
        """Lets a video's worker go on if it is the video's turn or there is room for more."""
        worker = next((one for one in self._workers if one.task is task), None)
        if worker is None or not worker.waits:
            return
        waiting_bytes = sum(piece.bytes for one in self._tasks for piece in one.pieces)
        if waiting_bytes < BUFFER_BYTES or (task is self._tasks[0] and not task.pieces):
            worker.waits = False
            worker.resume()
            with contextlib.suppress(OSError):  # that it is dead shows when it is read from
                worker.child.connection.send(None)

    def _end(self, worker: _Worker) -> None:
        """Kills a worker."""
        self._workers.remove(worker)
        worker.child.end(patient=False)

    def _bury(self, worker: _Worker) -> str:
        """Lets go of a worker that has died and says how.

        Raises:
            DecodeWorkerError: It died before it was ready, as the next one would.
        """
        self._workers.remove(worker)
        code = worker.child.end(patient=True)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not worker.is_ready and worker.task is not None:
            raise DecodeWorkerError(f"a decode worker could not start ({how}); see its output")
        return how


@dataclass(eq=False)
class _Task:
    """A video, and those of its results that nobody has taken yet."""

    job: Job
    is_begun: bool = False
    is_second_try: bool = False
    pieces: deque[Piece] = field(default_factory=deque)
    received: int = 0  # results, of all tries
    repeated: int = 0  # results of the second try that the first one gave already

    def add(self, piece: Piece) -> None:
        """Takes a piece, without what an earlier try has given."""
        new = piece.results[self.repeated :]
        self.repeated -= len(piece.results) - len(new)
        self.received += len(new)
        self.pieces.append(replace(piece, results=new))

    def try_again(self) -> None:
        """Prepares for another process that does it from the beginning."""
        self.is_begun, self.is_second_try, self.repeated = False, True, self.received


@dataclass(eq=False)
class _Worker:
    """A process, and what it is at."""

    child: ChildProcess
    task: _Task | None = None
    videos: int = 0  # so far
    is_ready: bool = False
    waits: bool = False  # to be told to go on
    _seconds: float = 0.0  # spent on the task, but for what it is at now
    _since: float | None = None  # at work on it since then

    def begin(self, task: _Task) -> None:
        """Notes that it has been given a video."""
        self.task, self._seconds, self._since = task, 0.0, None
        task.is_begun = True
        self.videos += 1
        if self.is_ready:
            self.resume()

    def resume(self) -> None:
        """From now on its time counts."""
        self._since = time.monotonic()

    def pause(self, seconds: float) -> None:
        """It has worked for so long by its own account, which knows nothing of this side's pace."""
        self._seconds, self._since = self._seconds + seconds, None

    @property
    def is_at_work(self) -> bool:
        """Whether its time counts."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """How long it has worked on its video."""
        return self._seconds + (0 if self._since is None else time.monotonic() - self._since)
