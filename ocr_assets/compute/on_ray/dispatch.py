"""Giving units to workers that may die."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import length_hint
from typing import Any, Generic, Protocol, TypeVar

import ray

from ocr_assets.gpu.faults import DeviceFaultError
from ocr_assets.object_storage_errors import in_own_words

WAIT_SECONDS = 0.5  # for an answer, until workers are looked after again
NOBODY_SECONDS = 0.05  # the same while nobody is at work
# Of the process, its host, or of what it would have sent.
DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,
)

Unit = TypeVar("Unit", bound="Numbered")
Result = TypeVar("Result")
Given = TypeVar("Given", bound="Numbered")
Came = TypeVar("Came", covariant=True)


class Numbered(Protocol):
    """A unit of work."""

    @property
    def number(self) -> int:
        """Its place in the day."""


class WorkerDiedError(Exception):
    """Whatever worked on a unit is gone."""


class WorkerRetiredError(Exception):
    """A worker takes on no more work; another one will."""


@dataclass(eq=False)
class Try(Generic[Unit]):
    """A unit on its way.

    Attributes:
        unit: The unit.
        deaths: How often whatever worked on it has died.
        failures: How often whoever worked on it has raised something.
        avoid: Who has died or failed with it.
    """

    unit: Unit
    deaths: int = 0
    failures: int = 0
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """What came of a unit, and what its worker has said since its answer before."""

    result: Result
    messages: tuple[str, ...]


class Workers(Protocol[Given, Came]):
    """Those who do units."""

    def look_around(self, units_left: int) -> None:
        """Called at least every WAIT_SECONDS, with how many units are not done yet."""

    def begin(self, one: Try[Given]) -> tuple[Any, str] | None:
        """Gives somebody a unit: a reference to the answer, and who it is; None: nobody is free."""

    def ended(self, who: str, *, died: bool) -> None:
        """Somebody has answered, or never will."""

    def result(self, answer: Any) -> Came:
        """What came of a unit, from an answer."""

    def cancel(self, reference: Any) -> None:
        """Nobody waits for an answer any more."""


class Dispatch(Generic[Unit, Result]):
    """Keeps workers busy with units, and gives a unit to another worker if the one it had dies."""

    def __init__(
        self,
        workers: Workers[Unit, Result],
        units: Iterable[Unit],
        lost: Callable[[Unit, str], Result],
        max_tries: int,
        say: Callable[[str], None],
    ) -> None:
        """Begins nothing yet.

        Args:
            workers: Those who do units.
            units: Taken as workers are free.
            lost: What becomes of a unit whose worker has died `max_tries` times, with the reason.
            max_tries: How often workers may die with a unit, and how often they may raise
                something.
            say: Takes messages for people.
        """
        self._workers = workers
        self._units = iter(units)
        self._remaining = length_hint(units)
        self._lost = lost
        self._max_tries = max_tries
        self._say = say
        self._waiting: deque[Try[Unit]] = deque()
        self._under_way: dict[Any, tuple[Try[Unit], str]] = {}
        self._looked_at = float("-inf")

    def results(self) -> Iterator[tuple[Unit, Result]]:
        """Each unit with what came of it, as it is finished.

        Raises:
            DeviceFaultError: The devices of `max_tries` workers were broken when they had one unit.
            Exception: What workers have raised with one unit, `max_tries` times.
        """
        try:
            while self._begin():
                for reference in self._answers():
                    self._look_around(WAIT_SECONDS)
                    one, who = self._under_way.pop(reference)
                    done = self._land(one, who, reference)
                    if done is not None:
                        yield one.unit, done
        finally:
            for reference in self._under_way:
                self._workers.cancel(reference)

    def _begin(self) -> bool:
        """Gives out what there are workers for; returns whether there is anything to wait for."""
        self._look_around(0.0)
        while one := self._next():
            begun = self._workers.begin(one)
            if begun is None:
                self._waiting.appendleft(one)
                break
            self._under_way[begun[0]] = one, begun[1]
            self._look_around(WAIT_SECONDS)
        return bool(self._waiting or self._under_way)

    def _look_around(self, seconds: float) -> None:
        """Unless that was done less than so many seconds ago."""
        if time.monotonic() - self._looked_at >= seconds:
            self._workers.look_around(self._remaining + len(self._waiting) + len(self._under_way))
            self._looked_at = time.monotonic()

    def _next(self) -> Try[Unit] | None:
        if self._waiting:
            return self._waiting.popleft()
        for unit in self._units:
            self._remaining = max(self._remaining - 1, 0)
            return Try(unit)
        return None

    def _answers(self) -> list[Any]:
        references = list(self._under_way)
        if not references:
            time.sleep(NOBODY_SECONDS)
            return []
        first, others = ray.wait(references, timeout=WAIT_SECONDS)
        if not first or not others:
            return first
        return first + ray.wait(others, num_returns=len(others), timeout=0)[0]

    def _land(self, one: Try[Unit], who: str, reference: Any) -> Result | None:
        """What came of a unit; None if it has to be done again."""
        try:
            result = self._workers.result(answer_of(reference))
        except WorkerRetiredError:
            self._workers.ended(who, died=True)
        except (WorkerDiedError, DeviceFaultError) as death:
            self._workers.ended(who, died=True)
            one.deaths += 1
            one.avoid |= {who}
            if one.deaths >= self._max_tries:
                if isinstance(death, DeviceFaultError):
                    raise  # the device is to blame, and not what is on the frames
                reason = f"what worked on it died {one.deaths} times, at last {who}: {death}"
                self._say(f"unit {one.unit.number} is given up: {reason}")
                return self._lost(one.unit, reason)
            self._say(f"{who} died, its work is done elsewhere: {death}")
        except Exception as error:
            self._workers.ended(who, died=False)
            one.failures += 1
            one.avoid |= {who}
            if one.failures >= self._max_tries:
                raise
            self._say(f"{who} failed, its work is tried again: {in_own_words(error)}")
        else:
            self._workers.ended(who, died=False)
            return result
        self._waiting.append(one)
        return None


def is_there(reference: Any) -> bool:
    """Whether an answer has come."""
    ready, _ = ray.wait([reference], timeout=0)
    return bool(ready)


def answer_of(reference: Any) -> Any:
    """What a worker has answered.

    Raises:
        WorkerDiedError: It is gone.
        DeviceFaultError: Its process can use its GPU no more.
        Exception: What it has raised.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
    except DEATHS as error:
        raise WorkerDiedError(str(error).strip().splitlines()[0]) from error
