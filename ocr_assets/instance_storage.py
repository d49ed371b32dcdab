"""Where Dagster's instance keeps runs, events and schedules: SQLite, or PostgreSQL if it is set.

dagster.yaml cannot choose, so it names the class here, which does:

```yaml
storage:
  custom:
    module: ocr_assets.instance_storage
    class: InstanceStorage
    config:
      base_dir: .dagster/storage
```

The URL is read from the environment by each process that opens the instance. It is in nothing
that Dagster hands around or shows: run workers get the configuration above, and
`dagster instance info` prints none of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

# Dagster's extension point for storages, documented as such but not exported by 1.13.
from dagster._core.storage.base_storage import DagsterStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData  # no public names in 1.13

from ocr_assets import settings

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

CONNECT_SECONDS = 10  # libpq waits as long as TCP does, minutes, for a host that does not answer
LOOK_SECONDS = 5
DRIVERS = {"postgresql", "postgres", "postgresql+psycopg2"}


class StorageError(dg.DagsterError):
    """The instance's database cannot be used; the message says why, and nothing of passwords."""


class InstanceStorage(DagsterStorage[dg.DagsterInstance], ConfigurableClass):
    """Names either of Dagster's own storages in dagster.yaml; there are no objects of it."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """`base_dir`: the folder of SQLite's files, for when no PostgreSQL is set; needed then."""
        return {"base_dir": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(  # type: ignore[override] # a storage, but of another class
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, str]
    ) -> DagsterStorage[Any]:
        """The storage, with its database and tables made if there are none.

        Raises:
            SettingError: What is set is no PostgreSQL's URL.
            StorageError: PostgreSQL does not let us in, or there is no folder for SQLite either.
        """
        url = postgres_url()
        if url is not None:
            return _postgres(url, inst_data)
        if "base_dir" not in config_value:
            raise StorageError(
                f"{settings.POSTGRES_URL_VARIABLE} is not set, and dagster.yaml gives no base_dir "
                "for SQLite instead; set it for every process that works with this instance"
            )
        from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

        return DagsterSqliteStorage.from_local(config_value["base_dir"], inst_data)


def postgres_url() -> URL | None:
    """The database that is set, None if none is.

    Raises:
        SettingError: It is no PostgreSQL's URL.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    text = settings.postgres_url()
    if text is None:
        return None
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise _no_url() from None  # theirs quotes parts of it
    # With an @ in the password, its rest is taken for the host, and quoted by whoever looks it up.
    if url.drivername not in DRIVERS or not url.database or "@" in (url.host or ""):
        raise _no_url()
    if "connect_timeout" not in url.query and "PGCONNECT_TIMEOUT" not in os.environ:
        url = url.update_query_dict({"connect_timeout": str(CONNECT_SECONDS)})
    # Said, since it is not SQLAlchemy's default any more, and is what dagster-postgres installs.
    return url.set(drivername="postgresql+psycopg2")


def place(url: URL) -> str:
    """For people: `dagster@db:5432/dagster`, without passwords, wherever in the URL they are."""
    host = url.query.get("host", "local socket") if url.host is None else url.host
    host = f"[{host}]" if ":" in host else host
    port = "" if url.port is None else f":{url.port}"
    user = "" if url.username is None else f"{url.username}@"
    return f"{user}{host}{port}/{url.database}"


def described(data: ConfigurableClassData) -> tuple[str, str]:
    """What an instance's storage is, and what is wrong with it; nothing is made or changed.

    Args:
        data: The storage, as `InstanceRef` has it.

    Returns:
        Where it is, for people, and why it cannot be used; empty if it can, as far as is looked at:
        PostgreSQL that the environment sets is connected to.
    """
    if data.class_name != InstanceStorage.__name__:
        return f"{data.class_name}, as dagster.yaml has it", ""
    try:
        url = postgres_url()
    except settings.SettingError as error:
        return "PostgreSQL", str(error)
    if url is None:
        folder = data.config_dict.get("base_dir")
        return f"SQLite in {Path(folder).absolute()}" if isinstance(folder, str) else "SQLite", ""
    return f"PostgreSQL, {place(url)}", _why_unreachable(url)


def _postgres(url: URL, inst_data: ConfigurableClassData | None) -> DagsterStorage[Any]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        from dagster_postgres import DagsterPostgresStorage
        from dagster_postgres.utils import DagsterPostgresException
    except ImportError as error:
        raise StorageError(_not_installed()) from error
    try:
        return DagsterPostgresStorage(url.render_as_string(hide_password=False), True, inst_data)
    except (DagsterPostgresException, SQLAlchemyError) as error:
        raise StorageError(_refused(url, error)) from None


def _why_unreachable(url: URL) -> str:
    import sqlalchemy

    query = {"connect_timeout": str(LOOK_SECONDS)}
    try:
        import dagster_postgres  # noqa: F401 # as Dagster will

        engine = sqlalchemy.create_engine(
            url.update_query_dict(query), poolclass=sqlalchemy.pool.NullPool
        )
        engine.connect().close()
    except ImportError:
        return _not_installed()
    except sqlalchemy.exc.SQLAlchemyError as error:
        return _refused(url, error)
    return ""


def _refused(url: URL, error: BaseException) -> str:
    """What the server or libpq says; neither ever quotes a password."""
    cause = error.__cause__ or error
    said = " ".join(str(getattr(cause, "orig", cause)).split())
    return (
        f"PostgreSQL, {place(url)}, cannot be used for Dagster's instance: {said}. See that it "
        f"runs, and that {settings.POSTGRES_URL_VARIABLE}, or PGPASSWORD or PGPASSFILE, is right"
    )


def _not_installed() -> str:
    return (
        f"{settings.POSTGRES_URL_VARIABLE} is set; `pip install 'ocr-assets[postgres]'` installs "
        "what Dagster needs for it"
    )


def _no_url() -> settings.SettingError:
    return settings.SettingError(
        f"{settings.POSTGRES_URL_VARIABLE} is not of the form "
        "postgresql://user:password@host:5432/database (it is not shown here, as there may be a "
        "password in it); within a name or a password, write @ as %40, : as %3A, / as %2F and % as "
        "%25"
    )
