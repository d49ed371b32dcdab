"""The examples of deployments, as far as they can be tried without containers."""

import fnmatch
import functools
import importlib
import importlib.metadata
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ocr_assets import settings
from ocr_assets.configured import configured
from ocr_assets.instance import describe_storage, open_instance
from ocr_assets.object_storage import StorageOptions, open_store
from ocr_assets.resources.tables import Tables
from ocr_assets.resources.video_source import VideoSource
from ocr_assets.tables.partitioned import PartitionedTable
from tests.configs import op_configs, resource_configs
from tests.deployment import PROJECT
from tests.s3_server import S3Server
from tests.tables.test_partitioned import MONDAY, Numbers, numbers, write

DEPLOY = PROJECT / "ocr_assets" / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
HELM = sorted((DEPLOY / "helm").glob("*.yaml"))
DAGSTER = {"code-server", "daemon", "webserver"}
RAY = {"ray-head", "ray-worker"}
OURS = DAGSTER | RAY
SERVICE_KEYS = {
    "build",
    "cap_drop",
    "command",
    "depends_on",
    "deploy",
    "environment",
    "healthcheck",
    "image",
    "init",
    "logging",
    "networks",
    "ports",
    "restart",
    "security_opt",
    "shm_size",
    "stop_grace_period",
    "volumes",
}
INTERPOLATED = re.compile(r"\$\{(\w+)(?::?[-?][^}]*)?\}")
# Whose variables begin so.
READERS = {"DAGSTER_": "dagster", "RAY_": "ray"}
VARIABLE = re.compile(r"\b(?:OCR_ASSETS|DAGSTER|RAY)_[A-Z_]*[A-Z]\b")


@functools.cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def example() -> dict[str, str]:
    """What the example of `.env` gives, what is commented out there too."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    found = (re.fullmatch(r"#?([A-Z_]+)=(?:'(.*)'|(.*))", line) for line in lines)
    return {one[1]: one[2] or one[3] for one in found if one is not None}


def pods() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What every pod of the charts, and its container, may do."""
    dagster, ray = (
        yaml.safe_load((DEPLOY / "helm" / f"{name}-values.yaml").read_text())
        for name in ("dagster", "raycluster")
    )
    runs = dagster["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    found = {
        "run": {
            "podSecurityContext": runs["podSpecConfig"]["securityContext"],
            "securityContext": runs["containerConfig"]["securityContext"],
        },
        "webserver": dagster["dagsterWebserver"],
        "daemon": dagster["dagsterDaemon"],
        "head": ray["head"],
        "worker": ray["worker"],
    }
    found |= {one["name"]: one for one in dagster["dagster-user-deployments"]["deployments"]}
    return {
        name: (one["podSecurityContext"], one["securityContext"]) for name, one in found.items()
    }


def commands() -> Iterator[list[str]]:
    """Everything that is run in the image, as words."""
    for service in sorted(OURS):
        yield shlex.split(services()[service]["command"])
        how, *words = services()[service]["healthcheck"]["test"]
        assert how == "CMD"
        yield words
    for values in HELM:
        text = yaml.safe_load(values.read_text())
        for one in text.get("dagster-user-deployments", {}).get("deployments", []):
            # As the chart begins it.
            serve = ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", str(one["port"])]
            yield [*serve, *one["dagsterApiGrpcArgs"]]
        for group in sorted(text.keys() & {"head", "worker"}):
            # As the operator makes it.
            parameters = text[group]["rayStartParams"]
            yield ["ray", "start", *(f"--{name}={value}" for name, value in parameters.items())]


