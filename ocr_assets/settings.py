"""The one place for environment variables, paths and names shared across the project.

A variable that is empty counts as one that is not set.
"""

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any, Literal, get_args

from ocr_assets.gpu.state_directory import default_state_directory

Layout = Literal["auto", "day_folder", "jsonl", "modified_date", "whole_folder"]

DATA_VARIABLE = "OCR_ASSETS_DATA"
SOURCE_VARIABLE = "OCR_ASSETS_SOURCE"
LAYOUT_VARIABLE = "OCR_ASSETS_LAYOUT"
FIRST_DATE_VARIABLE = "OCR_ASSETS_FIRST_DATE"
STATE_VARIABLE = "OCR_ASSETS_STATE"
GPU_POOL_VARIABLE = "OCR_ASSETS_GPU_POOL"
DECODE_POOL_VARIABLE = "OCR_ASSETS_DECODE_POOL"
GPU_POOL_MINIMUM_VARIABLE = "OCR_ASSETS_GPU_POOL_MINIMUM"
DAYS_PER_RUN_VARIABLE = "OCR_ASSETS_DAYS_PER_RUN"
LATE_DAYS_VARIABLE = "OCR_ASSETS_LATE_DAYS"
POSTGRES_URL_VARIABLE = "OCR_ASSETS_POSTGRES_URL"
POSTGRES_URL_FILE_VARIABLE = "OCR_ASSETS_POSTGRES_URL_FILE"

# Dagster's, which it has no public names for, and ours.
PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
RETRY_RUN_TAG = "dagster/retry_on_asset_or_op_failure"
FROM_FAILURE_TAG = "dagster/is_resume_retry"
PROCESS_TAG = "ocr_assets/process"
SOURCE_MISSING_TAG = "ocr_assets/source_missing"
AFTER_FAULT_TAG = "ocr_assets/retry_after_fault"
GPU_POOL_TAG = "ocr_assets/gpu_pool"

GROUP = "video_ocr"
OWNERS = ["team:video-data"]


class SettingError(ValueError):
    """An environment variable makes no sense; the message names it, its value and the mend."""


def data_root() -> str:
    """Where the tables are: `OCR_ASSETS_DATA`, by default `data` in the working directory.

    A folder, or a URL such as `s3://bucket/prefix`.
    """
    return os.environ.get(DATA_VARIABLE) or "data"


def source_root() -> str:
    """Where the videos are: `OCR_ASSETS_SOURCE`, by default `videos` in the working directory."""
    return os.environ.get(SOURCE_VARIABLE) or "videos"


def source_layout() -> Layout:
    """How the source tells the days apart: `OCR_ASSETS_LAYOUT`, by default `auto`.

    Raises:
        SettingError: The variable is not one of the layouts that `VideoSource` knows.
    """
    text = os.environ.get(LAYOUT_VARIABLE) or "auto"
    for layout in get_args(Layout):
        if text == layout:
            return layout  # type: ignore[no-any-return] # get_args forgets the type
    raise SettingError(f"{LAYOUT_VARIABLE}={text!r} is not one of {', '.join(get_args(Layout))}")


def state_directory() -> str:
    """Where processes of this host tell each other of their leases: `OCR_ASSETS_STATE`.

    By default a folder in the user's runtime folder.
    """
    return os.environ.get(STATE_VARIABLE) or str(default_state_directory())


def gpu_pool() -> str:
    """The pool whose slots `ocr_boxes` claims: `OCR_ASSETS_GPU_POOL`, by default `gpu`.

    Give every host or kind of GPU with a code location of its own a name of its own.
    """
    return os.environ.get(GPU_POOL_VARIABLE) or "gpu"


def decode_pool() -> str:
    """The pool whose slots `sampled_frames` claims: `OCR_ASSETS_DECODE_POOL`, or `decode`."""
    return os.environ.get(DECODE_POOL_VARIABLE) or "decode"


