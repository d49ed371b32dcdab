r"""Tables in Markdown, as Dagster's pages show them.

```python
print(markdown_table(("sample", "ratio"), [("a|b.mp4", 0.0614), ("c.mp4", None)]))
# | sample | ratio |
# |:--|--:|
# | a&#124;b\.mp4 | 0.0614 |
# | c\.mp4 | \- |
```
"""

from collections.abc import Iterable, Sequence

from ocr_assets.plain_text import markdown_text, printable

MOST_CHARACTERS = 200  # of a cell; what is shown is kept in Dagster's event log

Cell = str | float | None


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Rows as a table that shows text as it is, whatever markup it holds.

    Args:
        columns: Their names. Those of numbers, by the first row, are aligned to the right.
        rows: Text, which is shortened; numbers, floats with five decimals at most; None is `-`.

    Returns:
        The table; `none` if there is no row.
    """
    cells = list(rows)
    if not cells:
        return "none"
    alignment = ["--:" if isinstance(cell, int | float) else ":--" for cell in cells[0]]
    lines = ["|".join(alignment), *(" | ".join(map(_shown, row)) for row in cells)]
    head = f"| {' | '.join(map(markdown_text, columns))} |"
    return "\n".join([head, f"|{lines[0]}|", *(f"| {line} |" for line in lines[1:])])


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text, printable and cut to so many characters."""
    # What is cut is what is seen: an escape is longer than the character that it stands for.
    plain = printable(text)
    return plain if len(plain) <= most else f"{plain[:most]}..."


def _shown(cell: Cell) -> str:
    if cell is None:
        return "\\-"
    if isinstance(cell, str):
        return markdown_text(shortened(cell))
    return f"{cell:.5f}".rstrip("0").rstrip(".") if isinstance(cell, float) else f"{cell}"
