"""The Dagster instance of `DAGSTER_HOME`, the same from every folder, and what it has recorded."""

import contextlib
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from ocr_assets.instance_storage import described

HOME_VARIABLE = "DAGSTER_HOME"


class InstanceError(dg.DagsterError):
    """There is no Dagster instance, or none that can do what is asked; the message says why."""


def has_home() -> bool:
    """Whether `DAGSTER_HOME` is set."""
    return bool(os.environ.get(HOME_VARIABLE))


def open_instance() -> dg.DagsterInstance:
    """Opens the instance that a daemon started in `DAGSTER_HOME` uses; close it, or use `with`.

    Paths in dagster.yaml may be relative, and Dagster takes them from the working directory. Here
    they are taken from `DAGSTER_HOME`.

    Raises:
        InstanceError: `DAGSTER_HOME` is not set.
        DagsterError: It is no folder, or its dagster.yaml makes no sense.
    """
    if not has_home():
        raise InstanceError(
            f"{HOME_VARIABLE} is not set: it names the folder of Dagster's instance"
        )
    home = Path(os.environ[HOME_VARIABLE]).expanduser()
    if not (home.is_absolute() and home.is_dir()):
        return dg.DagsterInstance.get()  # which refuses, and says why
    with contextlib.chdir(home):
        ref = InstanceRef.from_dir(str(home))
        # Databases are found now; other folders anew each time they are used, and all of them by
        # processes that open the instance again.
        folders: dict[str, Any] = {
            name: _absolute(data, home)
            for name, data in ref._asdict().items()
            if isinstance(data, ConfigurableClassData)
        }
        return dg.DagsterInstance.from_ref(ref._replace(**folders))


def describe_storage() -> tuple[str, str]:
    """Where the instance keeps what it records, for people, and what is wrong with that, if it is.

    Nothing is made or changed.
    """
    if not has_home():
        return f"nowhere: {HOME_VARIABLE} is not set", ""
    home = Path(os.environ[HOME_VARIABLE]).expanduser()
    if not (home.is_absolute() and home.is_dir()):
        return "nowhere", f"{HOME_VARIABLE}={str(home)!r} is not the absolute path of a folder"
    try:
        data = InstanceRef.from_dir(str(home)).storage_data
    except dg.DagsterError as error:
        return "nowhere", f"{home / 'dagster.yaml'} makes no sense: {error}"
    assert data is not None
    return described(_absolute(data, home))


def latest_materialization(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, day: dt.date
) -> dg.EventLogRecord | None:
    """The record of an asset's latest materialisation of a day; None if there is none."""
    wanted = dg.AssetRecordsFilter(asset_key=asset_key, asset_partitions=[day.isoformat()])
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0] if records else None


def metadata_values(materialization: dg.AssetMaterialization | None) -> dict[str, Any]:
    """What a materialisation says of itself, by the names of the entries."""
    assert materialization is not None
    return {name: entry.value for name, entry in materialization.metadata.items()}


def _absolute(data: ConfigurableClassData, home: Path) -> ConfigurableClassData:
    config = data.config_dict
    if not isinstance(config.get("base_dir"), str):
        return data  # not a local folder, or one that another variable names
    absolute = {**config, "base_dir": str(home / config["base_dir"])}
    return data._replace(config_yaml=json.dumps(absolute))  # JSON is YAML
