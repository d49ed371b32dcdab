"""What a section of the benchmark has to say, as a table and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tests.benchmarks.measure import Spread, spread


@dataclass(frozen=True)
class Table:
    """Rows of text under their headings."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Target:
    """A figure and what it should be.

    Attributes:
        name: What is measured.
        value: The figure; None where this machine cannot give it.
        bound: What it should be.
        sense: Whether it should be at least or at most that.
        unit: Printed after both.
        remark: Said beside it.
    """

    name: str
    value: float | None
    bound: float
    sense: Literal[">=", "<="]
    unit: str = "x"
    remark: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it is so; None without a figure."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.sense == ">=" else self.value <= self.bound


@dataclass(frozen=True)
class Section:
    """One section: tables and targets to print, and all its figures for the JSON."""

    name: str
    tables: Sequence[Table]
    targets: Sequence[Target]
    figures: Mapping[str, Any]
    notes: Sequence[str] = field(default_factory=list)


def print_section(section: Section, console: Console) -> None:
    """Tables, then targets, then notes."""
    console.rule(section.name, align="left", style="none")
    for table in section.tables:
        drawn = RichTable(box=box.SIMPLE)
        for index, column in enumerate(table.columns):
            drawn.add_column(column, justify="left" if index == 0 else "right")
        for row in table.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(Text(table.title))
        console.print(drawn)
    if section.targets:
        console.print("targets")
        drawn = RichTable(box=box.SIMPLE)
        for column in ("what", "measured", "target", "", ""):
            drawn.add_column(column)
        for target in section.targets:
            drawn.add_row(*(Text(cell) for cell in target_row(target)))
        console.print(drawn)
    for note in section.notes:
        console.print(Text(note))


def target_row(target: Target) -> list[str]:
    """Name, figure, target, verdict, remark."""
    value = "-" if target.value is None else f"{target.value:.3g}{target.unit}"
    verdict = {True: "met", False: "MISSED", None: "not measured"}[target.met]
    bound = f"{target.sense} {target.bound:g}{target.unit}"
    return [target.name, value, bound, verdict, target.remark]


def section_json(section: Section) -> dict[str, Any]:
    """All that a section found out."""
    return {
        "targets": [
            {
                "name": target.name,
                "value": target.value,
                "sense": target.sense,
                "bound": target.bound,
                "unit": target.unit,
                "met": target.met,
                "remark": target.remark,
            }
            for target in section.targets
        ],
        "figures": dict(section.figures),
        "notes": list(section.notes),
    }


def seconds(values: Sequence[float]) -> str:
    """Median of the rounds, and their range."""
    return _with_range(spread(values), 1 if max(values) >= 100 else 2, " s")


def milliseconds(values: Sequence[float]) -> str:
    """Median of the rounds' seconds, and their range, in ms."""
    return _with_range(spread([1000 * value for value in values]), 1, " ms")


def times(values: Sequence[float]) -> str:
    """Median of the rounds' ratios, and their range."""
    return _with_range(spread(values), 2, "x")


def gibibytes(values: Sequence[float]) -> str:
    """Median of the rounds' bytes, and their range, in GiB."""
    return _with_range(spread([value / 2**30 for value in values]), 2, " GiB")


def plain(values: Sequence[float], digits: int) -> str:
    """Median of the rounds, and their range, of what the column's heading says."""
    return _with_range(spread(values), digits, "")


def _with_range(found: Spread, digits: int, unit: str) -> str:
    text = f"{found.median:.{digits}f}{unit}"
    if found.least == found.greatest:
        return text
    return f"{text} ({found.least:.{digits}f}-{found.greatest:.{digits}f})"