def gpu_pool_minimum() -> int:
    """The GPU pool's least limit: `OCR_ASSETS_GPU_POOL_MINIMUM`, by default 1.

    With 1, a step may start, and wait or work on the CPU by its own rules, even where no reader
    fits now. With 0, no step starts until one does.

    Raises:
        SettingError: The variable is not a whole number.
    """
    return _whole_number(GPU_POOL_MINIMUM_VARIABLE, default=1, least=0)


def days_per_run() -> int:
    """Most partitions that one run of a backfill works on: `OCR_ASSETS_DAYS_PER_RUN`, or 7.

    Raises:
        SettingError: The variable is not a whole number of at least 1.
    """
    return _whole_number(DAYS_PER_RUN_VARIABLE, default=7)


def late_days() -> int:
    """How many days back late and changed videos are looked for: `OCR_ASSETS_LATE_DAYS`, or 30.

    Raises:
        SettingError: The variable is not a whole number of at least 1.
    """
    return _whole_number(LATE_DAYS_VARIABLE, default=30)


def postgres_url() -> str | None:
    """The database of Dagster's instance, by default None: `OCR_ASSETS_POSTGRES_URL`.

    Or what the file says that `OCR_ASSETS_POSTGRES_URL_FILE` names, a mounted secret.

    Raises:
        SettingError: Both are set, or the file cannot be read or is empty.
    """
    text, file = os.environ.get(POSTGRES_URL_VARIABLE), os.environ.get(POSTGRES_URL_FILE_VARIABLE)
    if not file:
        return text or None
    if text:
        raise SettingError(
            f"{POSTGRES_URL_VARIABLE} and {POSTGRES_URL_FILE_VARIABLE} are both set; unset one"
        )
    try:
        text = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is no text"
        raise SettingError(
            f"{POSTGRES_URL_FILE_VARIABLE}={file!r} cannot be read: {said}"
        ) from None
    if not text:
        raise SettingError(f"{POSTGRES_URL_FILE_VARIABLE}={file!r} is empty")
    return text


def field_prefix(name: str) -> str:
    """How the variables begin that set fields of a resource or of an asset's config."""
    return f"OCR_ASSETS_{name.upper()}_"


def fields_set(name: str) -> dict[str, Any]:
    """Fields of a resource or of an asset's config that this code location sets for all its runs.

    `OCR_ASSETS_EASYOCR_DEVICE=cpu` sets `device` of `easyocr`, and so on; `null` is None, and
    what begins with a bracket or a brace is JSON.

    Raises:
        SettingError: A value that begins with one is not JSON.
    """
    fields: dict[str, Any] = {}
    for variable, text in os.environ.items():
        if variable.startswith(field_prefix(name)) and text:
            fields[variable.removeprefix(field_prefix(name)).lower()] = _field(variable, text)
    return fields


def first_date() -> dt.date:
    """The first daily partition: `OCR_ASSETS_FIRST_DATE`, by default 2025-01-01.

    Raises:
        SettingError: The variable is not a date of the form YYYY-MM-DD.
    """
    text = os.environ.get(FIRST_DATE_VARIABLE) or "2025-01-01"
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        message = f"{FIRST_DATE_VARIABLE}={text!r} is not a date like 2025-01-01"
        raise SettingError(message) from error


def _whole_number(variable: str, default: int, least: int = 1) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise SettingError(f"{variable}={text!r} is not a whole number of at least {least}")
    return int(text)


def _field(variable: str, text: str) -> Any:
    if text == "null":
        return None
    if not text.startswith(("[", "{")):
        return text  # the resource's own types turn it into numbers and the like
    try:
        return json.loads(text)
    except ValueError as error:
        # What has names may have a key among them, by mistake.
        shown = f"{variable}={text!r}" if text.startswith("[") else variable
        message = error.args[0] if isinstance(error, json.JSONDecodeError) else str(error)
        raise SettingError(f"{shown} is not JSON: {message}") from None


def coverage_report(date: dt.date) -> str:
    """The report of one day, in the folder of the tables."""
    return f"reports/{date.isoformat()}/coverage.html"


def kept_jsonl(date: dt.date) -> str:
    """The kept samples of one day in Data-Juicer's form, in the folder of the tables."""
    return f"kept/{date.isoformat()}/kept.jsonl"
