"""`ocr-assets run`: the videos of one day, filtered."""

import argparse
import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import get_args

from ocr_assets.commands.arguments import (
    Commands,
    add_data,
    add_filter_rule,
    day,
    filter_rule,
    parsed_day,
    place_of_tables,
    today,
)
from ocr_assets.commands.exit_codes import SUCCEEDED
from ocr_assets.coverage import FilterRule
from ocr_assets.gpu.placement import DevicePolicy
from ocr_assets.object_storage import (
    ObjectStorageUnavailableError,
    StorageOptionsError,
    is_object_url,
)
from ocr_assets.settings import Layout
from ocr_assets.video.sampling import SamplingRule

EARLIEST = dt.date(1970, 1, 1)  # no file was modified before


def add_run(commands: Commands) -> None:
    """Adds the command."""
    run = commands.add_parser("run", help="filter the videos of one day")
    run.add_argument(
        "--source",
        required=True,
        help="folder that holds the videos, or its URL (s3://bucket/prefix)",
    )
    add_data(run)
    run.add_argument(
        "--date",
        type=day,
        metavar="YYYY-MM-DD",
        help="the day (default: the latest that the source has a folder or JSONL for, else today)",
    )
    run.add_argument(
        "--layout",
        choices=get_args(Layout),
        help=(
            "how the source tells the days apart (default: auto, a JSONL or a folder a day; "
            "whole_folder if the source has neither for any day)"
        ),
    )
    add_filter_rule(run, unset="what OCR_ASSETS_FILTERED_DATASET_{} says, else {}")
    run.add_argument(
        "--frame-sample-num",
        type=int,
        metavar="N",
        help=(
            "frames per video (default: what OCR_ASSETS_SAMPLED_FRAMES_FRAME_SAMPLE_NUM says, "
            "else 3)"
        ),
    )
    run.add_argument(
        "--sample-every-seconds", type=float, metavar="S", help="a frame every S seconds instead"
    )
    run.add_argument(
        "--device",
        choices=get_args(DevicePolicy),
        help=(
            "where to detect (default: what OCR_ASSETS_EASYOCR_DEVICE says, else auto, a GPU if "
            "there is one)"
        ),
    )
    run.add_argument(
        "--allow-outside-source",
        action="store_true",
        help="let links and a JSONL's paths lead to files outside the source",
    )
    run.add_argument(
        "--max-quarantined-share",
        type=float,
        metavar="X",
        help=(
            "fail, and leave the dataset as it was, if a greater share of the videos is "
            "quarantined (default: 0.5; a few bad files do not count)"
        ),
    )
    run.add_argument("--json", action="store_true", help="print a summary object and nothing else")
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.commands.day_table import print_day
    from ocr_assets.configured import configured, value_set
    from ocr_assets.resources.video_source import VideoSource
    from ocr_assets.runs import DayRequest, run_day

    if not is_object_url(options.source) and not Path(options.source).is_dir():
        parser.error(f"--source {options.source} is not a folder")
    data = place_of_tables(parser, options.data, is_there=False)
    if options.date is not None and options.date > today():
        parser.error(f"--date {options.date} is in the future")
    if options.date is not None and options.date < EARLIEST:
        parser.error(f"--date {options.date} is before {EARLIEST}")
    try:
        names = configured(VideoSource, "video_source", root=options.source).names()
    except OSError as error:
        parser.error(f"--source {options.source}: {error.strerror or error}")
    except (ObjectStorageUnavailableError, StorageOptionsError) as error:
        parser.error(str(error))
    dates = {date for name in names if (date := _date_of(name)) is not None}
    try:
        request = DayRequest(
            source=options.source,
            data=data,
            date=options.date or max((date for date in dates if date <= today()), default=today()),
            layout=options.layout or ("auto" if dates else "whole_folder"),
            sampling=_sampling(options),
            rule=filter_rule(options, unset=value_set(FilterRule, "filtered_dataset")),
            device=options.device,
            allow_outside_source=options.allow_outside_source,
            max_quarantined_share=options.max_quarantined_share,
        )
    except ValueError as error:
        parser.error(str(error))
    summary = run_day(request, quiet=options.json)
    if options.json:
        print(json.dumps(dataclasses.asdict(summary)))
    else:
        print_day(summary)
    return SUCCEEDED


def _sampling(options: argparse.Namespace) -> SamplingRule:
    """What the arguments say, or else the variables of `sampled_frames`."""
    from ocr_assets.configured import value_set

    unset = value_set(SamplingRule, "sampled_frames")
    number, every = options.frame_sample_num, options.sample_every_seconds
    if number is None and every is None:
        return unset
    return SamplingRule(unset.frame_sample_num if number is None else number, every)


def _date_of(name: str) -> dt.date | None:
    """The day that a source has a folder or a JSONL of this name for."""
    ending = "/" if name.endswith("/") else ".jsonl"
    return parsed_day(name.removesuffix(ending)) if name.endswith(ending) else None
