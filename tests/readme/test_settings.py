"""What README says of variables and settings is what the code has."""

import inspect
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from ocr_assets import settings
from ocr_assets.definitions import defs
from tests.browser.recorded_page import FOLDER_VARIABLE
from tests.configs import op_configs, resource_configs
from tests.conftest import PARITY_VARIABLE
from tests.readme import settings_tables
from tests.readme.markdown import PROJECT, README, blocks, prose, tables

MEND = "run `python -m tests.readme.settings_tables --write`"
# A setting with its default behind it, as in "`max_seconds` (600)".
SAID = re.compile(r"`([a-z_]+)`\s+\(((?:\d[\d.,]*\d|\d)(?: GiB| million| x \d+)?|a day)\b")
OF_TESTS = {PARITY_VARIABLE, FOLDER_VARIABLE}
VARIABLE = re.compile(r"OCR_ASSETS(?:_[A-Z]+)+")
VARIABLES = {name for constant, name in vars(settings).items() if constant.endswith("_VARIABLE")}
# Defaults that README puts into words, since they are not the same everywhere.
IN_WORDS = {
    settings.STATE_VARIABLE: "the user's runtime folder",
    settings.POSTGRES_URL_VARIABLE: "SQLite",
    settings.POSTGRES_URL_FILE_VARIABLE: "",
}


def documented_variables() -> dict[str, str]:
    """The default of every variable in README's table."""
    (table,) = [one for one in tables(README.read_text()) if one.head[0] == "variable"]
    rows = {row[0].strip("`"): row[-1].strip("`") for row in table.rows}
    return {name: default for name, default in rows.items() if "<" not in name}


def test_the_tables_of_settings_are_those_of_the_code() -> None:
    found = settings_tables.MARKED.findall(README.read_text())
    assert len(found) == 1, "README has lost its marks around the tables of settings"
    assert found == [settings_tables.rendered()], MEND


def test_every_variable_is_in_readme_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() & VARIABLES:
        monkeypatch.delenv(name)
    readers = inspect.getmembers(settings, inspect.isfunction)
    defaults = {}
    for name in VARIABLES:
        # The function that reads a variable names it in its docstring.
        reader = next(one for _, one in readers if f"`{name}`" in (inspect.getdoc(one) or ""))
        defaults[name] = IN_WORDS[name] if name in IN_WORDS else str(reader())
    assert documented_variables() == defaults


def test_every_variable_that_readme_names_exists() -> None:
    configs = resource_configs() | op_configs()
    of_fields = {
        f"{settings.field_prefix(name)}{field.upper()}"
        for name, kind in configs.items()
        for field in kind.model_fields
    }
    prefixes = {settings.field_prefix(name).removesuffix("_") for name in configs}
    named = set(VARIABLE.findall(README.read_text()))
    assert named - VARIABLES - of_fields - prefixes - OF_TESTS == set()


def test_defaults_in_sentences_are_those_of_the_code() -> None:
    defaults: dict[str, list[object]] = {}
    for kind in (resource_configs() | op_configs()).values():
        for name, field in kind.model_fields.items():
            defaults.setdefault(name, []).append(field.default)
    said = SAID.findall(prose(README.read_text()))
    found = {(name, number_of(text)) for name, text in said if name in defaults}
    assert len(found) >= 10
    assert [(name, number) for name, number in found if number not in defaults[name]] == []


def number_of(text: str) -> float:
    """`4 GiB`, `10 million`, `8192 x 4320` or `a day` as a number."""
    for words, factor in {
        "a ": "1 ",
        "GiB": "1073741824",
        "million": "1e6",
        "day": "86400",
    }.items():
        text = text.replace(words, factor)
    factors = text.replace("x", "").replace(",", "").split()
    return math.prod(map(float, factors))


def test_the_example_of_a_configuration_is_one() -> None:
    (example,) = [block for block in blocks(README.read_text()) if block.language == "yaml"]
    config = yaml.safe_load(example.text)
    assert dg.validate_run_config(defs.resolve_job_def("daily_job"), config)


def test_nothing_need_be_set_where_there_is_no_gpu(tmp_path: Path) -> None:
    program = (
        "import dagster as dg\n"
        "from ocr_assets.definitions import defs, easyocr\n"
        "dg.Definitions.validate_loadable(defs)\n"
        "dg.validate_run_config(defs.resolve_job_def('daily_job'), {})\n"
        "print(easyocr.plan().sentence())"
    )
    kept = {name: text for name, text in os.environ.items() if name not in VARIABLES}
    laptop = {
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(PROJECT),
        settings.STATE_VARIABLE: os.environ[settings.STATE_VARIABLE],
    }
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=kept | laptop,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "on the CPU" in found.stdout
    assert list(tmp_path.iterdir()) == []
