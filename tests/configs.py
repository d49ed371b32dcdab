"""All that can be configured in Dagster, as the definitions have it."""

import typing
from collections.abc import Iterable

import dagster as dg

from ocr_assets.definitions import defs

Config = type[dg.Config]


def resource_configs() -> dict[str, Config]:
    """The class of every resource by its key."""
    return {name: _as_written(type(resource)) for name, resource in (defs.resources or {}).items()}


def op_configs() -> dict[str, Config]:
    """The class of the config of every asset that has one, by the asset's name."""
    found = {}
    for asset in _assets():
        hints = typing.get_type_hints(asset.op.compute_fn.decorated_fn)  # type: ignore[union-attr]
        if "config" in hints:
            found[asset.op.name] = _as_written(hints["config"])
    return found


def _assets() -> Iterable[dg.AssetsDefinition]:
    return [asset for asset in defs.assets or [] if isinstance(asset, dg.AssetsDefinition)]


def _as_written(kind: type) -> Config:
    """The class without the defaults that the environment gives it; see `with_defaults`."""
    return [base for base in kind.__mro__ if base.__name__ == kind.__name__][-1]
