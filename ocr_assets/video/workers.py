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
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self, cast

from ocr_assets.child_process import ChildProcess
from ocr_assets.video import decode_worker
from ocr_assets.video.container import UnreadableVideoError
from ocr_assets.video.decode_worker import EncodedFrame, InspectVideo, Job, Piece, SampleVideo
from ocr_assets.video.inspection import Inspection
from ocr_assets.video.sampling import SamplingRule

# Videos that are begun or waiting to be, for each worker: the next one is at hand when it is done.
VIDEOS_PER_WORKER = 2
# Results that wait for their turn; with more, only the video whose turn it is goes on.
BUFFER_BYTES = 256 * 2**20


class DecodeWorkerError(RuntimeError):
    """The workers themselves are at fault, and not a video."""


class DecodeWorkers:
    """Processes that decode; a context manager that leaves none behind.

    They are started when there is work for them, one for each video at most, and die with the
    process that started them. One iteration at a time.
    """

    def __init__(self, count: int) -> None:
        """Starts nothing yet.

        Args:
            count: Most processes, at least 1.
        """
        if count < 1:
            raise ValueError(f"{count} decode workers are too few")
        self._count = count
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
        """For each video, in the order given, the frames that the rule takes from it.

        A video's iterator raises `UnreadableVideoError` where the file cannot be decoded or the
        process that decodes it dies; frames already given stay good. What is not read of it before
        the next one is asked for is passed over.

        Raises:
            DecodeWorkerError: The workers do not work.
        """
        return self._each(SampleVideo(path, rule) for path in paths)

    def inspect(self, paths: Iterable[str]) -> Iterator[Inspection]:
        """For each file, in the order given, what it is or why it cannot be read.

        Raises:
            DecodeWorkerError: The workers do not work.
        """
        for results in self._each(InspectVideo(path) for path in paths):
            known = Inspection()
            try:
                for known in results:  # noqa: B007 - the last one knows most
                    pass
            except UnreadableVideoError as error:
                known = Inspection(known.video_id, known.bytes, error=str(error))
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
            self._workers.remove(worker)
            worker.child.end(patient=False)
        self._tasks.clear()

    def _results(self, task: _Task) -> Iterator[Any]:
        while True:
            self._assign()
            self._receive(patient=False)
            while task.pieces:
                piece = task.pieces.popleft()
                if piece.fault is not None:
                    raise DecodeWorkerError(f"a bug in decoding {task.job.path}:\n{piece.fault}")
                for one in self._tasks:
                    self._let_go_on(one)
                yield from piece.results
                if piece.reason is not None:
                    raise UnreadableVideoError(piece.reason)
                if piece.last:
                    return
            self._let_go_on(task)
            self._receive(patient=True)

    def _assign(self) -> None:
        """Gives waiting videos to idle workers, new ones if there may be more."""
        for task in self._tasks:
            while not task.is_begun:
                worker = next((one for one in self._workers if one.task is None), None)
                if worker is None:
                    if len(self._workers) >= self._count:
                        return
                    worker = _Worker(ChildProcess.start(decode_worker.__name__))
                    self._workers.append(worker)
                try:
                    worker.child.connection.send(task.job)
                except OSError:  # it was killed while it had nothing to do
                    self._bury(worker)
                    continue
                task.is_begun, worker.task = True, task

    def _receive(self, *, patient: bool) -> None:
        """Takes what the workers have sent; if patient, waits until there is something.

        The place for a limit on a video's time: this wait's timeout, and the worker's kill.
        """
        busy = {one.child.connection: one for one in self._workers if one.task is not None}
        for connection in wait(list(busy), timeout=None if patient else 0):
            worker = busy[cast("Connection", connection)]
            assert worker.task is not None
            try:
                received: Piece | None = worker.child.connection.recv()
            except (EOFError, OSError):
                reason = self._bury(worker)
                worker.task.pieces.append(Piece((), 0, last=True, reason=reason))
                continue
            if received is None:
                worker.is_ready = True
                continue
            worker.task.pieces.append(received)
            if received.last:
                worker.task = None
            else:
                worker.waits = True
                self._let_go_on(worker.task)
        self._assign()

    def _let_go_on(self, task: _Task) -> None:
        """Lets a video's worker go on if it is the video's turn or there is room for more."""
        worker = next((one for one in self._workers if one.task is task), None)
        if worker is None or not worker.waits:
            return
        waiting_bytes = sum(piece.bytes for one in self._tasks for piece in one.pieces)
        if waiting_bytes < BUFFER_BYTES or (task is self._tasks[0] and not task.pieces):
            worker.waits = False
            with contextlib.suppress(OSError):  # that it is dead shows when it is read from
                worker.child.connection.send(None)

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
        return f"the decoder process died ({how})"


@dataclass(eq=False)
class _Task:
    """A video, and those of its results that nobody has taken yet."""

    job: Job
    is_begun: bool = False
    pieces: deque[Piece] = field(default_factory=deque)


@dataclass(eq=False)
class _Worker:
    """A process, and what it is at."""

    child: ChildProcess
    task: _Task | None = None
    is_ready: bool = False
    waits: bool = False  # to be told to go on
