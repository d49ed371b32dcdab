"""A source that the sensor `late_videos` watches, and how to change it."""

import datetime as dt
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from ocr_assets import settings
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.automation import late_videos
from ocr_assets.definitions import defs
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import VideoSource


def days_ago(days: int) -> dt.date:
    """From now on, and not from when the tests began: midnight may have passed since."""
    return dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days)


DATE = days_ago(3)
DAY = DATE.isoformat()
OTHER_DAY = days_ago(5).isoformat()


@dataclass(frozen=True)
class Watched:
    """A source and the instance that records what was made from it."""

    instance: dg.DagsterInstance
    root: Path
    clip: Path
    layout: settings.Layout = "auto"

    @property
    def source(self) -> VideoSource:
        return VideoSource(root=str(self.root), layout=self.layout)

    def put(self, name: str) -> Path:
        """A video that has been there for an hour."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return aged(Path(shutil.copyfile(self.clip, path)))

    def put_lines(self, *samples: dict[str, Any]) -> Path:
        path = self.root / f"{DAY}.jsonl"
        path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        return aged(path)

    def materialize(
        self,
        day: str = DAY,
        data: Path | None = None,
        assets: tuple[dg.AssetsDefinition, ...] = (video_manifest,),
    ) -> None:
        tables = Tables(root=str(data or self.root.parent / "tables"))
        assert dg.materialize(
            assets,
            partition_key=day,
            resources={
                "video_source": self.source,
                "compute": ComputeResource(),
                "decoder": VideoDecoder(),
                "tables": tables,
            },
            instance=self.instance,
        ).success

    def run_in_vain(self, job: str = "daily_job", **what: Any) -> None:
        assert (
            not defs.resolve_job_def(job)
            .execute_in_process(
                run_config={
                    "resources": {
                        "video_source": {"config": {"root": str(self.root)}},
                        "tables": {"config": {"root": str(self.root.parent / "tables")}},
                    }
                },
                instance=self.instance,
                raise_on_error=False,
                **what,
            )
            .success
        )

    def tick(self, cursor: str | None = None) -> dg.SensorResult:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=cursor, resources={"video_source": self.source}
        )
        result = late_videos(context)
        if isinstance(result, dg.SkipReason):
            return dg.SensorResult(skip_reason=result)
        assert isinstance(result, dg.SensorResult)
        return result

    def requested(self, cursor: str | None = None) -> list[str | None]:
        return [request.partition_key for request in self.tick(cursor).run_requests or []]

    def why_not(self, cursor: str | None = None) -> str:
        result = self.tick(cursor)
        assert not result.run_requests
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)


def aged(path: Path, seconds: float = 3600) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def at_noon(path: Path, date: dt.date = DATE) -> Path:
    noon = dt.datetime.combine(date, dt.time(12), dt.UTC).timestamp()
    os.utime(path, (noon, noon))
    return path
