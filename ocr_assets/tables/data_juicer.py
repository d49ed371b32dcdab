"""Samples in Data-Juicer's form, from rows of `filtered_dataset`."""

import json
from typing import Any

from ocr_assets.tables.json_text import json_text
from ocr_assets.tables.stored_path import stored_paths


def kept_line(row: dict[str, Any]) -> str:
    """A sample as a line of a Data-Juicer dataset, its videos by their absolute paths."""
    return json_text(_sample(row)) + "\n"


def rejected_line(row: dict[str, Any]) -> str:
    """The same with `verdict`, `reason_code` and `reason` in `__dj__meta__`."""
    sample = _sample(row)
    verdict = {name: row[name] for name in ("verdict", "reason_code", "reason")}
    _merge(sample, "__dj__meta__", verdict)
    return json_text(sample) + "\n"


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    sample: dict[str, Any] = {"videos": stored_paths(row), **json.loads(row["sample_json"])}
    _merge(sample, "__dj__stats__", {"video_ocr_area_ratio": row["ocr_area_ratio"]})
    return sample


def _merge(sample: dict[str, Any], key: str, values: dict[str, Any]) -> None:
    """Adds to what an earlier operator has left under a key of Data-Juicer's own."""
    found = sample.get(key)
    sample[key] = {**(found if isinstance(found, dict) else {}), **values}
