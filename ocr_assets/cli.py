"""The command `ocr-assets`."""

import argparse
import dataclasses
import datetime as dt
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, get_args

from ocr_assets.coverage import AnyOrAll, FilterRule, Metric
from ocr_assets.gpu.placement import DevicePolicy
from ocr_assets.gpu.state_directory import StateError
from ocr_assets.instance import InstanceError
from ocr_assets.plain_text import printable
from ocr_assets.runs import DayRequest, DaySummary, RunFailedError, run_day
from ocr_assets.settings import Layout, SettingError
from ocr_assets.tables.partitioned import addressable
from ocr_assets.video.sampling import SamplingRule

DEMO_MAX_AREA_RATIO = 0.1
TABLE_ROWS = 50
SAMPLE_WIDTH = 36
EARLIEST = dt.date(1970, 1, 1)  # no file was modified before

SUCCEEDED, FAILED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        0 if it succeeded, whatever was dropped or quarantined; 1 if it failed, or if `doctor` finds
        that nothing can run; 130 if it was interrupted. Bad arguments exit with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names the terminal has no letters for
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.command(options, parser)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has stopped; nothing is left to flush when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (RunFailedError, InstanceError, SettingError, StateError, OSError) as error:
        print(f"ocr-assets: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("ocr-assets: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage that argparse puts before it."""
        self.exit(BAD_ARGUMENTS, f"{self.prog}: {printable(message)}\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog="ocr-assets", description="Find and remove text-heavy videos from a dataset."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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

    run = commands.add_parser("run", help="filter the videos of one day")
    run.add_argument("--source", type=Path, required=True, help="folder that holds the videos")
    run.add_argument("--data", type=Path, required=True, help="folder for the tables")
    run.add_argument(
        "--date",
        type=_date,
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
    run.add_argument("--min-area-ratio", type=float, default=0.0, metavar="X", help="default: 0")
    run.add_argument("--max-area-ratio", type=float, default=1.0, metavar="Y", help="default: 1")
    run.add_argument(
        "--metric",
        choices=get_args(Metric),
        default="ocr_area_ratio",
        help="which ratio is judged (default: %(default)s)",
    )
    run.add_argument(
        "--any-or-all",
        choices=get_args(AnyOrAll),
        default="any",
        help="how a sample with several videos is judged (default: %(default)s)",
    )
    run.add_argument(
        "--frame-sample-num", type=int, default=3, metavar="N", help="frames per video (default: 3)"
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

    doctor = commands.add_parser(
        "doctor", help="what this machine has, who uses it, and how many readers would run where"
    )
    doctor.add_argument("--json", action="store_true", help="print an object")
    doctor.set_defaults(command=_doctor)

    pools = commands.add_parser(
        "pools", help="limits of Dagster's concurrency pools, who set them, who has or awaits slots"
    )
    pools.add_argument("--json", action="store_true", help="print an object")
    pools.set_defaults(command=_pools)
    changes = pools.add_subparsers(metavar="COMMAND")
    pin = changes.add_parser("pin", help="set a limit that stays, whatever the machine can do")
    pin.add_argument("pool", metavar="POOL")
    pin.add_argument("limit", metavar="N", type=int, help="steps at once; 0 starts none")
    pin.set_defaults(command=_pin)
    unpin = changes.add_parser("unpin", help="let a limit follow the machine, whoever set it")
    unpin.add_argument("pool", metavar="POOL")
    unpin.set_defaults(command=_unpin)
    sync = changes.add_parser(
        "sync",
        help="set the limits to what this machine can do now, and keep other hosts' sensors off",
    )
    sync.set_defaults(command=_sync)
    return parser


def _demo(options: argparse.Namespace, parser: _Parser) -> int:
    from ocr_assets.demo import make_demo_clips

    if options.dir.exists() and not options.dir.is_dir():
        parser.error(f"--dir {options.dir} is not a folder")
    date = _today() - dt.timedelta(days=1)
    source, data = options.dir / "videos", options.dir / "data"
    print(f"Making clips in {source / date.isoformat()}", file=sys.stderr)
    make_demo_clips(source / date.isoformat())
    summary = run_day(
        DayRequest(
            source,
            data,
            date,
            rule=FilterRule(max_area_ratio=DEMO_MAX_AREA_RATIO),
        )
    )
    _print_table(summary)
    print(
        "\nTo see it in Dagster's web UI:\n"
        f"  OCR_ASSETS_SOURCE={source} OCR_ASSETS_DATA={data} DAGSTER_HOME=$PWD dagster dev"
    )
    return SUCCEEDED


def _run(options: argparse.Namespace, parser: _Parser) -> int:
    if not options.source.is_dir():
        parser.error(f"--source {options.source} is not a folder")
    if options.data.exists() and not options.data.is_dir():
        parser.error(f"--data {options.data} is not a folder")
    if options.date is not None and options.date > _today():
        parser.error(f"--date {options.date} is in the future")
    if options.date is not None and options.date < EARLIEST:
        parser.error(f"--date {options.date} is before {EARLIEST}")
    dates = _dates_of(options.source)
    try:
        request = DayRequest(
            source=options.source,
            data=addressable(options.data),
            date=options.date or max((day for day in dates if day <= _today()), default=_today()),
            layout=options.layout or ("auto" if dates else "whole_folder"),
            sampling=SamplingRule(options.frame_sample_num, options.sample_every_seconds),
            rule=FilterRule(
                options.min_area_ratio,
                options.max_area_ratio,
                options.metric,
                options.any_or_all,
            ),
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
        _print_table(summary)
    return SUCCEEDED


def _doctor(options: argparse.Namespace, parser: _Parser) -> int:
    from ocr_assets.definitions import easyocr
    from ocr_assets.doctor import as_json, as_text, diagnose

    diagnosis = diagnose(easyocr)
    print(json.dumps(as_json(diagnosis)) if options.json else as_text(diagnosis))
    return SUCCEEDED if diagnosis.works else FAILED


def _pools(options: argparse.Namespace, parser: _Parser) -> int:
    from ocr_assets.pools.command import show_pools

    show_pools(as_json=options.json)
    return SUCCEEDED


def _pin(options: argparse.Namespace, parser: _Parser) -> int:
    from ocr_assets.pools.command import pin_pool

    try:
        pin_pool(options.pool, options.limit)
    except ValueError as error:
        parser.error(str(error))
    return SUCCEEDED


def _unpin(options: argparse.Namespace, parser: _Parser) -> int:
    from ocr_assets.pools.command import unpin_pool

    try:
        unpin_pool(options.pool)
    except LookupError as error:
        parser.error(str(error))
    return SUCCEEDED


def _sync(options: argparse.Namespace, parser: _Parser) -> int:
    from ocr_assets.definitions import easyocr
    from ocr_assets.pools.command import sync_pools

    sync_pools(easyocr)
    return SUCCEEDED


def _date(text: str) -> dt.date:
    date = _parsed_date(text)
    if date is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-01-31")
    return date


def _parsed_date(text: str) -> dt.date | None:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None  # the right form, but no such day


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _dates_of(source: Path) -> set[dt.date]:
    """The days that a source has a folder or a JSONL for."""
    names = (
        entry.name if entry.is_dir() else entry.stem
        for entry in source.iterdir()
        if entry.is_dir() or entry.suffix == ".jsonl"
    )
    return {date for name in names if (date := _parsed_date(name)) is not None}


def _print_table(summary: DaySummary) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    shown = summary.samples[:TABLE_ROWS]
    names = [Text(printable(sample.sample_id)) for sample in shown]
    longest = max((name.cell_len for name in names), default=len("sample"))
    table.add_column("sample", width=min(longest, SAMPLE_WIDTH), overflow="fold")
    for column in ("verdict", "ratio", "union"):
        table.add_column(column, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for name, sample in zip(names, shown, strict=True):
        table.add_row(
            name,
            Text(sample.verdict),
            Text(_ratios(sample.ocr_area_ratio)),
            Text(_ratios(sample.union_area_ratio)),
            Text(printable(sample.reason)),
        )
    console = Console()
    console.print(table)
    if len(summary.samples) > TABLE_ROWS:
        console.print(f"and {len(summary.samples) - TABLE_ROWS} more, in filtered_dataset")
    console.print(
        f"{summary.date}: {summary.kept} kept, {summary.dropped} dropped, "
        f"{summary.quarantined} quarantined in {summary.seconds:.0f} s"
    )
    print(f"tables: {printable(summary.tables)}\nkept:   {printable(summary.kept_jsonl)}")


def _ratios(ratios: Sequence[float | None]) -> str:
    return ", ".join("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios)


if __name__ == "__main__":
    sys.exit(main())
