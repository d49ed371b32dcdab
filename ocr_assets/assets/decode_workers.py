"""How many processes decode in a step."""

from typing import Any

from ocr_assets.config_fields import number
from ocr_assets.gpu.host import usable_cores

MOST_BY_DEFAULT = 32


def decode_workers_field() -> Any:
    """The config field."""
    return number(
        None,
        1,
        256,
        (
            "Processes that decode videos side by side, one thread each; null: one for each core "
            f"that the step may use, {MOST_BY_DEFAULT} at most."
        ),
    )


def worker_count(configured: int | None) -> int:
    """How many there are to be."""
    return configured or min(usable_cores(), MOST_BY_DEFAULT)
