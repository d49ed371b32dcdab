"""`ocr-assets explore`: what other thresholds would do to a day, and doing it."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from ocr_assets.commands.arguments import (
    Commands,
    add_data,
    add_filter_rule,
    day,
    filter_rule,
    place_of_tables,
)
from ocr_assets.commands.exit_codes import SUCCEEDED
from ocr_assets.coverage import FilterRule
from ocr_assets.plain_text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from ocr_assets.explore import Change, Counts, Exploration

LIMIT = 50


def add_explore(commands: Commands) -> None:
    """Adds the command."""
    explore = commands.add_parser(
        "explore",
        help="what other thresholds would do to a day, without detecting anything again",
        description=(
            "Judges a day that was detected by other thresholds, and shows which samples would be "
            "kept, dropped or quarantined then. Thresholds that are not given are those that the "
            "day was filtered by. Nothing is changed unless --apply is given."
        ),
    )
    add_data(explore)
    explore.add_argument(
        "--date",
        type=day,
        metavar="YYYY-MM-DD",
        help="the day (default: the latest that was detected)",
    )
    add_filter_rule(
        explore,
        unset="as the day was filtered, else what OCR_ASSETS_FILTERED_DATASET_{} says, else {}",
    )
    explore.add_argument(
        "--limit",
        type=int,
        default=LIMIT,
        metavar="N",
        help="show that many samples that change side (default: %(default)s)",
    )
    explore.add_argument(
        "--apply",
        action="store_true",
        help="filter the day by these thresholds: materialise filtered_dataset, and what follows",
    )
    explore.add_argument(
        "--json",
        action="store_true",
        help="print an object, with all samples that change side, and nothing else",
    )
    explore.set_defaults(command=_explore)


def _explore(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.configured import value_set
    from ocr_assets.explore import explore_day, latest_day, rule_of_day

    data = place_of_tables(parser, options.data, is_there=True)
    if options.limit < 0:
        parser.error(f"--limit {options.limit} is less than 0")
    date = options.date or latest_day(data)
    before = rule_of_day(data, date)
    try:
        rule = filter_rule(options, unset=before or value_set(FilterRule, "filtered_dataset"))
    except ValueError as error:
        parser.error(str(error))
    explored = explore_day(data, date, rule, limit=None if options.json else options.limit)
    if not options.json:
        _print_exploration(explored)
    if options.apply:
        from ocr_assets.runs import refilter_day

        refilter_day(data, date, rule, quiet=options.json)
    if options.json:
        print(json.dumps(_as_object(explored, options.data, applied=options.apply)))
    elif options.apply:
        print(f"{date} is filtered by these thresholds now")
    elif explored.changed or explored.rule != explored.rule_before:
        _print_how_to_apply(explored, options.data)
    return SUCCEEDED


def _as_object(explored: "Exploration", data: str, *, applied: bool) -> dict[str, object]:
    from ocr_assets.explore import thresholds_command, thresholds_yaml

    return {
        **dataclasses.asdict(explored),
        "date": explored.date.isoformat(),
        "changed": explored.changed,
        "applied": applied,
        "command": thresholds_command(explored.rule, explored.date, data),
        "run_config": thresholds_yaml(explored.rule),
    }


def _print_exploration(explored: "Exploration") -> None:
    """Prints the counts before and after, and the samples that change side."""
    from rich.console import Console

    from ocr_assets.explore import rule_sentence

    if explored.before is None:
        print(f"{explored.date} is not filtered yet")
    else:
        known = explored.rule_before
        by = "thresholds that are not known" if known is None else rule_sentence(known)
        print(f"{explored.date} is filtered by {by}")
        print(f"  {_counts(explored.before)}")
    print(f"With {rule_sentence(explored.rule)}")
    print(f"  {_counts(explored.after)}")
    if explored.before is None:
        return
    moves = ", ".join(f"{move.count} {_sides(move.before, move.after)}" for move in explored.moves)
    total = sum(dataclasses.astuple(explored.after))
    print(f"{explored.changed} of {total} samples change side{f': {moves}' if moves else ''}")
    if explored.changes:
        Console().print(_table(explored.changes, explored.rule))
    if more := explored.changed - len(explored.changes):
        print(f"and {more} more; --limit shows more, --json all")


def _table(changes: "tuple[Change, ...]", rule: FilterRule) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ocr_assets.commands.day_table import SAMPLE_WIDTH, ratios_text

    table = Table(box=box.SIMPLE)
    names = [Text(printable(change.sample_id)) for change in changes]
    longest = max(len("sample"), *(name.cell_len for name in names))
    table.add_column("sample", width=min(longest, SAMPLE_WIDTH), overflow="fold")
    table.add_column("changes side", no_wrap=True)
    table.add_column(rule.metric.removesuffix("_ratio"), overflow="fold")
    table.add_column("reason", overflow="fold")
    for name, change in zip(names, changes, strict=True):
        table.add_row(
            name,
            Text(_sides(change.before, change.after)),
            Text(ratios_text(change.ratios)),
            Text(printable(change.reason)),
        )
    return table


def _print_how_to_apply(explored: "Exploration", data: str) -> None:
    from ocr_assets.explore import thresholds_command, thresholds_yaml

    print("\nTo filter the day by these thresholds, without detecting anything again:")
    print(f"  {printable(thresholds_command(explored.rule, explored.date, data))}")
    print(f"or, in Dagster's launchpad for filtered_dataset and {explored.date}:")
    print("\n".join(f"  {line}" for line in thresholds_yaml(explored.rule).splitlines()))


def _counts(counts: "Counts") -> str:
    return f"{counts.kept} kept, {counts.dropped} dropped, {counts.quarantined} quarantined"


def _sides(before: str | None, after: str | None) -> str:
    return f"{before or 'new'} -> {after or 'gone'}"
