"""What other thresholds would do to a day, as small tables that a page can count with.

A threshold can take some thousand values. So a sample is summed up by the cells between them that
its videos' ratios lie in, and samples that are alike are counted once: from that, the verdicts at
any of these thresholds are exact, and there is no row for each sample.
"""

import base64
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ocr_assets.coverage import METRICS, FilterRule, Metric
from ocr_assets.tables.schemas import DROP, KEEP, QUARANTINE

STEPS_PER_UNIT = (1000, 500, 200, 100)  # the first unless there is too much to tell
ABOVE_ONE = (1.25, 1.5, 2.0, 5.0, 10.0, 100.0)  # of ocr_area_ratio, where boxes overlap
VERDICTS = (KEEP, DROP, QUARANTINE)


def threshold_grid(
    rule: FilterRule, steps_per_unit: int = STEPS_PER_UNIT[0]
) -> NDArray[np.float64]:
    """The thresholds to choose from, ascending: 0 to 1 in equal steps, some above, a rule's own."""
    steps = np.arange(steps_per_unit + 1) / steps_per_unit
    chosen = [bound for bound in (rule.min_area_ratio, rule.max_area_ratio) if np.isfinite(bound)]
    return np.unique(np.concatenate([steps, ABOVE_ONE, chosen]))


@dataclass(frozen=True)
class Profiles:
    """Samples that are alike for one metric, and how many there are of each kind.

    Attributes:
        verdicts: (profiles), uint8: what they are now, as a place in VERDICTS.
        unread: (profiles), uint8: 1 if there is a video whose ratio is not known.
        lengths: (profiles), uint32: in how many cells their videos lie.
        cells: (sum of lengths), uint16, ascending within a profile. Cell 2 i is the i-th threshold
            itself, 2 i + 1 is what lies between it and the next.
        counts: (profiles), uint32: how many samples.
    """

    verdicts: NDArray[np.uint8]
    unread: NDArray[np.uint8]
    lengths: NDArray[np.uint32]
    cells: NDArray[np.uint16]
    counts: NDArray[np.uint32]

    def encoded(self) -> dict[str, str]:
        """Each as base64 of its bytes, least significant first."""
        return {
            name: base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
            for name, array in vars(self).items()
        }


def profiles(samples: pl.DataFrame, metric: Metric, grid: NDArray[np.float64]) -> Profiles:
    """Sums samples up.

    Samples without videos are left out: no threshold changes what becomes of them.

    Args:
        samples: `verdict` and the metric's column of `filtered_dataset`.
        metric: Which ratio.
        grid: What `threshold_grid` gives.
    """
    with_videos = samples.filter(pl.col(metric).list.len() > 0)
    ratios = with_videos.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("sample"), pl.col(metric).alias("ratio")
    ).explode("ratio")
    known = ratios.drop_nulls("ratio")
    cells = known.select("sample", cell=pl.Series(_cells(known["ratio"].to_numpy(), grid)))
    alike = (
        with_videos.select(
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("sample"),
            verdict=pl.col("verdict").replace_strict(
                {name: place for place, name in enumerate(VERDICTS)}, return_dtype=pl.UInt8
            ),
            unread=pl.col(metric).list.eval(pl.element().is_null()).list.any().cast(pl.UInt8),
        )
        .join(
            cells.unique().sort("sample", "cell").group_by("sample").agg("cell"),
            on="sample",
            how="left",
            maintain_order="left",
        )
        .with_columns(pl.col("cell").fill_null([]))
        .group_by("verdict", "unread", "cell", maintain_order=True)
        .len("count")
        .sort("verdict", "unread", "count", descending=[False, False, True], maintain_order=True)
    )
    return Profiles(
        alike["verdict"].to_numpy(),
        alike["unread"].to_numpy(),
        alike["cell"].list.len().cast(pl.UInt32).to_numpy(),
        alike.select("cell").filter(pl.col("cell").list.len() > 0)["cell"].explode().to_numpy(),
        alike["count"].cast(pl.UInt32).to_numpy(),
    )


def _cells(ratios: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.uint16]:
    place = np.searchsorted(grid, ratios, side="right") - 1
    cells: NDArray[np.uint16] = (2 * place + (grid[place] != ratios)).astype(np.uint16)
    return cells


def all_profiles(samples: pl.DataFrame, grid: NDArray[np.float64]) -> dict[str, dict[str, str]]:
    """The profiles of all metrics, encoded."""
    return {metric: profiles(samples, metric, grid).encoded() for metric in METRICS}
