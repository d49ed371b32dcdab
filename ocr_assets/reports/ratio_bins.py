"""The bins of the histograms of ratios."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

BINS = 40


def bin_edges(bins: int = BINS) -> NDArray[np.float64]:
    """Edges from 0 to 1, closer together near 0, where most ratios are."""
    return (np.arange(bins + 1) / bins) ** 2


def histogram(ratios: pl.Series, edges: Sequence[float]) -> list[int]:
    """How many ratios lie in each bin.

    What lies on an edge is in the bin above it; what lies above them all is in the last bin.

    Args:
        ratios: At least 0, no nulls.
        edges: Ascending, from 0.
    """
    places = np.searchsorted(np.array(edges), ratios.to_numpy(), side="right") - 1
    counts = np.bincount(places.clip(0, len(edges) - 2), minlength=len(edges) - 1)
    return [int(count) for count in counts]
