"""What came of a day, as a table on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ocr_assets.plain_text import printable

if TYPE_CHECKING:
    from ocr_assets.runs import DaySummary

ROWS = 50
SAMPLE_WIDTH = 36


def print_day(summary: "DaySummary") -> None:
    """Prints the first samples with their verdicts, the counts, and where everything is."""
    table = Table(box=box.SIMPLE)
    shown = summary.samples[:ROWS]
    names = [Text(printable(sample.sample_id)) for sample in shown]
    longest = max((name.cell_len for name in names), default=len("sample"))
    table.add_column("sample", width=min(longest, SAMPLE_WIDTH), overflow="fold")
    for column in ("verdict", "ratio", "union"):
        table.add_column(column, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for name, sample in zip(names, shown, strict=True):
        table.add_row(
            name,
            Text(sample.verdict),
            Text(ratios_text(sample.ocr_area_ratio)),
            Text(ratios_text(sample.union_area_ratio)),
            Text(printable(sample.reason)),
        )
    console = Console()
    console.print(table)
    if len(summary.samples) > ROWS:
        console.print(f"and {len(summary.samples) - ROWS} more, in filtered_dataset")
    console.print(
        f"{summary.date}: {summary.kept} kept, {summary.dropped} dropped, "
        f"{summary.quarantined} quarantined in {summary.seconds:.0f} s"
    )
    paths = {"tables": summary.tables, "kept": summary.kept_jsonl, "report": summary.report}
    for what, path in paths.items():
        print(f"{what + ':':<8}{printable(path)}")


def ratios_text(ratios: Sequence[float | None]) -> str:
    """A sample's ratios, one a video, `-` for one that is not known."""
    return ", ".join("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios)
