"""Arguments that several commands have, and what is made of them."""

import argparse
import datetime as dt
import re
from pathlib import Path
from typing import Any, TypeAlias, get_args

from ocr_assets.coverage import AnyOrAll, FilterRule, Metric

# What `add_subparsers` gives; argparse has no public name for it.
Commands: TypeAlias = "argparse._SubParsersAction[Any]"


def day(text: str) -> dt.date:
    """An argument's type: a date of the form YYYY-MM-DD.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    date = parsed_day(text)
    if date is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-01-31")
    return date


def parsed_day(text: str) -> dt.date | None:
    """The date that a text of the form YYYY-MM-DD names; None if it names none."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None  # the right form, but no such day


def today() -> dt.date:
    """The day that it is now, in UTC."""
    return dt.datetime.now(dt.UTC).date()


def add_filter_rule(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say which samples to keep; `filter_rule` reads them."""
    parser.add_argument("--min-area-ratio", type=float, default=0.0, metavar="X", help="default: 0")
    parser.add_argument("--max-area-ratio", type=float, default=1.0, metavar="Y", help="default: 1")
    parser.add_argument(
        "--metric",
        choices=get_args(Metric),
        default="ocr_area_ratio",
        help="which ratio is judged (default: %(default)s)",
    )
    parser.add_argument(
        "--any-or-all",
        choices=get_args(AnyOrAll),
        default="any",
        help="how a sample with several videos is judged (default: %(default)s)",
    )


def filter_rule(options: argparse.Namespace) -> FilterRule:
    """The rule that the arguments of `add_filter_rule` say.

    Raises:
        ValueError: The bounds are not an interval.
    """
    return FilterRule(
        options.min_area_ratio, options.max_area_ratio, options.metric, options.any_or_all
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds `--data`, the folder for the tables; `refuse_what_is_no_folder` looks at it."""
    parser.add_argument("--data", type=Path, required=True, help="folder for the tables")


def refuse_what_is_no_folder(parser: argparse.ArgumentParser, option: str, path: Path) -> None:
    """Exits, as for other bad arguments, if something else than a folder is in the path's place."""
    if path.exists() and not path.is_dir():
        parser.error(f"{option} {path} is not a folder")
