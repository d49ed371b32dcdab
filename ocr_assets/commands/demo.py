"""`ocr-assets demo`: clips made on the spot, and filtered."""

import argparse
import datetime as dt
import sys
from pathlib import Path

from ocr_assets.commands.arguments import Commands, refuse_what_is_no_folder, today
from ocr_assets.commands.exit_codes import SUCCEEDED
from ocr_assets.coverage import FilterRule

MAX_AREA_RATIO = 0.1


def add_demo(commands: Commands) -> None:
    """Adds the command."""
    demo = commands.add_parser(
        "demo", help="make a few clips, with and without text, and filter them"
    )
    demo.add_argument(
        "--dir",
        type=Path,
        default=Path("ocr_assets_demo"),
        help="where the clips and the tables go (default: %(default)s)",
    )
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.commands.day_table import print_day
    from ocr_assets.demo import make_demo_clips
    from ocr_assets.runs import DayRequest, run_day

    refuse_what_is_no_folder(parser, "--dir", options.dir)
    date = today() - dt.timedelta(days=1)
    source, data = options.dir / "videos", options.dir / "data"
    print(f"Making clips in {source / date.isoformat()}", file=sys.stderr)
    make_demo_clips(source / date.isoformat())
    summary = run_day(
        DayRequest(
            source,
            data,
            date,
            rule=FilterRule(max_area_ratio=MAX_AREA_RATIO),
        )
    )
    print_day(summary)
    print(
        "\nTo see it in Dagster's web UI:\n"
        f"  OCR_ASSETS_SOURCE={source} OCR_ASSETS_DATA={data} DAGSTER_HOME=$PWD dagster dev"
    )
    return SUCCEEDED
