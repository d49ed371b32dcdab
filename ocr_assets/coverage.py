"""From boxes to area ratios, and from area ratios to verdicts. Pure functions.

```python
video = VideoCoverage(0.288, 0.274, 0.284, 0.201, 0.041, 0.032, 0.0)
judge_sample([video], FilterRule(max_area_ratio=0.1)).reason
# 'ocr_area_ratio 0.288 above max_area_ratio 0.100'
```
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ocr_assets.box_areas import covered_pixels
from ocr_assets.ocr.boxes import TextBox
from ocr_assets.reasons import DropReason, Fault, Status

Metric = Literal[
    "ocr_area_ratio",
    "union_area_ratio",
    "max_union_area_ratio",
    "subtitle_zone_ratio",
    "corner_ratio",
    "centre_ratio",
    "static_text_ratio",
]
METRICS: tuple[Metric, ...] = get_args(Metric)
GREATEST_BOUND = 100  # that can be asked for: text a hundred times the frame is all text
AnyOrAll = Literal["any", "all"]
Verdict = Literal["keep", "drop", "quarantine"]


def ocr_area_ratio(boxes: Sequence[TextBox], width: int, height: int) -> float:
    """Sum of the box areas over the frame's area: the reference's metric.

    Overlaps count twice and boxes may leave the frame, so that it can exceed 1.

    Source: `video_ocr_area_ratio_filter` of Data-Juicer 1.6.
    """
    return sum(box.area_pixels for box in boxes) / (width * height)


def union_area_ratio(boxes: Sequence[TextBox], width: int, height: int) -> float:
    """Share of the frame that lies under at least one box, in [0, 1].

    It is at most `ocr_area_ratio`, but for rounding. Of a quadrilateral whose sides cross, what
    lies under it is its two triangles.
    """
    # What has no area covers nothing, whatever shape its corners would make in another order.
    boxes = [box for box in boxes if box.area_pixels > 0]
    covered = covered_pixels(
        np.array([box.points for box in boxes], np.float64).reshape(-1, 4, 2),
        rectangular=all(box.kind == "rect" for box in boxes),
        x_edges=(0, width),
        y_edges=(0, height),
    )
    return min(float(covered.item()) / (width * height), 1.0)


@dataclass(frozen=True)
class VideoCoverage:
    """How much of a video is text, over its sampled frames.

    Attributes:
        ocr_area_ratio: Mean over the frames, >= 0.
        union_area_ratio: Mean over the frames, in [0, 1].
        max_union_area_ratio: Most of any frame, in [0, 1].
        subtitle_zone_ratio: Share of the frame that is text in its bottom quarter, mean, in [0, 1].
        corner_ratio: The same of its four corners.
        centre_ratio: The same of its middle.
        static_text_ratio: Share of the frame under text that stays in its place, in [0, 1]; None
            where a single frame was sampled. See `text_places.place_ratios` for these four.

    Raises:
        ValueError: A ratio is not finite or less than 0. No verdict can be based on it: NaN lies
            in no interval, and infinity in one that is open above.
    """

    ocr_area_ratio: float
    union_area_ratio: float
    max_union_area_ratio: float
    subtitle_zone_ratio: float
    corner_ratio: float
    centre_ratio: float
    static_text_ratio: float | None

    def __post_init__(self) -> None:
        """Refuses what is not a ratio."""
        for metric in METRICS:
            ratio: float | None = getattr(self, metric)
            if ratio is not None and not 0 <= ratio < float("inf"):
                raise ValueError(f"{metric} {ratio} is not a finite number of at least 0")


@dataclass(frozen=True)
class FilterRule:
    """Which samples to keep: those whose metric lies in a closed interval.

    Attributes:
        min_area_ratio: Least ratio that is kept, >= 0.
        max_area_ratio: Greatest ratio that is kept; infinity for no limit.
        metric: Which of a video's ratios is judged.
        any_or_all: Whether any or all of a sample's videos must lie in the interval.
    """

    min_area_ratio: float = 0.0
    max_area_ratio: float = 1.0
    metric: Metric = "ocr_area_ratio"
    any_or_all: AnyOrAll = "any"

    def __post_init__(self) -> None:
        """Refuses an interval that keeps nothing."""
        low, high = self.min_area_ratio, self.max_area_ratio
        if not (0 <= low <= high and low < float("inf")):
            raise ValueError(
                f"min_area_ratio {low} and max_area_ratio {high} are not an interval: "
                "0 <= min_area_ratio <= max_area_ratio is needed, and a finite min_area_ratio"
            )


@dataclass(frozen=True)
class Judgement:
    """A sample's verdict, and why.

    Attributes:
        verdict: What becomes of it.
        reason_code: The reason's kind: a drop's own, else a `Status`, `ok` of what is kept.
        reason: The reason as a sentence with its numbers.
    """

    verdict: Verdict
    reason_code: Status | DropReason
    reason: str


def judge_sample(videos: Sequence[VideoCoverage | Fault], rule: FilterRule) -> Judgement:
    """Keeps, drops or quarantines a sample.

    A video that could not be read counts as unknown: it decides nothing, but where the verdict
    would depend on it the sample is quarantined. A sample without videos is kept, as the reference
    does.

    Args:
        videos: A sample's videos in order: their coverage, or why they have none.
        rule: The interval and how to combine several videos.
    """
    if not videos:
        return Judgement("keep", Status.OK, "the sample has no videos")
    numbered = [
        (f"video {index + 1} of {len(videos)}: " if len(videos) > 1 else "", video)
        for index, video in enumerate(videos)
    ]
    ratios = [(place, _ratio(video, rule.metric)) for place, video in numbered]
    unread = [(place, ratio) for place, ratio in ratios if isinstance(ratio, Fault)]
    judged = [
        (_outside(ratio, rule), f"{place}{_sentence(ratio, rule)}")
        for place, ratio in ratios
        if not isinstance(ratio, Fault)
    ]
    dropped = [(outside, sentence) for outside, sentence in judged if outside is not None]
    kept = [sentence for outside, sentence in judged if outside is None]
    # One video in the interval settles `any`, one outside it settles `all`.
    if rule.any_or_all == "any" and kept:
        return Judgement("keep", Status.OK, kept[0])
    if rule.any_or_all == "all" and dropped:
        return Judgement("drop", *dropped[0])
    if unread:
        reason = "; ".join(f"{place}{fault.message}" for place, fault in unread)
        return Judgement("quarantine", unread[0][1].status, reason)
    reason = "; ".join(sentence for _, sentence in judged)
    if dropped:
        return Judgement("drop", dropped[0][0], reason)
    return Judgement("keep", Status.OK, reason)


def decimals(ratio: float, rule: FilterRule) -> int:
    """How many show on which side of the bounds a ratio lies; three unless it is close."""
    for digits in range(3, 15):
        if all(
            _side(round(ratio, digits), round(bound, digits)) == _side(ratio, bound)
            for bound in (rule.min_area_ratio, rule.max_area_ratio)
        ):
            return digits
    return 15


def _ratio(video: VideoCoverage | Fault, metric: Metric) -> float | Fault:
    """What is judged of a video, or why it cannot be."""
    if isinstance(video, Fault):
        return video
    ratio: float | None = getattr(video, metric)
    if ratio is None:
        return Fault(Status.TOO_FEW_FRAMES, f"{metric} needs two sampled frames, and there is one")
    return ratio


def _outside(ratio: float, rule: FilterRule) -> DropReason | None:
    """On which side of the interval it lies; None if it is in it."""
    if ratio < rule.min_area_ratio:
        return DropReason.BELOW
    # This way round, so that what is no number is not kept.
    return None if ratio <= rule.max_area_ratio else DropReason.ABOVE


def _sentence(ratio: float, rule: FilterRule) -> str:
    low, high = rule.min_area_ratio, rule.max_area_ratio
    digits = decimals(ratio, rule)
    if ratio > high:
        return f"{rule.metric} {ratio:.{digits}f} above max_area_ratio {high:.{digits}f}"
    if ratio < low:
        return f"{rule.metric} {ratio:.{digits}f} below min_area_ratio {low:.{digits}f}"
    return f"{rule.metric} {ratio:.{digits}f} within [{low:.{digits}f}, {high:.{digits}f}]"


def _side(value: float, bound: float) -> int:
    return (value > bound) - (value < bound)
