"""The command `ocr-assets`; what it can do is in `commands`."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ocr_assets.commands.demo import add_demo
from ocr_assets.commands.doctor import add_doctor
from ocr_assets.commands.exit_codes import BAD_ARGUMENTS, FAILED, INTERRUPTED
from ocr_assets.commands.explore import add_explore
from ocr_assets.commands.export import add_export
from ocr_assets.commands.pools import add_pools
from ocr_assets.commands.run import add_run
from ocr_assets.object_storage_errors import in_own_words
from ocr_assets.plain_text import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        0 if it succeeded, whatever was dropped or quarantined; 1 if it failed, if `doctor` finds
        that nothing can run, or if `export` has left out samples; 130 if it was interrupted. Bad
        arguments exit with 2.
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
    except Exception as raised:
        error = in_own_words(raised)
        if not isinstance(error, _failures()):
            raise
        print(f"ocr-assets: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("ocr-assets: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _failures() -> tuple[type[Exception], ...]:
    """Errors whose message says all; others are bugs.

    They are looked up when there is one, as Dagster takes a second to import. None of their modules
    may read the environment, which may be what is wrong.
    """
    from ocr_assets.export.request import ExportError
    from ocr_assets.gpu.state_directory import StateError
    from ocr_assets.instance import InstanceError
    from ocr_assets.object_storage import ObjectStorageUnavailableError, StorageOptionsError
    from ocr_assets.runs import RunFailedError
    from ocr_assets.settings import SettingError
    from ocr_assets.tables.partitioned import PartitionMissingError, TableDamagedError

    return (
        RunFailedError,
        ExportError,
        PartitionMissingError,
        TableDamagedError,
        InstanceError,
        ObjectStorageUnavailableError,
        SettingError,
        StorageOptionsError,
        StateError,
        OSError,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage that argparse puts before it."""
        self.exit(BAD_ARGUMENTS, f"{self.prog}: {printable(message)}\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog="ocr-assets", description="Find and remove text-heavy videos from a dataset."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add_command in (add_demo, add_run, add_explore, add_export, add_doctor, add_pools):
        add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
