"""A bar for each step of a run, on the terminal."""

import contextlib
import os
import sys
from collections.abc import Iterator

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from ocr_assets.progress import Progress, shown_by, time_text

REFRESHES_PER_SECOND = 4  # each takes time from the step


@contextlib.contextmanager
def step_bars() -> Iterator[None]:
    """Shows how far steps have come by bars on standard error, while the block runs.

    What is written there in the meantime appears above them. Where standard error is no terminal
    nothing is shown, and steps report in lines.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") in {"dumb", "unknown"}:
        yield
        return
    bars = Bars(
        TextColumn("{task.description:<17}", markup=False),
        BarColumn(bar_width=None),
        _Said(table_column=Column(no_wrap=True)),
        console=Console(stderr=True),
        refresh_per_second=REFRESHES_PER_SECOND,
        redirect_stdout=False,
        expand=True,
    )
    display = _StepBars(bars)
    with bars, shown_by(display):
        try:
            yield
        finally:
            display.end()


class _StepBars:
    """Adds a bar when a step begins to count; one step counts at a time."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._last: tuple[TaskID, Progress] | None = None

    def begin(self, progress: Progress) -> None:
        """Adds the step's bar; nothing to do is not shown."""
        self.end()
        if progress.total != 0:
            step = dg.AssetExecutionContext.get().op_execution_context.op.name
            bar = self._bars.add_task(step, total=progress.total, progress=progress)
            self._last = bar, progress

    def advance(self, progress: Progress) -> None:
        """Moves it."""
        if self._last is not None and self._last[1] is progress:
            self._bars.update(self._last[0], completed=progress.done)
            if progress.done == progress.total:
                self.end()

    def end(self) -> None:
        """The last bar stays as it is."""
        if self._last is not None:
            bar, progress = self._last
            self._bars.update(bar, total=progress.total or progress.done, ended=progress.seconds)
            self._bars.stop_task(bar)
            self._last = None


class _Said(ProgressColumn):
    """`121 of 1200 frames, 3.2/s, 5 min 37 s left`; at the end, `1200 of 1200 frames in 6 min`."""

    def render(self, task: Task) -> Text:
        progress: Progress = task.fields["progress"]
        ended: float | None = task.fields.get("ended")
        if ended is None:
            return Text(progress.sentence())
        return Text(f"{progress.count_text()} in {time_text(ended)}")
