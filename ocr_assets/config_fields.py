"""Config whose bounds are checked and can be read in the launchpad, and its defaults."""

import copy
from typing import Any, TypeVar

import dagster as dg
from pydantic import Field, create_model

DAY_SECONDS = 86_400

Config = TypeVar("Config", bound=dg.Config)


def number(
    default: float | None, low: float, high: float, description: str, *, above: bool = False
) -> Any:
    """A number within bounds.

    Args:
        default: Its default; None where the field may be null.
        low: The least value.
        high: The greatest value.
        description: What it is, in which unit; the bounds are added to it.
        above: Whether it has to be greater than `low`.
    """
    bounds = f"{'Above' if above else 'From'} {_plain(low)} to {_plain(high)}."
    lowest: dict[str, Any] = {"gt": low} if above else {"ge": low}
    return Field(
        default=default,
        le=high,
        description=f"{description} {bounds}",
        **lowest,
    )


def with_defaults(kind: type[Config], **values: Any) -> type[Config]:
    """A class of config or resources with other defaults.

    They hold for every field that a run's config does not set. A resource's arguments would not:
    where a run's config sets one field, Dagster drops the arguments for all the others.

    Raises:
        pydantic.ValidationError: A value is one that the class does not take.
    """
    checked = kind(**values)
    fields: dict[str, Any] = {}
    for name in values:
        field = copy.copy(kind.model_fields[name])
        field.default = getattr(checked, name)
        fields[name] = (field.annotation, field)
    changed: type[Config] = create_model(
        kind.__name__, __base__=kind, __doc__=kind.__doc__, __module__=kind.__module__, **fields
    )
    return changed


def _plain(value: float) -> str:
    return f"{value:_}".replace("_", " ") if isinstance(value, int) else f"{value:g}"
