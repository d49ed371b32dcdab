"""A row of every table, as a run over one of the demo's clips wrote it, for the assets' pages.

```python
print(example_markdown(OcrBoxes))
```
"""

import datetime as dt
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import dataframely as dy
import polars as pl

from ocr_assets.markdown_table import shortened
from ocr_assets.plain_text import markdown_text
from ocr_assets.tables.schemas import FilteredDataset, OcrBoxes, SampledFrames, VideoManifest

DATE = dt.date(2026, 1, 31)
SAMPLE_ID = "2026-01-31/subtitles.mp4"
PATH = f"/data/videos/{SAMPLE_ID}"
VIDEO_ID = "6c4b1a42d86f297bd6a13c13363e3002"
IMAGE_HASH = "d64f0714ae9c7d944ffa40677361d991"

EXAMPLES: Mapping[type[dy.Schema], Mapping[str, Any]] = MappingProxyType(
    {
        VideoManifest: {
            "date": DATE,
            "sample_id": SAMPLE_ID,
            "sample_index": 3,
            "video_index": 0,
            "video_id": VIDEO_ID,
            "path": PATH,
            "path_bytes": None,
            "bytes": 59_131,
            "container": "mp4",
            "codec": "h264",
            "width": 640,
            "height": 360,
            "fps": 12.0,
            "duration_seconds": 3.0,
            "frame_count": 36,
            "file_state": "e490b61ba98c9b8b 65024:2424875:59131:1769817600200423694:"
            "1769817600200423694",
            "status": "ok",
            "error": None,
            "sample_json": "{}",
        },
        SampledFrames: {
            "date": DATE,
            "video_id": VIDEO_ID,
            "frame_index": 0,
            "pts": 0,
            "timestamp_seconds": 0.0,
            "width": 640,
            "height": 360,
            "image": b"RIFF\x8a\xa7\x00\x00WEBPVP8L}\xa7\x00\x00/\x7f\xc2Y",  # its first bytes
            "image_format": "webp",
            "image_hash": IMAGE_HASH,
            "sampling_key": "6ba06f6a01c0e0db755c301b2032ea19",
            "status": "ok",
            "error": None,
        },
        OcrBoxes: {
            "date": DATE,
            "video_id": VIDEO_ID,
            "frame_index": 0,
            "width": 640,
            "height": 360,
            "boxes": [
                {
                    "kind": "rect",
                    "points": [[122.0, 316.0], [520.0, 316.0], [520.0, 348.0], [122.0, 348.0]],
                    "area_pixels": 12_736.0,
                    "text": None,
                    "confidence": None,
                }
            ],
            "ocr_area_ratio": 12_736 / (640 * 360),
            "union_area_ratio": 12_736 / (640 * 360),
            "device": "cpu",
            "milliseconds": 1460.9,
            "image_hash": IMAGE_HASH,
            "detection_key": "9787248bfe9e865eb32d7893445f54ba",
            "status": "ok",
            "error": None,
        },
        FilteredDataset: {
            "date": DATE,
            "sample_id": SAMPLE_ID,
            "sample_index": 3,
            "video_ids": [VIDEO_ID],
            "paths": [PATH],
            "path_bytes": [None],
            "ocr_area_ratio": [0.062100694444444444],
            "union_area_ratio": [0.062100694444444444],
            "max_union_area_ratio": [0.08463541666666667],
            "subtitle_zone_ratio": [0.06210069444444444],
            "corner_ratio": [0.014415509259259255],
            "centre_ratio": [0.0],
            "static_text_ratio": [0.0],
            "verdict": "keep",
            "reason_code": "ok",
            "reason": "ocr_area_ratio 0.062 within [0.000, 0.100]",
            "rule": '{"min_area_ratio": 0.0, "max_area_ratio": 0.1, "metric": "ocr_area_ratio", '
            '"any_or_all": "any"}',
            "sample_json": "{}",
        },
    }
)


def example_frame(schema: type[dy.Schema]) -> pl.DataFrame:
    """The example as a table of one row, with the schema's columns."""
    return pl.DataFrame([EXAMPLES[schema]], schema=schema.create_empty().schema)


def example_markdown(schema: type[dy.Schema]) -> str:
    """The example as a table in Markdown: a line for every column, long values cut short."""
    row = EXAMPLES[schema]
    lines = [f"| `{name}` | {_value(row[name])} |" for name in schema.column_names()]
    return "\n".join(["| column | in an example row |", "|:--|:--|", *lines])


def _value(value: object) -> str:
    if value is None:
        return "*null*"
    is_plain = isinstance(value, str | bytes | dt.date)
    return markdown_text(shortened(str(value) if is_plain else json.dumps(_rounded(value))))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return (
        {name: _rounded(one) for name, one in value.items()} if isinstance(value, dict) else value
    )
