"""What a report says of itself, for programs: for its check, and for the day's next report."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ocr_assets.tables.folder import Folder


@dataclass(frozen=True)
class Reported:
    """What a step reported when it last did the day.

    Attributes:
        at: When, in seconds since the epoch.
        numbers: Those of its metadata that are numbers.
    """

    at: float
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class About:
    """What a report is of.

    Attributes:
        dataset: What `dataset_digest` gives of the samples that are shown.
        reported: By asset, as far as it was known.
    """

    dataset: str
    reported: Mapping[str, Reported]


def about_report(folder: Folder, name: str) -> About | None:
    """What a report says of itself; None if it is not there, or of an earlier version."""
    found = folder.read(name)
    if found is None:
        return None
    html = found.text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    about = json.loads(data[1]).get("about") if data else None
    if about is None:
        return None
    reported = {asset: Reported(**one) for asset, one in about["reported"].items()}
    return About(about["dataset"], reported)


def dataset_digest(samples: pl.DataFrame) -> str:
    """SHA-256 of all verdicts, in hexadecimal digits.

    Args:
        samples: `sample_id`, `verdict` and `rule` of each, in any order.
    """
    rows = samples.select("sample_id", "verdict", "rule").sort("sample_id").rows()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def numbers(metadata: Mapping[str, Any]) -> dict[str, float]:
    """Those entries of a step's metadata that are numbers."""
    return {
        name: value
        for name, value in metadata.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
