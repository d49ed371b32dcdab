"""Dagster's instance on SQLite and on a real PostgreSQL, opened as Dagster's commands do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value, serialize_value

from ocr_assets.instance import describe_storage, open_instance
from ocr_assets.instance_storage import StorageError, place, postgres_url
from ocr_assets.settings import SettingError
from tests.deployment import PROJECT, free_port
from tests.postgres import PASSWORD, USER, Server

URL, URL_FILE = "OCR_ASSETS_POSTGRES_URL", "OCR_ASSETS_POSTGRES_URL_FILE"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`DAGSTER_HOME` with the project's own dagster.yaml; the working directory is elsewhere."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    yield home
    assert list((tmp_path / "elsewhere").iterdir()) == []


def dagster(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs one of Dagster's commands, in its home as services do."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *arguments],
        cwd=home,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_no_password(done.stdout + done.stderr)
    return done


def assert_no_password(text: str) -> None:
    for part in (PASSWORD, quote(PASSWORD, safe=""), *PASSWORD.replace("/", "@").split("@")):
        assert part not in text


def one_run(instance: dg.DagsterInstance) -> str:
    return instance.add_run(dg.DagsterRun(job_name="daily_job")).run_id


def test_without_a_variable_it_is_sqlite_under_the_home(home: Path) -> None:
    with open_instance() as instance:
        run_id = one_run(instance)
    assert (home / ".dagster/storage/history/runs.db").is_file()
    assert "SqliteRunStorage" in dagster(home, "instance", "info").stdout
    with open_instance() as instance:
        assert [run.run_id for run in instance.get_runs()] == [run_id]
    assert describe_storage() == (f"SQLite in {home}/.dagster/storage", "")


def test_with_the_variable_it_is_postgresql_and_nothing_is_written_to_sqlite(
    home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, postgres_url)
    with open_instance() as instance:
        run_id = one_run(instance)
        assert instance.event_log_storage.supports_global_concurrency_limits
        assert_no_password(instance.info_str() + instance.schema_str())
    with open_instance() as instance:
        assert [run.run_id for run in instance.get_runs()] == [run_id]
    for command in ("info", "migrate"):
        done = dagster(home, "instance", command)
        assert done.returncode == 0, done.stderr
        assert "PostgresRunStorage" in done.stdout
    assert not (home / ".dagster/storage").exists()
    monkeypatch.delenv(URL)
    with open_instance() as instance:
        assert instance.get_runs() == []


def test_what_run_workers_are_sent_has_no_url_and_opens_the_same_instance(
    home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, postgres_url)
    with open_instance() as instance:
        run_id = one_run(instance)
        sent = serialize_value(instance.get_ref())
    assert_no_password(sent)
    assert "127.0.0.1" not in sent
    received = deserialize_value(sent, InstanceRef)
    with dg.DagsterInstance.from_ref(received) as instance:
        assert instance.has_run(run_id)


def test_processes_that_find_an_empty_database_at_once_all_get_its_tables(
    home: Path, postgres_url: str
) -> None:
    program = "import dagster as dg\nwith dg.DagsterInstance.get() as i: print(len(i.get_runs()))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=home,
            env={**os.environ, URL: postgres_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        out, errors = process.communicate()
        assert (process.returncode, out) == (0, "0\n"), errors


def test_the_password_may_come_from_where_libpq_looks_or_from_a_mounted_secret(
    home: Path, tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = postgres.new_database()
    without = postgres.url(database, password=None)
    passwords = tmp_path / "pgpass"
    escaped = PASSWORD.replace(":", r"\:")
    passwords.write_text(f"127.0.0.1:{postgres.port}:{database}:{USER}:{escaped}\n")
    passwords.chmod(0o600)
    secret = tmp_path / "url"
    secret.write_text(f"{postgres.url(database)}\n")
    for environment in (
        {URL: without, "PGPASSWORD": PASSWORD},
        {URL: without, "PGPASSFILE": str(passwords)},
        {URL_FILE: str(secret)},
    ):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with open_instance() as instance:
                one_run(instance)
            assert describe_storage() == (
                f"PostgreSQL, {USER}@127.0.0.1:{postgres.port}/{database}",
                "",
            )
    assert postgres.execute("SELECT count(*) FROM runs", database) == [(3,)]


@pytest.mark.parametrize(
    "text",
    [
        "mysql://dagster:secret@db/dagster",
        "postgresql://dagster:secret",
        "postgresql://dagster:secret@db:port/dagster",
        "postgresql://dagster:secret@db",
        "postgresql://dagster:sec@ret@db/dagster",
        "secret",
    ],
)
def test_what_is_no_url_is_refused_without_being_shown(
    home: Path, text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(URL, text)
    with pytest.raises(SettingError, match=r"is not of the form postgresql://") as raised:
        open_instance()
    said, problem = describe_storage()
    assert (said, problem) == ("PostgreSQL", str(raised.value))
    done = dagster(home, "instance", "info")
    assert done.returncode == 1
    for shown in (str(raised.value), done.stderr, done.stdout):
        assert "ret@" not in shown
        assert "secret" not in shown.replace("mounted secret", "")


def test_a_server_that_does_not_let_us_in_is_told_with_what_it_said(
    home: Path, postgres: Server
) -> None:
    url = postgres.url(postgres.new_database(), password="secret")
    done = dagster(home, "instance", "info", **{URL: url})
    assert done.returncode == 1
    assert "secret" not in done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert "cannot be used for Dagster's instance: " in last
    assert "password authentication failed" in last
    assert f"{URL}, or PGPASSWORD or PGPASSFILE, is right" in last


def test_doctor_connects_and_says_what_is_wrong(
    home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, said in {
        f"postgresql://{USER}:secret@127.0.0.1:{free_port()}/dagster": "Connection refused",
        postgres.url("postgres", password="secret"): "password authentication failed",
        postgres.url("no_such_database"): 'database "no_such_database" does not exist',
    }.items():
        monkeypatch.setenv(URL, url)
        where, problem = describe_storage()
        assert said in problem
        assert where.startswith(f"PostgreSQL, {USER}@127.0.0.1:")
        assert "secret" not in where + problem


def test_doctor_says_which_database_is_used_without_the_password(
    home: Path, postgres_url: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ocr_assets.cli", "doctor"],
        cwd=home,
        env={**os.environ, URL: postgres_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_no_password(done.stdout + done.stderr)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("runs ")]
    place = postgres_url.rpartition("@")[2]
    assert line == f"runs      PostgreSQL, {USER}@{place}"


def test_a_user_who_may_not_make_tables_is_told_so(
    home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = postgres.new_database()
    postgres.execute(f"CREATE ROLE only_reads_{database} LOGIN PASSWORD 'x'")
    monkeypatch.setenv(URL, postgres.url(database, f"only_reads_{database}", "x"))
    with pytest.raises(StorageError, match="permission denied for schema public"):
        open_instance()


def test_without_the_package_it_says_how_it_is_installed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/dagster_postgres.py").write_text("raise ImportError('not installed')\n")
    path = f"{tmp_path / 'hidden'}:{PROJECT}"
    done = dagster(home, "instance", "info", PYTHONPATH=path, **{URL: "postgresql://u@db/dagster"})
    assert done.returncode == 1
    assert "`pip install 'ocr-assets[postgres]'` installs" in done.stderr
    doctor = "from ocr_assets.instance import describe_storage; print(describe_storage())"
    done = subprocess.run(
        [sys.executable, "-c", doctor],
        env={**os.environ, "PYTHONPATH": path, URL: "postgresql://u@db/dagster"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "`pip install 'ocr-assets[postgres]'` installs" in done.stdout


def test_where_dagster_yaml_names_no_folder_a_missing_variable_is_told(
    home: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (home / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(
        text.replace("config:\n      base_dir: .dagster/storage", "config: {}")
    )
    with pytest.raises(StorageError, match=f"{URL} is not set, and dagster.yaml gives no base_dir"):
        open_instance()
    monkeypatch.setenv(URL, postgres_url)
    with open_instance() as instance:
        one_run(instance)


def test_a_url_and_a_file_with_one_contradict_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_FILE, str(tmp_path / "missing"))
    with pytest.raises(SettingError, match=r"missing' cannot be read: No such file or directory"):
        postgres_url()
    (tmp_path / "missing").write_text("\n")
    with pytest.raises(SettingError, match="missing' is empty"):
        postgres_url()
    monkeypatch.setenv(URL, "postgresql://db/dagster")
    with pytest.raises(SettingError, match="are both set; unset one"):
        postgres_url()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://u:secret@db:6432/runs?sslmode=require", "u@db:6432/runs"),
        ("postgresql://u@db/runs?password=secret", "u@db/runs"),
        ("postgresql:///runs?host=/run/postgresql", "/run/postgresql/runs"),
        ("postgresql://u:secret@[::1]:5432/runs", "u@[::1]:5432/runs"),
    ],
)
def test_people_are_shown_the_place_alone(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, text)
    url = postgres_url()
    assert url is not None
    assert place(url) == shown
