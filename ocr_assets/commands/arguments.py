"""Arguments that several commands have, and what is made of them."""

import argparse
import dataclasses
import datetime as dt
import re
from pathlib import Path
from typing import Any, TypeAlias, get_args

from ocr_assets.coverage import GREATEST_BOUND, METRICS, AnyOrAll, FilterRule
from ocr_assets.object_storage import is_in_object_storage

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


def add_filter_rule(parser: argparse.ArgumentParser, unset: str) -> None:
    """Adds the arguments that say which samples to keep; `filter_rule` reads them.

    Args:
        parser: The command's.
        unset: What the help says that they are by default; the first {} in it stands for the name
            of the field in capitals, the second for what `FilterRule` has.
    """
    default = {
        field.name: unset.format(
            field.name.upper(), f"{field.default:g}" if field.type is float else field.default
        )
        for field in dataclasses.fields(FilterRule)
    }
    parser.add_argument(
        "--min-area-ratio",
        type=float,
        metavar="X",
        help=f"least ratio that is kept (default: {default['min_area_ratio']})",
    )
    parser.add_argument(
        "--max-area-ratio",
        type=float,
        metavar="Y",
        help=f"greatest ratio that is kept (default: {default['max_area_ratio']})",
    )
    parser.add_argument(
        "--metric",
        choices=METRICS,
        help=f"which ratio is judged (default: {default['metric']})",
    )
    parser.add_argument(
        "--any-or-all",
        choices=get_args(AnyOrAll),
        help=f"how a sample with several videos is judged (default: {default['any_or_all']})",
    )


def filter_rule(options: argparse.Namespace, unset: FilterRule) -> FilterRule:
    """The rule that the arguments of `add_filter_rule` say.

    Args:
        options: The arguments.
        unset: What those are that were not given.

    Raises:
        ValueError: The bounds are not an interval, or one that `filtered_dataset` does not take.
    """
    given = {
        field.name: value
        for field in dataclasses.fields(FilterRule)
        if (value := getattr(options, field.name)) is not None
    }
    rule = dataclasses.replace(unset, **given)
    if rule.max_area_ratio > GREATEST_BOUND:
        raise ValueError(f"max_area_ratio {rule.max_area_ratio} is above {GREATEST_BOUND}")
    return rule


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds `--data`, where the tables are; `place_of_tables` looks at it."""
    parser.add_argument(
        "--data",
        required=True,
        help="folder for the tables, or a place in an object storage: s3://bucket/prefix",
    )


def place_of_tables(parser: argparse.ArgumentParser, data: str, *, is_there: bool) -> str:
    """What `--data` says, an absolute path or a URL. Exits if it makes no sense.

    Args:
        parser: The command's.
        data: What it says.
        is_there: Whether there have to be tables already; of an object storage they are asked for
            when it is read.
    """
    from ocr_assets.tables.folder import folder_at

    try:
        if not is_in_object_storage(data):
            if is_there and not Path(data).is_dir():
                parser.error(f"--data {data} is not a folder")
            refuse_what_is_no_folder(parser, "--data", Path(data))
        return folder_at(data).uri
    except ValueError as error:
        parser.error(str(error))


def refuse_what_is_no_folder(parser: argparse.ArgumentParser, option: str, path: Path) -> None:
    """Exits, as for other bad arguments, if something else than a folder is in the path's place."""
    if path.exists() and not path.is_dir():
        parser.error(f"{option} {path} is not a folder")
