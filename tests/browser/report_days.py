"""Samples for reports: with ratios that are hard to judge, and with hostile names."""

from random import Random

import numpy as np

from ocr_assets.coverage import FilterRule, VideoCoverage
from ocr_assets.reasons import Fault, Status
from tests.reports.synthetic_day import UNREADABLE, Sample, coverage

RULE = FilterRule(0.05, 0.3)
EXACT = (0.0, 0.05, 0.1, 0.25, 0.3, 0.5, 1.0)
HOSTILE_NAMES = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "<!--",
    "<!--<script>",
    "]]>",
    "' onerror='alert(1)",
    '" onerror="alert(1)" x="',
    "{{ 7 * 7 }} ${7 * 7}",
    "\u202egnp.exe\u2066",
    "a\nb\x1b[2J\u2028c",
    "&lt;b&gt;&amp;",
    "long" * 400,
]


def of_one_video(random: Random) -> list[Sample]:
    """On thresholds, as near to them as can be, above 1, and anywhere; some cannot be read."""
    ratios = [
        ratio
        for exact in EXACT
        for ratio in (exact, np.nextafter(exact, -1), np.nextafter(exact, 2))
        if ratio >= 0
    ]
    ratios += [1.304, 7.5, *(round(random.betavariate(1, 3), 3) for _ in range(40))]
    samples: list[Sample] = [
        (f"one {index:02}.mp4", [coverage(float(ratio), static_of(index, float(ratio)))])
        for index, ratio in enumerate(ratios)
    ]
    faults = (Status.TRUNCATED, Status.MISSING, Status.MISSING, Status.NOT_A_VIDEO)
    return samples + [
        (f"unreadable {index}.mp4", [Fault(status, f"it is {status}")])
        for index, status in enumerate(faults)
    ]


def static_of(index: int, ratio: float) -> float | None:
    """Of every fifth video one frame was sampled."""
    return None if index % 5 == 0 else min(ratio, 1)


def of_several_videos(random: Random) -> list[Sample]:
    def video() -> VideoCoverage | Fault:
        if random.random() < 0.25:
            return UNREADABLE
        area, union, zone, corner, centre, static = (
            random.choice([*EXACT, random.random()]) for _ in range(6)
        )
        known = random.random() < 0.8
        return VideoCoverage(
            area, union, max(union, area), zone, corner, centre, static if known else None
        )

    return [
        (f"several {index:02}", [video() for _ in range(random.choice([2, 3]))])
        for index in range(60)
    ] + [("none", [])]


def of_hostile_names() -> list[Sample]:
    return [
        (f"{name}{kind}", [video])
        for name in HOSTILE_NAMES
        for kind, video in (
            ("", coverage(0.2)),
            (" dropped", coverage(0.4)),
            (" bad", Fault(Status.DAMAGED, f"it is {name}")),
        )
    ]
