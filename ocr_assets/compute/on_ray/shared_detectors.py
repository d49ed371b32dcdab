"""A step's way to the detectors that all runs share."""

import contextlib
import dataclasses
import time
import uuid
from collections import Counter
from types import TracebackType
from typing import Any, Self

import ray

from ocr_assets.compute.boxes_work import BoxesUnit, BoxesWork, FinishedBoxes
from ocr_assets.compute.observer import Observer
from ocr_assets.compute.on_ray.detector_pool import Offer, detector_pool, is_on_gpu, node_of
from ocr_assets.compute.on_ray.dispatch import Answer, Try, is_there
from ocr_assets.compute.on_ray.message_times import MessageTimes
from ocr_assets.compute.on_ray.nodes import DetectorSpec
from ocr_assets.gpu.placement import NoRoomError
from ocr_assets.ocr.detector_settings import DetectorSettings
from ocr_assets.ocr.reader import Tally

ASK_SECONDS = 1.0
FIRST_MESSAGE_SECONDS, LAST_MESSAGE_SECONDS = 30.0, 600.0
LEAVE_SECONDS = 5.0
# One that seemed to be gone and is offered all the same was out of reach for a moment.
GONE_SECONDS = 60.0
# Of no node that can hold a detector; a node may be about to come, or be mended.
HOPELESS_SECONDS = 180.0