def test_the_services_are_those_of_a_deployment_and_each_is_looked_after() -> None:
    assert services().keys() == OURS | {"postgres"}
    assert set(compose()) - {"name", "networks", "services", "volumes"} == {
        key for key in compose() if key.startswith("x-")
    }
    for name, service in services().items():
        assert set(service) <= SERVICE_KEYS, name
        assert service["restart"] == "unless-stopped", name
        assert {"test", "interval", "timeout", "retries", "start_period"} == set(
            service["healthcheck"]
        )
        for other, how in service.get("depends_on", {}).items():
            assert (other in services(), how) == (True, {"condition": "service_healthy"})
    for name in OURS:
        assert services()[name]["cap_drop"] == ["ALL"]
        assert services()[name]["security_opt"] == ["no-new-privileges:true"]
    (device,) = services()["ray-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_only_this_host_reaches_what_is_published() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:3000:3000", "127.0.0.1:8265:8265"]


def test_only_dagsters_services_reach_the_database() -> None:
    networks = {name: set(service["networks"]) for name, service in services().items()}
    assert set.union(*networks.values()) == compose()["networks"].keys()
    reached = {name for name in services() if networks[name] & networks["postgres"]}
    assert reached == DAGSTER | {"postgres"}
    for name, service in services().items():
        for other in service.get("depends_on", {}):
            assert networks[name] & networks[other], (name, other)


def test_the_password_is_where_the_database_is_and_whoever_has_the_instances_file_has_both() -> (
    None
):
    having = {
        variable: {name for name in services() if variable in services()[name]["environment"]}
        for variable in (settings.POSTGRES_URL_VARIABLE, "PGPASSWORD", "RAY_AUTH_TOKEN")
    }
    file = {
        name
        for name, service in services().items()
        if any(
            mount.split(":")[1].endswith("/dagster.yaml") for mount in service.get("volumes", [])
        )
    }
    assert having == {
        settings.POSTGRES_URL_VARIABLE: DAGSTER,
        "PGPASSWORD": DAGSTER,
        "RAY_AUTH_TOKEN": RAY | {"code-server"},
    }
    assert file == DAGSTER


def test_only_what_works_with_the_storage_has_its_keys() -> None:
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    for name, service in services().items():
        works = name in ("code-server", "ray-worker")
        assert keys & service["environment"].keys() == (keys if works else set()), name
    ray = yaml.safe_load((DEPLOY / "helm/raycluster-values.yaml").read_text())
    assert "envFrom" in ray["worker"]
    assert "envFrom" not in ray["head"]


def test_a_storage_of_ones_own_is_reached_by_what_the_services_are_given(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "AWS_REGION": s3.options["aws_region"],
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_ALLOW_HTTP": example()["AWS_ALLOW_HTTP"],
    }
    for service in ("code-server", "ray-worker"):
        assert given.keys() <= services()[service]["environment"].keys()
    for name in (*given, "OCR_ASSETS_VIDEO_SOURCE_STORAGE_OPTIONS"):
        monkeypatch.setenv(name, given.get(name) or example()[name])
    name = "OCR_ASSETS_TABLES_STORAGE_OPTIONS"
    monkeypatch.setenv(name, example()[name])
    open_store("s3://tables", StorageOptions()).put(
        f"videos/{MONDAY.isoformat()}/clip.mp4", b"some bytes"
    )
    source = configured(VideoSource, "video_source", root="s3://tables/videos")
    assert [sample.sample_id for sample in source.samples(MONDAY)] == [f"{MONDAY}/clip.mp4"]
    tables = configured(Tables, "tables", root="s3://tables/tables")
    assert tables.storage_options == source.storage_options == {"max_retries": "20"}
    table = PartitionedTable(tables.folder, "numbers", Numbers)
    write(table, MONDAY, 1, 2)
    assert numbers(table, MONDAY) == [1, 2]


def test_a_second_host_starts_the_worker_alone() -> None:
    (line,) = re.findall(r"docker (compose up .* --no-deps .*)", COMPOSE.read_text())
    service = line.split()[-1]
    assert (service, set(services()[service]["depends_on"])) == ("ray-worker", {"ray-head"})


