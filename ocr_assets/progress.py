"""How far a step has come, said at a rate that people can read."""

import time
from collections.abc import Callable


class Progress:
    """Counts units of work and reports now and then.

    ```python
    progress = Progress(context.log.info, "frames", total=1200)
    progress.advance()
    ```
    """

    def __init__(
        self,
        report: Callable[[str], object],
        unit: str,
        total: int | None = None,
        interval_seconds: float = 5.0,
    ) -> None:
        """Starts the clock.

        Args:
            report: Takes each report, a line of text.
            unit: What is counted, in the plural.
            total: How many there will be, if that is known.
            interval_seconds: Least time between two reports.
        """
        self.done = 0
        self._report = report
        self._unit = unit
        self._total = total
        self._interval_seconds = interval_seconds
        self._started = self._reported = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self.done / max(self.seconds, 1e-9)

    def advance(self, count: int = 1) -> None:
        """So many more units are done."""
        self.done += count
        if time.monotonic() - self._reported >= self._interval_seconds:
            self._reported = time.monotonic()
            rate = self.done / self.seconds
            if self._total is None:
                self._report(f"{self.done} {self._unit}, {rate:.1f}/s")
            else:
                left = (self._total - self.done) / rate
                self._report(
                    f"{self.done} of {self._total} {self._unit}, {rate:.1f}/s, {left:.0f} s left"
                )
