"""The detector's settings of a code location: OCR_ASSETS_EASYOCR_<FIELD>."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ocr_assets.configured import configured
from ocr_assets.resources.decoder import VideoDecoder
from ocr_assets.resources.easyocr import EasyOCRResource
from ocr_assets.resources.tables import Tables
from ocr_assets.settings import SettingError, field_prefix
from ocr_assets.video.limits import VideoLimits
from tests.clips import numbered, write_video
from tests.fake_nvml import GIB, FakeNvml


def configure(monkeypatch: pytest.MonkeyPatch, **fields: str) -> None:
    for name, text in fields.items():
        monkeypatch.setenv(f"{field_prefix('easyocr')}{name.upper()}", text)


def as_configured() -> EasyOCRResource:
    return configured(EasyOCRResource, "easyocr")


def in_a_run(easyocr: EasyOCRResource, config: dict[str, Any] | None = None) -> EasyOCRResource:
    """The resource as a step gets it, where the run's config sets some of its fields."""
    given = []

    @dg.op
    def step(easyocr: EasyOCRResource) -> None:
        given.append(easyocr)

    @dg.job(resource_defs={"easyocr": easyocr})
    def job() -> None:
        step()

    job.execute_in_process(
        run_config={"resources": {"easyocr": {"config": config}}} if config else {}
    )
    return given[0]


def fields_of(easyocr: EasyOCRResource) -> dict[str, Any]:
    return {name: getattr(easyocr, name) for name in EasyOCRResource.model_fields}


def test_without_variables_every_field_has_its_default() -> None:
    assert fields_of(as_configured()) == fields_of(EasyOCRResource())
    assert fields_of(in_a_run(as_configured())) == fields_of(EasyOCRResource())


def test_variables_set_fields_of_every_type_and_empty_ones_set_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(
        monkeypatch,
        device="cpu",
        max_batch_frames="8",
        max_fraction="0.5",
        recognize="true",
        max_readers_per_gpu="null",
        languages='["en", "fr"]',
        state_directory="/run/leases",
        idle_seconds="",
    )
    wanted = {
        "device": "cpu",
        "max_batch_frames": 8,
        "max_fraction": 0.5,
        "recognize": True,
        "max_readers_per_gpu": None,
        "languages": ["en", "fr"],
        "state_directory": "/run/leases",
    }
    easyocr = as_configured()
    assert isinstance(easyocr, EasyOCRResource)
    for found in (easyocr, in_a_run(easyocr)):
        assert fields_of(found) == {**fields_of(EasyOCRResource()), **wanted}


def test_a_run_that_sets_one_field_keeps_the_code_locations_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch, max_batch_frames="8", recognize="true", max_readers_per_gpu="null")
    run = in_a_run(as_configured(), {"device": "cpu"})
    assert (run.device, run.max_batch_frames, run.recognize) == ("cpu", 8, True)
    assert run.max_readers_per_gpu is None
    run = in_a_run(as_configured(), {"recognize": False, "max_readers_per_gpu": 2})
    assert (run.recognize, run.max_readers_per_gpu, run.max_batch_frames) == (False, 2, 8)
    configure(monkeypatch, max_readers_per_gpu="1")
    assert in_a_run(as_configured(), {"max_readers_per_gpu": None}).max_readers_per_gpu is None


