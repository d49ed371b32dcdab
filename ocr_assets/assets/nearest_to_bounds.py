"""The samples whose verdict the least change of the bounds would turn round."""

import heapq
import math
from collections.abc import Mapping
from typing import Any

from ocr_assets.coverage import FilterRule
from ocr_assets.markdown_table import markdown_table
from ocr_assets.tables.schemas import DROP, KEEP

MOST_A_SIDE = 5

Shown = tuple[float, str, float, str]  # margin, sample, ratio, verdict


class NearestToBounds:
    """Keeps those samples on both sides of the bounds while the day's rows pass by."""

    def __init__(self, rule: FilterRule) -> None:
        """Begins without any.

        Args:
            rule: What the samples are judged by.
        """
        self._rule = rule
        self._sides: dict[str, list[Shown]] = {KEEP: [], DROP: []}

    def consider(self, row: Mapping[str, Any]) -> None:
        """Takes a sample if it is among the nearest so far.

        Args:
            row: One of `filtered_dataset`.
        """
        side = self._sides.get(row["verdict"])
        ratios = [ratio for ratio in row[self._rule.metric] if ratio is not None]
        if side is None or not ratios:
            return
        decides = max if self._rule.any_or_all == "any" else min
        margin, ratio = decides((self._margin(ratio), ratio) for ratio in ratios)
        side.append((margin, row["sample_id"], ratio, row["verdict"]))
        if len(side) > 2 * MOST_A_SIDE:
            side[:] = self._nearest(row["verdict"])

    def markdown(self) -> str:
        """The samples from the one furthest outside to the one furthest inside."""
        shown = sorted([*self._nearest(DROP), *self._nearest(KEEP)])
        rows = [(sample, ratio, verdict) for _, sample, ratio, verdict in shown]
        return markdown_table(("sample", self._rule.metric, "verdict"), rows)

    def _nearest(self, verdict: str) -> list[Shown]:
        return heapq.nsmallest(MOST_A_SIDE, self._sides[verdict], key=lambda one: abs(one[0]))

    def _margin(self, ratio: float) -> float:
        """How far within the bounds a ratio lies, below 0 if it does not.

        No ratio is below 0, so a lower bound of 0 is none.
        """
        low = self._rule.min_area_ratio
        from_below = ratio - low if low > 0 else math.inf
        return min(from_below, self._rule.max_area_ratio - ratio)
