"""A histogram as a Markdown table, for the asset's page."""

from collections import Counter
from collections.abc import Sequence

BIN_WIDTH = 0.05
BAR_CHARACTERS = 24


def histogram_markdown(ratios: Sequence[float]) -> str:
    """Counts of ratios in bins of 0.05, from 0 to the last bin that has any; 1 and above is one.

    Args:
        ratios: Area ratios, >= 0.
    """
    if not ratios:
        return "No video has a ratio."
    last = round(1 / BIN_WIDTH)
    # The small addend keeps 0.15 / 0.05 = 2.9999999999999996 out of the bin below its own.
    counts = Counter(min(int(ratio / BIN_WIDTH + 1e-9), last) for ratio in ratios)
    most = max(counts.values())
    lines = ["| from | videos | |", "|--:|--:|:--|"]
    for index in range(max(counts) + 1):
        bar = "█" * -(-counts[index] * BAR_CHARACTERS // most)
        lines.append(f"| {index * BIN_WIDTH:.2f} | {counts[index]} | {bar} |")
    return "\n".join(lines)
