"""Days whose rows are written as the assets write them, without a video or a detector.

day = SyntheticDay(tmp_path)
day.write([("a.mp4", [coverage(0.2)]), ("b.mp4", [UNREADABLE])], FilterRule(max_area_ratio=0.1))
report = day.report()
"""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from ocr_assets.assets.coverage_report import coverage_report
from ocr_assets.assets.filtered_dataset import filtered_dataset
from ocr_assets.coverage import METRICS, FilterRule, VideoCoverage, judge_sample
from ocr_assets.ocr.boxes import rect_box
from ocr_assets.reasons import Fault, Status
from ocr_assets.resources.tables import Tables
from ocr_assets.settings import coverage_report as report_path
from ocr_assets.tables.box_columns import boxes_column
from ocr_assets.tables.partitioned import PartitionedTable
from ocr_assets.tables.schemas import FilteredDataset
from ocr_assets.verdicts import rule_text
from ocr_assets.video.images import encode_image

DATE = dt.date(2026, 1, 31)
WIDTH, HEIGHT = 160, 90
FRAMES = 2  # of each video
UNREADABLE = Fault(Status.TRUNCATED, "it is truncated")

Videos = Sequence[VideoCoverage | Fault]
Sample = tuple[str, Videos]
Moves = Counter[tuple[str, str]]


def coverage(ratio: float, static: float | None = 0.0) -> VideoCoverage:
    """A video whose ratios are all the same, but for what cannot be above 1."""
    share = min(ratio, 1.0)
    return VideoCoverage(ratio, share, share, share, share, share, static)


class SyntheticDay:
    """A day in tables of their own.

    Attributes:
        tables: These.
    """

    def __init__(self, root: Path) -> None:
        self.tables = Tables(root=str(root))

    def write(
        self,
        samples: Sequence[Sample],
        rule: FilterRule,
        *,
        faulty_samples: Sequence[tuple[str, Fault]] = (),
        pictures: int | None = None,
    ) -> None:
        """Writes the day's dataset, and frames with boxes.

        Args:
            samples: Ids with their videos. The first video's path ends with the id.
            rule: What they are judged by.
            faulty_samples: Ids of samples that list no videos because they are wrong themselves.
            pictures: How many videos have frames, which they have in common; None: all.
        """
        rows = [_row(sample_id, videos, rule) for sample_id, videos in samples]
        for sample_id, fault in faulty_samples:
            row = _row(sample_id, [], rule)
            rows.append(row | _judgement([fault], rule))
        for index, row in enumerate(rows):
            row["sample_index"] = index
        schema = FilteredDataset.create_empty().drop("date").schema
        self._replace(self.tables.filtered_dataset, pl.DataFrame(rows, schema=schema))
        readable = [
            (video_id, ratio)
            for row in rows
            for video_id, ratio in zip(row["video_ids"], row["union_area_ratio"], strict=True)
            if ratio is not None
        ]
        self._write_frames(readable[:pictures])

    def judge(self, rule: FilterRule) -> None:
        """Writes the manifest and has the asset judge the day, by the boxes of the frames.

        Samples have one video each, whose frames have one box.
        """
        manifest = [
            {
                "sample_id": row["sample_id"],
                "sample_index": row["sample_index"],
                "video_index": 0,
                "video_id": row["video_ids"][0],
                "path": row["paths"][0],
                "status": "ok",
                "sample_json": "{}",
            }
            for row in self.dataset().iter_rows(named=True)
        ]
        table = self.tables.video_manifest
        self._replace(table, pl.DataFrame(manifest, schema=_schema(table)))
        config = {"ops": {"filtered_dataset": {"config": asdict(rule)}}}
        self._materialize(filtered_dataset, config)

    def report(self) -> Path:
        """The report, made by the asset."""
        self._materialize(coverage_report)
        return Path(self.tables.root).absolute() / report_path(DATE)

    def dataset(self) -> pl.DataFrame:
        """The rows of `filtered_dataset`."""
        return self.tables.filtered_dataset.scan(DATE).sort("sample_index").collect()

    def moves(self, rule: FilterRule) -> Moves:
        """How many samples go from a verdict to another one, if a rule is put in place."""
        rows = self.dataset().select("verdict", *METRICS).iter_rows(named=True)
        return Counter((row["verdict"], _verdict(row, rule)) for row in rows)

    def _materialize(
        self, asset: dg.AssetsDefinition, config: dict[str, Any] | None = None
    ) -> None:
        dg.materialize(
            [asset],
            partition_key=DATE.isoformat(),
            resources={"tables": self.tables},
            run_config=config,
        )

    def _write_frames(self, videos: Sequence[tuple[str, float]]) -> None:
        frames = [
            {
                "video_id": video_id,
                "frame_index": index,
                "pts": index,
                "timestamp_seconds": float(index),
                "width": WIDTH,
                "height": HEIGHT,
                "image": _picture(number + index),
                "image_format": "webp",
                "image_hash": None,
                "sampling_key": "synthetic",
                "status": "ok",
                "error": None,
            }
            for number, (video_id, _) in enumerate(videos)
            for index in range(FRAMES)
        ]
        self._replace(
            self.tables.sampled_frames,
            pl.DataFrame(frames, schema=_schema(self.tables.sampled_frames)),
        )
        ratios = [ratio for _, ratio in videos for _ in range(FRAMES)]
        boxes = pl.DataFrame(
            [
                {
                    "video_id": frame["video_id"],
                    "frame_index": frame["frame_index"],
                    "width": WIDTH,
                    "height": HEIGHT,
                    "ocr_area_ratio": ratio,
                    "union_area_ratio": ratio,
                    "device": "cpu",
                    "milliseconds": 1.0,
                    "image_hash": None,
                    "detection_key": "synthetic",
                    "status": "ok",
                    "error": None,
                }
                for frame, ratio in zip(frames, ratios, strict=True)
            ],
            schema={
                name: dtype
                for name, dtype in _schema(self.tables.ocr_boxes).items()
                if name != "boxes"
            },
        )
        column = boxes_column(
            [[rect_box(10, 10 + 140 * ratio, 60, 80)] if ratio else [] for ratio in ratios]
        )
        order = list(_schema(self.tables.ocr_boxes))
        self._replace(self.tables.ocr_boxes, boxes.with_columns(column).select(order))

    def _replace(self, table: PartitionedTable, rows: pl.DataFrame) -> None:
        with table.replace(DATE) as writer:
            writer.append(rows)


