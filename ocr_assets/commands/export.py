"""`ocr-assets export`: the result as files that other tools read."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import get_args

from ocr_assets.commands.arguments import (
    Commands,
    add_data,
    day,
    place_of_tables,
    refuse_what_is_no_folder,
)
from ocr_assets.commands.exit_codes import FAILED, SUCCEEDED
from ocr_assets.export.request import (
    SHARD_BYTES,
    SHARD_SAMPLES,
    ExportRequest,
    ExportSummary,
    Format,
)
from ocr_assets.plain_text import printable

DESCRIPTION = """\
Writes the kept samples of all days, or of some, to one output.

  jsonl       a Data-Juicer dataset, as kept.jsonl is
  parquet     a row per sample, with the columns of filtered_dataset; its paths are `videos`, which
              show a name that is not UTF-8 with \\xNN; `path_bytes` has the name itself
  csv         the same without `path_bytes`; lists are JSON. Cells are written as they are: in a
              spreadsheet import them as text, or what begins with = is taken for a formula
  webdataset  a folder of tar files, 000000.tar and so on, with the videos in them

The output is there as a whole or not at all, and replaces an earlier one with --force alone. A
video that --link, --copy or webdataset finds missing or changed is named on standard error, its
sample left out, and the exit code 1; run it again when that is mended.
"""


def add_export(commands: Commands) -> None:
    """Adds the command."""
    export = commands.add_parser(
        "export",
        help="write the kept samples, or the others, for other tools",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(export)
    export.add_argument("--format", choices=get_args(Format), required=True)
    export.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="the file, with webdataset the folder, that is written",
    )
    export.add_argument("--force", action="store_true", help="replace an output that is there")
    export.add_argument(
        "--date",
        type=day,
        action="append",
        metavar="YYYY-MM-DD",
        help="a day; can be given several times (default: every day of the tables)",
    )
    export.add_argument("--first-date", type=day, metavar="YYYY-MM-DD", help="no earlier day")
    export.add_argument("--last-date", type=day, metavar="YYYY-MM-DD", help="no later day")
    export.add_argument(
        "--rejected",
        action="store_true",
        help="write what was dropped or quarantined, with the reasons (in jsonl and webdataset in "
        "__dj__meta__)",
    )
    videos = export.add_mutually_exclusive_group()
    videos.add_argument(
        "--link",
        type=Path,
        metavar="DIR",
        help="make symbolic links to the videos in DIR, as <day>/<path in the source>, and name "
        "those; videos of a JSONL are <day>/<name>-<digits of the content's fingerprint>",
    )
    videos.add_argument(
        "--copy",
        type=Path,
        metavar="DIR",
        help="the same with copies; equal ones that are there already are not made again; videos "
        "in an object storage can only be copied",
    )
    export.add_argument(
        "--shard-samples",
        type=_count,
        metavar="N",
        help=f"webdataset: most samples in a shard (default: {SHARD_SAMPLES})",
    )
    export.add_argument(
        "--shard-bytes",
        type=_count,
        metavar="N",
        help=f"webdataset: a shard ends with the sample that fills it (default: {SHARD_BYTES})",
    )
    export.add_argument("--json", action="store_true", help="print a summary object")
    export.set_defaults(command=_export)


def _export(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.configured import configured
    from ocr_assets.export.job import export
    from ocr_assets.export.output import why_not
    from ocr_assets.resources.video_source import VideoSource

    is_webdataset = options.format == "webdataset"
    videos = options.link or options.copy
    data = place_of_tables(parser, options.data, is_there=True)
    if options.date and (options.first_date or options.last_date):
        parser.error("--date goes without --first-date and --last-date")
    if is_webdataset and videos:
        parser.error("webdataset holds the videos itself; --link and --copy go with other formats")
    if not is_webdataset and (options.shard_samples or options.shard_bytes):
        parser.error(f"{options.format} has no shards; --shard-* go with webdataset")
    if videos:
        refuse_what_is_no_folder(parser, "--link" if options.link else "--copy", videos)
    if problem := why_not(options.out, is_folder=is_webdataset, force=options.force):
        parser.error(f"--out {options.out} {problem}")
    summary = export(
        ExportRequest(
            data=data,
            out=options.out,
            format=options.format,
            dates=options.date,
            first_date=options.first_date,
            last_date=options.last_date,
            rejected=options.rejected,
            force=options.force,
            videos=videos,
            link_or_copy="copy" if options.copy else "link",
            storage=configured(VideoSource, "video_source").storage(),
            shard_samples=options.shard_samples or SHARD_SAMPLES,
            shard_bytes=options.shard_bytes or SHARD_BYTES,
        ),
        lambda line: print(f"ocr-assets: {printable(line)}", file=sys.stderr),
    )
    if options.json:
        print(json.dumps(dataclasses.asdict(summary)))
    else:
        _print_summary(summary, "copied" if options.copy else "linked")
    return FAILED if summary.left_out else SUCCEEDED


def _print_summary(summary: ExportSummary, done: str) -> None:
    days = f"{len(summary.dates)} day{'s' if len(summary.dates) != 1 else ''}"
    print(f"samples: {summary.samples} of {days}, {summary.left_out} left out")
    if summary.videos_folder is not None:
        print(
            f"videos:  {summary.placed} {done}, {summary.already_there} there already, in "
            f"{printable(summary.videos_folder)}"
        )
    print(f"{f'{summary.format}:':<8} {printable(summary.out)}")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
