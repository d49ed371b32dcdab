"""A real PostgreSQL server on this machine, as Debian's package has it, and databases in it."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest

from tests.deployment import free_port, wait_until
from tests.needed import is_missing

USER = "dagster"
# What has to be escaped in a URL, and can be searched for in whatever is printed.
PASSWORD = "c0rr3ct/horse:b@ttery%staple"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
}


@dataclass(frozen=True)
class Server:
    """A server that runs; `USER` may do everything there, and needs `PASSWORD` for it."""

    port: int

    def url(self, database: str, user: str = USER, password: str | None = PASSWORD) -> str:
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Runs a statement by itself, and returns its rows if it has any."""
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def new_database(self) -> str:
        """Makes an empty one; returns its name."""
        name = f"test_{secrets.token_hex(8)}"
        self.execute(f"CREATE DATABASE {name}")
        return name


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One for all tests; each makes its own databases in it."""
    programs = find_programs()
    if programs is None:
        is_missing("PostgreSQL server", "postgresql")
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        yield from _running(programs, Path(folder))


@pytest.fixture
def postgres_url(postgres: Server) -> str:
    """An empty database's."""
    return postgres.url(postgres.new_database())


def find_programs() -> Path | None:
    """The folder of the newest server's programs; None if none is installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    on_path = shutil.which("postgres")
    if on_path is not None:
        found.append(Path(on_path))
    return found[-1].parent if found else None


def _running(programs: Path, folder: Path) -> Iterator[Server]:
    how: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:  # which the server refuses to run as; Debian's package makes a user
        shutil.chown(folder, "postgres", "postgres")
        how |= {"user": "postgres", "group": "postgres", "extra_groups": []}
    data, password, log_file = folder / "data", folder / "password", folder / "log"
    password.write_text(PASSWORD)
    initdb = [programs / "initdb", "-D", data, "-U", USER, "-E", "UTF8", "--no-sync"]
    login = ["--auth=scram-sha-256", f"--pwfile={password}"]
    subprocess.run([*initdb, *login], stdout=subprocess.DEVNULL, check=True, **how)
    server = Server(free_port())
    settings = {**OPTIONS, "port": server.port, "unix_socket_directories": folder}
    given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with log_file.open("wb") as log:
        command = [programs / "postgres", "-D", data, *given]
        process = subprocess.Popen(command, stdout=log, stderr=log, **how)

    def answers() -> bool:
        assert process.poll() is None, log_file.read_text()
        try:
            server.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    try:
        wait_until(answers, "PostgreSQL answers", 60)
        yield server
    finally:
        process.send_signal(signal.SIGINT)  # ends connections; SIGTERM would wait for them
        process.wait()