class SharedDetectors:
    """Gives units to the detectors that there are, and says how many more there is work for."""

    def __init__(
        self,
        work: BoxesWork,
        detectors: DetectorSettings,
        *,
        namespace: str,
        max_detectors: int | None,
        units_ahead: int,
        holder: str,
        observer: Observer,
    ) -> None:
        """Asks for nothing yet.

        Args:
            work: What is the same for all units.
            detectors: What they are to be like.
            namespace: The Ray namespace in which they are.
            max_detectors: Most of them at once; None: any number.
            units_ahead: Units that each is given at once.
            holder: What the step is, for people.
            observer: Takes messages.
        """
        self._work = work
        self._policy = detectors.policy
        self._spec = DetectorSpec.of(detectors)
        self._namespace = namespace
        self._max_detectors = max_detectors
        self._units_ahead = units_ahead
        self._observer = observer
        self._step = f"{holder} {uuid.uuid4().hex[:8]}"
        self._pool: Any = None
        self._asked: Any = None
        self._asked_at = float("-inf")
        self._offer = Offer({}, 0, "nothing is known of it yet", has_looked=False)
        self._gone: dict[str, float] = {}  # and when
        self._units = Counter[str]()
        self._alone: set[str] = set()
        self._looked_at = time.monotonic()
        self._waited = 0.0  # since a unit was finished
        self._messages = MessageTimes(FIRST_MESSAGE_SECONDS, LAST_MESSAGE_SECONDS)
        self._hopeless_since: float | None = None
        self._wants_room = False
        self._tally = Tally()  # of the step's own waits

    def __enter__(self) -> Self:
        """Nothing more."""
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Says that no detectors are needed any more; who cannot be told finds out by itself."""
        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.get(self._ask(0), timeout=LEAVE_SECONDS)

    def look_around(self, units_left: int) -> None:
        """See `Workers`.

        Raises:
            NoRoomError: There was no room for a detector for as long as the policy waits; the time
                that units spend with one does not count. Or no node could hold one even if nothing
                else ran there, for HOPELESS_SECONDS, in which an autoscaler may have added one.
            OtherVersionError: So it was with every node, for want of this package's version.
            Exception: So it was, and this is what ended the last detector of a node, or what kept
                it from saying whether it has room: WeightsError, StateError, DeviceError, ...
        """
        if self._asked is not None and is_there(self._asked):
            try:
                offer: Offer = ray.get(self._asked)
                # A handle that is known goes on being used: through Ray's client each new one is
                # made known to the cluster again.
                old = self._offer.detectors
                known = {name: old.get(name, new) for name, new in offer.detectors.items()}
                self._offer = dataclasses.replace(offer, detectors=known)
            except ray.exceptions.RayActorError:
                self._pool = None  # it is started again
            self._asked = None
        if self._asked is None and time.monotonic() - self._asked_at >= ASK_SECONDS:
            self._asked_at = time.monotonic()
            try:
                self._asked = self._ask(units_left)
            except ValueError:
                self._pool = None  # it ended in the moment it was found; it is asked for again
        self._wait()

    def begin(self, one: Try[BoxesUnit]) -> tuple[Any, str] | None:
        """See `Workers`.

        A unit with which a detector has died has the next one to itself, also as far as other steps
        go, so that its death is not counted against others.
        """
        nodes = {node_of(name) for name in one.avoid}
        there = self._there()
        elsewhere = [name for name in there if node_of(name) not in nodes]
        name = min(elsewhere or there, key=lambda name: self._units[name], default=None)
        # A pause of a CPU between two units is nothing beside the time that it takes for one.
        most = 1 if one.deaths or not is_on_gpu(name or "") else self._units_ahead
        if name is None or self._units[name] >= most:
            return None
        self._units[name] += 1
        if one.deaths:
            self._alone.add(name)
        detector = self._offer.detectors[name]
        return detector.detect.remote(self._step, self._work, one.unit, alone=one.deaths > 0), name

    def ended(self, who: str, *, died: bool) -> None:
        """See `Workers`."""
        self._units[who] -= 1
        self._alone.discard(who)
        if died:
            self._gone[who] = time.monotonic()

    def result(self, answer: Answer[FinishedBoxes]) -> FinishedBoxes:
        """See `Workers`."""
        for message in answer.messages:
            self._observer.say(message)
        self._waited, self._wants_room = 0.0, False
        self._messages.start_again()
        tally, self._tally = self._tally, Tally()
        tally.add(answer.result.tally)
        # A detector on the CPU does not know whether there are GPUs elsewhere.
        tally.gpu_preferred |= self._policy.device != "cpu" and self._offer.has_gpus
        return dataclasses.replace(answer.result, tally=tally)

    def cancel(self, reference: Any) -> None:
        """See `Workers`; what is begun already is finished in vain."""
        ray.cancel(reference)

    def _ask(self, units: int) -> Any:
        if self._pool is None:
            self._pool = detector_pool(self._namespace)
        return self._pool.ask.remote(self._step, self._spec, units, self._max_detectors)

    def _there(self) -> list[str]:
        """Detectors that may be given something."""
        late = time.monotonic() - GONE_SECONDS
        return [
            name
            for name in self._offer.detectors
            if self._gone.get(name, float("-inf")) < late and name not in self._alone
        ]

    def _wait(self) -> None:
        """Says now and then that there is no detector, and gives up by the policy's rules."""
        now = time.monotonic()
        passed, self._looked_at = now - self._looked_at, now
        offer = self._offer
        if offer.hopeless is None:
            self._hopeless_since = None
        elif self._hopeless_since is None:
            self._hopeless_since = now
        if self._units.total() or self._there():
            return
        self._waited += passed
        if offer.has_looked and not offer.coming and not offer.detectors:
            self._count_wait(passed)
            if self._policy.overflow == "fail":
                raise offer.hopeless or NoRoomError(
                    f"no node has room, and when_gpu_full is `fail`: {offer.sentence}", never=False
                )
        if self._hopeless_since is not None and now - self._hopeless_since >= HOPELESS_SECONDS:
            assert offer.hopeless is not None
            offer.hopeless.add_note(
                f"So it was for {HOPELESS_SECONDS:.0f} s, and no node can do it: {offer.sentence}"
            )
            raise offer.hopeless
        limit = self._policy.wait_seconds
        if self._waited >= limit:
            raise NoRoomError(
                f"no room for a detector within {self._waited:.0f} s (wait_seconds): "
                f"{offer.sentence}",
                never=False,
            )
        if self._messages.is_due(self._waited):
            self._observer.say(
                f"waiting for a detector ({self._waited:.0f} of {limit:.0f} s): {offer.sentence}"
            )

    def _count_wait(self, seconds: float) -> None:
        if not self._wants_room:
            self._tally.waits += 1
        self._wants_room = True
        self._tally.wait_seconds += seconds
