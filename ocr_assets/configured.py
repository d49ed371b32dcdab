"""Resources and the config of assets, as the environment of a code location sets them."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import TypeAdapter, ValidationError

from ocr_assets import settings
from ocr_assets.config_fields import with_defaults
from ocr_assets.object_storage import without_secrets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound=dg.Config)
Value = TypeVar("Value", bound="DataclassInstance")
Resource = TypeVar("Resource", bound=dg.ConfigurableResource)  # type: ignore[type-arg]


def configured(kind: type[Resource], name: str, **values: Any) -> Resource:
    """A resource with the defaults that variables such as OCR_ASSETS_EASYOCR_DEVICE give it.

    Args:
        kind: Its class.
        name: Its key among the definitions, `easyocr`.
        values: Other defaults than the class's, where no variable sets them.

    Raises:
        SettingError: A variable names a field that there is not, or a value that it cannot have.
    """
    return _as_set(kind, f"the resource {name}", name, values)()


def asset_config(name: str) -> Callable[[type[Config]], type[Config]]:
    """Gives an asset's config the defaults that variables set: OCR_ASSETS_FILTERED_DATASET_METRIC.

    So schedules and sensors, whose runs have no config of their own, follow them too.

    Args:
        name: The asset's.

    Raises:
        SettingError: As for `configured`.
    """
    return lambda kind: _as_set(kind, f"the config of {name}", name, {})


def value_set(kind: type[Value], name: str) -> Value:
    """A dataclass whose fields the same variables set, without loading the asset.

    Args:
        kind: The dataclass; what it does not have is passed over.
        name: The asset's name.

    Raises:
        SettingError: A field cannot have its value.
    """
    adapter = TypeAdapter(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    fields = {field: text for field, text in settings.fields_set(name).items() if field in known}
    try:
        return adapter.validate_python(fields)
    except ValidationError as error:
        prefix = settings.field_prefix(name)
        raise settings.SettingError(_what_is_wrong(error, prefix, fields)) from error


def _as_set(kind: type[Config], what: str, name: str, values: dict[str, Any]) -> type[Config]:
    prefix = settings.field_prefix(name)
    fields = settings.fields_set(name)
    for field in fields:
        if field not in kind.model_fields:
            raise settings.SettingError(
                f"{prefix}{field.upper()}: {what} has no field {field}; "
                f"it has {', '.join(kind.model_fields)}"
            )
    if not values and not fields:
        return kind
    try:
        return with_defaults(kind, **{**values, **fields})
    except ValidationError as error:
        raise settings.SettingError(_what_is_wrong(error, prefix, fields)) from error


def _shown(value: Any) -> str:
    """A value as it was set, but for what may be secret: options' values, and users in URLs."""
    if isinstance(value, dict):
        return "{" + ", ".join(map(repr, value)) + "}"
    return repr(without_secrets(value) if isinstance(value, str) else value)


def _what_is_wrong(error: ValidationError, prefix: str, fields: dict[str, Any]) -> str:
    """One sentence a mistake; a value that contradicts others is told with all that are set."""
    sentences = []
    for mistake in error.errors():
        names = [str(place) for place in mistake["loc"][:1] if place in fields] or sorted(fields)
        values = ", ".join(f"{prefix}{name.upper()}={_shown(fields[name])}" for name in names)
        message = mistake["msg"].removeprefix("Value error, ")
        sentences.append(f"{values}: {message}" if values else message)
    return "; ".join(sentences)
