"""A detector that several steps, on several hosts, share: a Ray actor that holds one model."""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import ray

from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork, FinishedBoxes
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.on_ray.dispatch import Answer, WorkerRetiredError
from ocr_assets.compute.on_ray.nodes import DetectorSpec, holder
from ocr_assets.gpu.faults import DeviceError, DeviceFaultError
from ocr_assets.gpu.placement import NoRoomError
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.ocr.reader_pool import ReaderNotLoadedError, shared_pool
from ocr_assets.ocr.session import DetectionSession
from ocr_assets.ocr.weights import WeightsError

LINGER_SECONDS = 1.0
ROOM_SECONDS = 20.0  # that a detector waits for room on its device
# They say something of the detector's host and nothing of the unit that it had.
FAULTS_OF_HOST = (
    NoRoomError,
    ReaderNotLoadedError,
    DeviceError,
    StateError,
    WeightsError,
    ImportError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectorState:
    """A detector at one moment.

    Attributes:
        key: That of its `DetectorSpec`.
        node_id: Ray's id of its node.
        process_id: Its process there.
        on_gpu: Whether it has a share of a GPU.
        under_way: Units that it has taken on.
        done: Units that it has finished.
        loads: Models that it has loaded so far.
        idle_seconds: How long it has had nothing to do; 0 while it has.
        fault: Why it takes on no more work: its process can use its GPU no more, there was no room
            for a model, or its host is not fit for one; None if there is nothing wrong.
    """

    key: str
    node_id: str
    process_id: int
    on_gpu: bool
    under_way: int
    done: int
    loads: int
    idle_seconds: float
    fault: Exception | None


@dataclass(eq=False)
class _Call:
    step: str
    work: BoxesWork
    unit: BoxesUnit
    alone: bool
    answer: "Future[Answer[FinishedBoxes]]" = field(default_factory=Future)


class Detector:
    """Takes units from whoever sends some, and does them one after the other.

    The model is loaded when there is work, with a lease on the device's memory that all processes
    of that host respect, and given back when there has been none for `idle_seconds`.
    """

    def __init__(self, spec: DetectorSpec, *, on_gpu: bool) -> None:
        """Loads nothing yet.

        Args:
            spec: What it is to be like.
            on_gpu: Whether Ray has given it a share of a GPU.
        """
        self._spec = spec
        self._on_gpu = on_gpu
        own = spec.settings.on_this_host(on_gpu=on_gpu)
        # Others may have room long before this host has.
        wait = min(own.policy.wait_seconds, ROOM_SECONDS)
        self._settings = replace(own, policy=replace(own.policy, wait_seconds=wait))
        self._calls: deque[_Call] = deque()
        self._begun: deque[_Call] = deque()
        self._has_calls = threading.Condition()
        self._messages: list[str] = []
        self._done = 0
        self._idle_since = time.monotonic()
        self._retired = False
        self._fault: Exception | None = None
        threading.Thread(target=self._serve, name="detector", daemon=True).start()

    def detect(
        self, step: str, work: BoxesWork, unit: BoxesUnit, *, alone: bool = False
    ) -> Answer[FinishedBoxes]:
        """Does a unit, when its turn comes.

        Args:
            step: Whose it is.
            work: What is the same for all units of the step.
            unit: The unit.
            alone: Whether it may be the detector's end. It is begun when what is begun is finished,
                and what waits is handed back, so that nothing else ends with it.

        Raises:
            WorkerRetiredError: It takes on no more work, or not this; others will.
            DeviceFaultError: Its process can use its GPU no more.
            Exception: What `BoxesWork.run` raises.
        """
        call = _Call(step, work, unit, alone)
        with self._has_calls:
            if self._retired:
                raise WorkerRetiredError("the detector is about to end")
            if any(one.alone for one in (*self._calls, *self._begun)):
                raise WorkerRetiredError("the detector has a unit that may be its end")
            if alone:
                self._hand_back(lambda other: True, "a unit came that may be the detector's end")
            self._calls.append(call)
            self._has_calls.notify()
        return call.answer.result()

    def forget(self, step: str) -> None:
        """Does nothing more for a step than to finish what is begun."""
        self._hand_back(lambda call: call.step == step, "its step is gone")

    def state(self) -> DetectorState:
        """How it is."""
        with self._has_calls:
            under_way = len(self._calls) + len(self._begun)
            return DetectorState(
                self._spec.key,
                ray.get_runtime_context().get_node_id(),
                os.getpid(),
                self._on_gpu,
                under_way,
                self._done,
                shared_pool().load_count,
                0.0 if under_way else time.monotonic() - self._idle_since,
                self._fault,
            )

    def retire(self) -> int:
        """Takes on no more work; returns how many units it still has."""
        with self._has_calls:
            self._retired = True
            return len(self._calls) + len(self._begun)

    def _serve(self) -> None:
        while True:
            self._wait_for_calls(None)
            try:
                # One session for as long as there is work: a pause of a moment is no reason to
                # give the model out of hand.
                with self._session() as session:
                    while self._wait_for_calls(LINGER_SECONDS):
                        self._run(session)
            except Exception as error:
                log.exception("units failed")
                self._fail(error)

    def _wait_for_calls(self, timeout: float | None) -> bool:
        with self._has_calls:
            return self._has_calls.wait_for(lambda: bool(self._calls), timeout)

    def _run(self, session: DetectionSession) -> None:
        """Does what is there of one step's units; while they keep coming, the device never idles.

        Another step's units are waited for no longer than it takes to finish what is begun.
        """
        with self._has_calls:
            if not self._calls:
                return  # it was handed back in this moment
            first = self._calls[0]
        observer = Observer(lambda count: None, self._say)
        for result in first.work.run(self._units_like(first), session, observer):
            with self._has_calls:
                call = self._begun.popleft()
                self._done += 1
                self._idle_since = time.monotonic()
            messages, self._messages[:] = tuple(self._messages), []
            call.answer.set_result(Answer(result, messages))

    def _session(self) -> DetectionSession:
        own = self._settings
        return DetectionSession(
            shared_pool(), own.model, own.sizing, own.policy, self._say, holder(on_gpu=self._on_gpu)
        )

    def _say(self, message: str) -> None:
        self._messages.append(f"on {socket.gethostname()}: {message}")

    def _units_like(self, first: _Call) -> Iterator[BoxesUnit]:
        """What is there of the same step, up to a unit that is to be alone, or that one alone."""
        while True:
            with self._has_calls:
                if not self._calls or self._calls[0].step != first.step:
                    return
                if self._calls[0].alone and self._begun:
                    return
                call = self._calls.popleft()
                self._begun.append(call)
            yield call.unit
            if call.alone:
                return

    def _hand_back(self, which: Callable[[_Call], bool], reason: str) -> None:
        """Has others do what is not begun."""
        with self._has_calls:
            calls = [call for call in self._calls if which(call)]
            for call in calls:
                self._calls.remove(call)
        for call in calls:
            call.answer.set_exception(WorkerRetiredError(reason))

    def _fail(self, error: Exception) -> None:
        """Gives an error to all who wait for what was begun.

        After one of this host, all that is there is done elsewhere, as if it had not been begun.
        """
        is_of_host = isinstance(error, FAULTS_OF_HOST)
        with self._has_calls:
            failed = [*self._begun]
            self._begun.clear()
            self._idle_since = time.monotonic()
            if is_of_host or isinstance(error, DeviceFaultError):
                self._fault, self._retired = error, True
                failed += self._calls
                self._calls.clear()
            elif not failed and self._calls:
                failed.append(self._calls.popleft())  # it did not come so far as to begin
        told = WorkerRetiredError(str(error)) if is_of_host else error
        for call in failed:
            call.answer.set_exception(told)
