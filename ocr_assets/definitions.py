"""What Dagster loads: five assets, their checks, a job, a schedule, sensors and resources."""

import dagster as dg

from ocr_assets import settings
from ocr_assets.assets.coverage_report import coverage_report
from ocr_assets.assets.filtered_dataset import filtered_dataset
from ocr_assets.assets.ocr_boxes import ocr_boxes
from ocr_assets.assets.sampled_frames import sampled_frames
from ocr_assets.assets.video_manifest import video_manifest
from ocr_assets.automation import daily_job, daily_schedule, late_videos, lost_runs, pool_limits
from ocr_assets.checks import all_checks
from ocr_assets.configured import configured
from ocr_assets.executor import one_process_executor
from ocr_assets.resources.compute import ComputeResource
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import VideoSource

easyocr = configured(EasyOCRResource, "easyocr")
compute = configured(ComputeResource, "compute")

defs = dg.Definitions(
    assets=[video_manifest, sampled_frames, ocr_boxes, filtered_dataset, coverage_report],
    asset_checks=all_checks,
    jobs=[daily_job],
    schedules=[daily_schedule],
    sensors=[late_videos, lost_runs, pool_limits],
    executor=one_process_executor,
    resources={
        "video_source": configured(
            VideoSource,
            "video_source",
            root=settings.source_root(),
            layout=settings.source_layout(),
        ),
        "compute": compute,
        "decoder": configured(VideoDecoder, "decoder"),
        "tables": configured(Tables, "tables", root=settings.data_root()),
        "easyocr": easyocr,
    },
)