def test_bounds_hold_for_what_a_run_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, max_batch_frames="8")
    with pytest.raises(dg.DagsterResourceFunctionError):
        in_a_run(as_configured(), {"max_batch_frames": 1000})


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (
            {"devise": "cpu"},
            r"^OCR_ASSETS_EASYOCR_DEVISE: the resource easyocr has no field devise; it has "
            r"languages, recognize, precision, device, .*, add_margin$",
        ),
        (
            {"max_batch_frames": "many"},
            r"^OCR_ASSETS_EASYOCR_MAX_BATCH_FRAMES='many': Input should be a valid integer",
        ),
        (
            {"max_batch_frames": "0", "max_fraction": "2"},
            r"OCR_ASSETS_EASYOCR_MAX_BATCH_FRAMES='0': .*; OCR_ASSETS_EASYOCR_MAX_FRACTION='2': ",
        ),
        ({"device": "null"}, r"^OCR_ASSETS_EASYOCR_DEVICE=None: Input should be 'auto', 'cpu' or"),
        ({"languages": "[en]"}, r"^OCR_ASSETS_EASYOCR_LANGUAGES='\[en\]' is not JSON"),
        ({"languages": "[1]"}, r"^OCR_ASSETS_EASYOCR_LANGUAGES=\[1\]: Input should be a valid st"),
        (
            {"when_gpu_full": "cpu", "device": "cuda"},
            r"^OCR_ASSETS_EASYOCR_DEVICE='cuda', OCR_ASSETS_EASYOCR_WHEN_GPU_FULL='cpu': device "
            r"`cuda` rules the CPU out",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], complaint: str
) -> None:
    configure(monkeypatch, **fields)
    with pytest.raises(SettingError, match=complaint) as refused:
        as_configured()
    assert isinstance(refused.value, ValueError)


def ocr_assets(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    return subprocess.run(
        [sys.executable, "-m", "ocr_assets.cli", *arguments],
        capture_output=True,
        text=True,
        env=inherited | environment,
        check=False,
    )


def test_the_doctor_plans_with_the_code_locations_settings(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(24 * GIB)
    done = ocr_assets(
        "doctor",
        "--json",
        OCR_ASSETS_EASYOCR_FOOTPRINT_BYTES=str(2 * GIB),
        OCR_ASSETS_EASYOCR_MAX_READERS_PER_GPU="null",
        OCR_ASSETS_EASYOCR_DEVICE="cuda",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["slots_now"] == 10


def test_a_command_refuses_a_wrong_setting_in_one_line(tmp_path: Path) -> None:
    for command in (
        ("doctor",),
        ("run", "--source", str(tmp_path), "--data", str(tmp_path / "out")),
    ):
        done = ocr_assets(*command, OCR_ASSETS_EASYOCR_DEVICE="tpu")
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("ocr-assets: ")
        assert "OCR_ASSETS_EASYOCR_DEVICE='tpu': Input should be 'auto'" in line


def test_a_run_detects_where_the_code_location_says_unless_it_says_otherwise(
    fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    fake_nvml.set_init_error(9)
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "a.mp4", numbered(3))
    arguments = ("run", "--source", str(tmp_path / "clips"), "--data", str(tmp_path / "out"))
    on_cuda = {"OCR_ASSETS_EASYOCR_DEVICE": "cuda", "OCR_ASSETS_EASYOCR_WHEN_GPU_FULL": "fail"}
    done = ocr_assets(*arguments, **on_cuda)
    assert done.returncode == 1
    assert "ocr-assets: ocr_boxes failed: " in done.stderr
    assert "set device to `auto` or `cpu`" in done.stderr
    assert ocr_assets(*arguments, "--device", "cpu", **on_cuda).returncode == 0


def test_every_resource_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_ASSETS_DECODER_MAX_SECONDS", "30")
    monkeypatch.setenv("OCR_ASSETS_TABLES_MAX_QUARANTINED_SHARE", "0.1")
    assert configured(VideoDecoder, "decoder").limits() == VideoLimits(max_seconds=30)
    tables = configured(Tables, "tables", root="there")
    assert (tables.root, tables.max_quarantined_share) == ("there", 0.1)
    monkeypatch.setenv("OCR_ASSETS_DECODER_MAX_SECONDS", "0")
    with pytest.raises(SettingError, match=r"^OCR_ASSETS_DECODER_MAX_SECONDS='0': Input should be"):
        configured(VideoDecoder, "decoder")