def test_every_pod_is_of_the_images_user_and_may_do_nothing_else() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    ((user, group),) = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert len(pods()) == 6
    for name, (pod, container) in pods().items():
        assert pod == {
            "runAsUser": int(user),
            "runAsGroup": int(group),
            "fsGroup": int(group),
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        assert container == {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }, name


def test_the_resources_of_runs_are_where_they_count() -> None:
    theirs = yaml.safe_load((DEPLOY / "helm/dagster-values.yaml").read_text())
    runs = theirs["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    (server,) = theirs["dagster-user-deployments"]["deployments"]
    # The server's go for its runs, too, and before what the launcher has.
    assert server["includeConfigInLaunchedRuns"] == {"enabled": True}
    assert "resources" in server
    assert "resources" not in runs["containerConfig"]


def test_every_image_has_its_version() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    images = {service["image"] for service in services().values()}
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    images |= set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    assert f"ocr-assets:{version}" in images
    assert all(re.fullmatch(r"[a-z/-]+:\d+\.\d+(\.\d+)?(-[\w-]+)?", image) for image in images)
    for values in HELM:
        text = yaml.safe_load(values.read_text())
        for image in [
            text.get("image"),
            text.get("dagsterWebserver", {}).get("image"),
            text.get("dagsterDaemon", {}).get("image"),
            *(
                one["image"]
                for one in text.get("dagster-user-deployments", {}).get("deployments", [])
            ),
        ]:
            assert image is None or image["tag"] == version


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_exists_and_takes_its_options(words: list[str]) -> None:
    if words[0] == "python":
        assert words[1] == "-c"
        compile(words[2], "compose.yaml", "exec")
        return
    scripts = importlib.metadata.entry_points(group="console_scripts")
    command: Any = next(script for script in scripts if script.name == words[0]).load()
    if command.__name__ == "main":  # around the command itself
        command = command_of(words[0])
    parsed(command, words[0], words[1:])


def command_of(program: str) -> click.Command:
    if program == "dagster":
        from dagster._cli import cli

        return cli
    if program == "dagster-daemon":
        from dagster._daemon.cli import cli as daemon

        return daemon
    if program == "dagster-webserver":
        from dagster_webserver.cli import dagster_webserver

        return dagster_webserver
    from ray.scripts.scripts import cli as ray

    return ray


def parsed(command: click.Command, name: str, words: list[str]) -> None:
    """Has click take the words apart, down to the last command, without running it.

    Raises:
        click.UsageError: There is no such command or option, or a value is none.
    """
    context = click.Context(command, info_name=name)
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, click.Context(found, context, info_name=name)
    command.parse_args(context, words)


def test_every_variable_means_something_to_whom_it_is_given() -> None:
    ours = {value for name, value in vars(settings).items() if name.endswith("_VARIABLE")}
    ours |= {
        f"{settings.field_prefix(name)}{field.upper()}"
        for name, kind in (resource_configs() | op_configs()).items()
        for field in kind.model_fields
    }
    for path in [*DEPLOY.rglob("*.yaml"), DEPLOY / "Dockerfile", DEPLOY / ".env.example"]:
        for name in VARIABLE.findall(path.read_text()):
            if name.startswith("OCR_ASSETS_"):
                assert name in ours, path
            else:
                assert is_read(name), path


def is_read(variable: str) -> bool:
    """Whether the package whose variable it is has it in its code."""
    (package,) = [package for prefix, package in READERS.items() if variable.startswith(prefix)]
    (folder,) = importlib.import_module(package).__path__
    return any(variable in file.read_text() for file in Path(folder).rglob("*.py"))


def test_every_variable_that_is_asked_for_is_in_the_example_and_has_no_value_if_it_is_secret() -> (
    None
):
    asked = set(INTERPOLATED.findall(COMPOSE.read_text()))
    passed = {
        name
        for service in services().values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }
    assert asked | passed == example().keys()
    for name, value in example().items():
        assert not re.search("PASSWORD|TOKEN|KEY", name) or value == "", name


def test_no_secret_is_written_in() -> None:
    secret = re.compile(r"password|token$|secret|access_key", re.IGNORECASE)
    for service in services().values():
        for name, value in service["environment"].items():
            if secret.search(name):
                assert value is None or value.startswith("${"), name
    for values in HELM:
        text = values.read_text()
        assert not re.search(r"postgresqlPassword:", text)
        for name in re.findall(r"name: (\w+), value:", text):
            assert not secret.search(name), name


def test_every_file_that_is_mounted_or_copied_exists() -> None:
    volumes = compose()["volumes"]
    for service in services().values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in volumes
    build = services()["code-server"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert (context, context / build["dockerfile"]) == (PROJECT, DEPLOY / "Dockerfile")
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (PROJECT / source).exists()
            assert f"!{source}" in ignored


def test_the_image_is_installed_with_extras_that_there_are() -> None:
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert {"object-storage", "ray", "postgres"} <= set(extras.split(","))


def test_the_instance_of_the_services_is_the_postgresql_beside_them(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = {
        mount.split(":")[1]: DEPLOY / mount.split(":")[0]
        for mount in services()["daemon"]["volumes"]
    }
    (tmp_path / "dagster.yaml").write_text(mounts["/opt/dagster/dagster.yaml"].read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    given = services()["daemon"]["environment"][settings.POSTGRES_URL_VARIABLE]
    monkeypatch.setenv(settings.POSTGRES_URL_VARIABLE, given)
    assert describe_storage()[0] == "PostgreSQL, dagster@postgres:5432/dagster"
    monkeypatch.setenv(settings.POSTGRES_URL_VARIABLE, postgres_url)
    with open_instance() as instance:
        assert "Postgres" in type(instance.run_storage).__name__
        assert type(instance.run_launcher).__name__ == "HostRunLauncher"


def test_the_workspace_names_the_server_that_listens() -> None:
    (entry,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = entry["grpc_server"]
    words = shlex.split(services()[server["host"]]["command"])
    options = dict(itertools.pairwise(words))
    assert options["-p"] == str(server["port"])
    assert options["--location-name"] == server["location_name"]
    assert str(server["port"]) in services()[server["host"]]["healthcheck"]["test"]


def test_the_cluster_of_kubernetes_has_the_limits_of_the_projects_own_instance() -> None:
    ours = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    theirs = yaml.safe_load((DEPLOY / "helm/dagster-values.yaml").read_text())
    pools, runs = ours["concurrency"]["pools"], ours["concurrency"]["runs"]
    assert theirs["concurrency"] == {
        "enabled": True,
        "pools": {"granularity": pools["granularity"], "defaultLimit": pools["default_limit"]},
        "runs": {
            "maxConcurrentRuns": runs["max_concurrent_runs"],
            "tagConcurrencyLimits": runs["tag_concurrency_limits"],
        },
    }
    retries = theirs["dagsterDaemon"]["runRetries"]
    assert retries == {
        "enabled": ours["run_retries"]["enabled"],
        "maxRetries": ours["run_retries"]["max_retries"],
        "retryOnAssetOrOpFailure": ours["run_retries"]["retry_on_asset_or_op_failure"],
    }


def test_the_examples_are_installed_with_the_package(tmp_path: Path) -> None:
    data = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    patterns = data["tool"]["setuptools"]["package-data"]["ocr_assets"]
    found = {path for pattern in patterns for path in (PROJECT / "ocr_assets").glob(pattern)}
    there = {path for path in DEPLOY.rglob("*") if path.is_file() and path.name != ".env"}
    assert there <= found


def test_passwords_are_neither_in_the_image_nor_in_the_package() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored.index("**/.env") > ignored.index(
        "!ocr_assets"
    )  # the last one that matches counts
    data = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    patterns = data["tool"]["setuptools"]["package-data"]["ocr_assets"]
    assert not [pattern for pattern in patterns if fnmatch.fnmatch("deploy/.env", pattern)]