def _schema(table: PartitionedTable) -> dict[str, pl.DataType]:
    return dict(table.schema.create_empty().drop("date").schema)


def _picture(number: int) -> bytes:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = (x + 30 * number) % 256, (2 * y + 20 * number) % 256, np.full_like(x, 120)
    return encode_image(np.stack(planes, axis=-1).astype(np.uint8)).data


def _judgement(videos: Videos, rule: FilterRule) -> dict[str, str]:
    judgement = judge_sample(videos, rule)
    return {
        "verdict": judgement.verdict,
        "reason_code": str(judgement.reason_code),
        "reason": judgement.reason,
    }


def _row(sample_id: str, videos: Videos, rule: FilterRule) -> dict[str, Any]:
    return {
        "sample_id": sample_id,
        "video_ids": [f"{sample_id} {index}" for index in range(len(videos))],
        "paths": [f"/videos/{index or ''}{sample_id}" for index in range(len(videos))],
        "path_bytes": [None] * len(videos),
        **{metric: [getattr(video, metric, None) for video in videos] for metric in METRICS},
        **_judgement(videos, rule),
        "rule": rule_text(rule),
        "sample_json": "{}",
    }


def _verdict(row: dict[str, Any], rule: FilterRule) -> str:
    """What becomes of a sample, by what the dataset says of it and nothing else."""
    videos = [
        UNREADABLE if ratios[0] is None else VideoCoverage(*ratios)
        for ratios in zip(*(row[metric] for metric in METRICS), strict=True)
    ]
    return judge_sample(videos, rule).verdict if videos else str(row["verdict"])
