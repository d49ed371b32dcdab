"""Resources as the environment of a code location sets them."""

from typing import Any, TypeVar

import dagster as dg
from pydantic import ValidationError

from ocr_assets import settings
from ocr_assets.config_fields import with_defaults

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
    prefix = settings.resource_prefix(name)
    fields = settings.resource_fields(name)
    for field in fields:
        if field not in kind.model_fields:
            raise settings.SettingError(
                f"{prefix}{field.upper()}: the resource {name} has no field {field}; "
                f"it has {', '.join(kind.model_fields)}"
            )
    try:
        return with_defaults(kind, **{**values, **fields})
    except ValidationError as error:
        raise settings.SettingError(_what_is_wrong(error, prefix, fields)) from error


def _what_is_wrong(error: ValidationError, prefix: str, fields: dict[str, Any]) -> str:
    """One sentence a mistake; a value that contradicts others is told with all that are set."""
    sentences = []
    for mistake in error.errors():
        names = [str(place) for place in mistake["loc"][:1] if place in fields] or sorted(fields)
        values = ", ".join(f"{prefix}{name.upper()}={fields[name]!r}" for name in names)
        message = mistake["msg"].removeprefix("Value error, ")
        sentences.append(f"{values}: {message}" if values else message)
    return "; ".join(sentences)
