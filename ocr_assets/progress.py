"""How far a step has come, said at a rate that people can read.

```python
progress = Progress(print, "frames", total=1200)
progress.advance()
```

prints, if it has not for a while, `121 of 1200 frames, 3.2/s, 5 min 37 s left`. Inside
`with shown_by(display):` there is nothing to print, as the display shows it at all times.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Protocol

# Seconds from one report to the next: while a step is young, and later.
SOON_SECONDS, LATER_SECONDS = 5.0, 30.0
YOUNG_SECONDS = 60.0
# The rate that the time left is worked out from is that of the last so many seconds.
RECENT_SECONDS = 60.0
MARK_SECONDS = 1.0

MINUTE, HOUR, DAY = 60, 3600, 86_400


class Display(Protocol):
    """Something that shows how far steps have come."""

    def begin(self, progress: "Progress") -> None:
        """A step begins to count."""

    def advance(self, progress: "Progress") -> None:
        """It has counted."""


_display: ContextVar[Display | None] = ContextVar("display", default=None)


@contextlib.contextmanager
def shown_by(display: Display) -> Iterator[None]:
    """Has a display show what is begun in the block, in place of reports."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)


class Progress:
    """Counts units of work and reports now and then.

    Attributes:
        done: How many are done.
        total: How many there will be; None if that is not known.
        unit: What is counted, in the plural.
    """

    def __init__(
        self,
        report: Callable[[str], object],
        unit: str,
        total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the clock.

        Args:
            report: Takes each report, a line of text.
            unit: What is counted, in the plural.
            total: How many there will be, if that is known.
            clock: Seconds since some moment.
        """
        self.done = 0
        self.total = total
        self.unit = unit
        self._report = report
        self._clock = clock
        self._started = self._reported = clock()
        self._marks = deque([(self._started, 0)])  # when so many were done
        self._display = _display.get()
        if self._display is not None:
            self._display.begin(self)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self.done / max(self.seconds, 1e-9)

    @property
    def recent_rate(self) -> float:
        """Units a second in the last minute."""
        when, done = self._marks[0]
        return (self.done - done) / max(self._clock() - when, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end at the recent rate; None if there is no telling."""
        rate = self.recent_rate
        if self.total is None or rate == 0:
            return None
        return max(self.total - self.done, 0) / rate

    def advance(self, count: int = 1) -> None:
        """So many more units are done."""
        self.done += count
        self._mark()
        if self._display is not None:
            self._display.advance(self)
        elif self._is_time_to_report():
            self._reported = self._clock()
            self._report(self.sentence())

    def sentence(self) -> str:
        """For people: `121 of 1200 frames, 3.2/s, 5 min 37 s left`."""
        rate, left = self.recent_rate, self.seconds_left
        parts = [self.count_text()]
        if rate > 0:
            parts.append(rate_text(rate))
        if left is not None:
            parts.append(f"{time_text(left)} left")
        return ", ".join(parts)

    def count_text(self) -> str:
        """For people: `121 of 1200 frames`."""
        total = "" if self.total is None else f" of {self.total}"
        return f"{self.done}{total} {self.unit}"

    def _is_time_to_report(self) -> bool:
        interval = SOON_SECONDS if self.seconds <= YOUNG_SECONDS else LATER_SECONDS
        return self._clock() - self._reported >= interval

    def _mark(self) -> None:
        now = self._clock()
        if now - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((now, self.done))
        # The last of those that are older stays, so that there is always a time to look back to.
        while len(self._marks) > 1 and now - self._marks[1][0] >= RECENT_SECONDS:
            self._marks.popleft()


def rate_text(rate: float) -> str:
    """A rate for people: `3.2/s`, `1.5/min`.

    Args:
        rate: Units a second.
    """
    if rate >= 100:
        return f"{rate:.0f}/s"
    return f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * MINUTE:.1f}/min"


def time_text(seconds: float) -> str:
    """A time for people: `40 s`, `5 min 40 s`, `1 h 20 min`, `2 d 3 h`."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"
