"""The one place for environment variables, paths and names shared across the project.

A variable that is empty counts as one that is not set.
"""

import datetime as dt
import os
from pathlib import Path
from typing import Literal, get_args

from ocr_assets.gpu.state_directory import default_state_directory

Layout = Literal["auto", "day_folder", "jsonl", "modified_date", "whole_folder"]

DATA_VARIABLE = "OCR_ASSETS_DATA"
SOURCE_VARIABLE = "OCR_ASSETS_SOURCE"
LAYOUT_VARIABLE = "OCR_ASSETS_LAYOUT"
FIRST_DATE_VARIABLE = "OCR_ASSETS_FIRST_DATE"
STATE_VARIABLE = "OCR_ASSETS_STATE"

GROUP = "video_ocr"
OWNERS = ["team:video-data"]


def data_root() -> str:
    """Where the tables are: `OCR_ASSETS_DATA`, by default `data` in the working directory."""
    return os.environ.get(DATA_VARIABLE) or "data"


def source_root() -> str:
    """Where the videos are: `OCR_ASSETS_SOURCE`, by default `videos` in the working directory."""
    return os.environ.get(SOURCE_VARIABLE) or "videos"


def source_layout() -> Layout:
    """How the source tells the days apart: `OCR_ASSETS_LAYOUT`, by default `auto`.

    Raises:
        ValueError: The variable is not one of the layouts that `VideoSource` knows.
    """
    text = os.environ.get(LAYOUT_VARIABLE) or "auto"
    for layout in get_args(Layout):
        if text == layout:
            return layout  # type: ignore[no-any-return] # get_args forgets the type
    raise ValueError(f"{LAYOUT_VARIABLE}={text!r} is not one of {', '.join(get_args(Layout))}")


def state_directory() -> str:
    """Where processes of this host tell each other of their leases: `OCR_ASSETS_STATE`.

    By default a folder in the user's runtime folder.
    """
    return os.environ.get(STATE_VARIABLE) or str(default_state_directory())


def first_date() -> dt.date:
    """The first daily partition: `OCR_ASSETS_FIRST_DATE`, by default 2025-01-01.

    Raises:
        ValueError: The variable is not a date of the form YYYY-MM-DD.
    """
    text = os.environ.get(FIRST_DATE_VARIABLE) or "2025-01-01"
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{FIRST_DATE_VARIABLE}={text!r} is not a date like 2025-01-01") from error


def kept_jsonl(root: str | Path, date: dt.date) -> Path:
    """The kept samples of one day in Data-Juicer's form, beside the tables."""
    return Path(root) / "kept" / date.isoformat() / "kept.jsonl"
