"""How many processes decode in a step."""

from typing import Any

from ocr_assets.config_fields import number
from ocr_assets.gpu.host import usable_cores

MOST_BY_DEFAULT = 32


def decode_workers_field(most_by_default: int = MOST_BY_DEFAULT) -> Any:
    """The config field; see `worker_count`."""
    return number(
        None,
        1,
        256,
        (
            "Processes that decode videos side by side, one thread each; null: one for each core "
            f"that the step may use, {most_by_default} at most."
        ),
    )


def worker_count(configured: int | None, most_by_default: int = MOST_BY_DEFAULT) -> int:
    """How many there are to be."""
    return configured or min(usable_cores(), most_by_default)
