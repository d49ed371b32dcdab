"""`ocr-assets doctor`: what the machine has, and what would run on it."""

import argparse
import json

from ocr_assets.commands.arguments import Commands
from ocr_assets.commands.exit_codes import FAILED, SUCCEEDED


def add_doctor(commands: Commands) -> None:
    """Adds the command."""
    doctor = commands.add_parser(
        "doctor", help="what this machine has, who uses it, and how many readers would run where"
    )
    doctor.add_argument("--json", action="store_true", help="print an object")
    doctor.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from ocr_assets.definitions import easyocr
    from ocr_assets.doctor import as_json, as_text, diagnose

    diagnosis = diagnose(easyocr)
    print(json.dumps(as_json(diagnosis)) if options.json else as_text(diagnosis))
    return SUCCEEDED if diagnosis.works else FAILED
