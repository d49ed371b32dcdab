"""`ocr-assets pools`: its arguments; `ocr_assets.pools.command` does the work."""

import argparse

from ocr_assets.commands.arguments import Commands
from ocr_assets.commands.exit_codes import SUCCEEDED


def add_pools(commands: Commands) -> None:
    """Adds the command, and the commands under it."""
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


def _pools(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.pools.command import show_pools

    show_pools(as_json=options.json)
    return SUCCEEDED


def _pin(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.pools.command import pin_pool

    try:
        pin_pool(options.pool, options.limit)
    except ValueError as error:
        parser.error(str(error))
    return SUCCEEDED


def _unpin(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.pools.command import unpin_pool

    try:
        unpin_pool(options.pool)
    except LookupError as error:
        parser.error(str(error))
    return SUCCEEDED


def _sync(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.definitions import compute, easyocr
    from ocr_assets.pools.command import sync_pools

    sync_pools(easyocr, compute)
    return SUCCEEDED
