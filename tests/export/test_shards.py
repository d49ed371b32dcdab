"""Shards, read back by WebDataset."""

import gc
import json
import re
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.export.conftest import EMPTY_DAY, KEPT_NAMES, Filtered
from tests.export.test_formats import export
from tests.pipeline import DAY, NEXT_DAY

pytest.importorskip("webdataset")


def read(folder: Path) -> list[dict[str, Any]]:
    import webdataset as wds

    urls = [str(path) for path in sorted(folder.iterdir())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it does not close what it reads
        found = list(wds.WebDataset(urls, shardshuffle=False))
        gc.collect()
    return found


def test_samples_come_back_whole_and_in_order(filtered: Filtered, tmp_path: Path) -> None:
    out = tmp_path / "50% of pipe: shards"
    assert export(filtered, out, "--format", "webdataset") == 0
    found = read(out)
    lines = (filtered.kept_lines(DAY) + filtered.kept_lines(NEXT_DAY)).splitlines()
    assert [json.loads(one["json"]) for one in found] == [json.loads(line) for line in lines]
    assert len({one["__key__"] for one in found}) == len(lines)
    for one, name in zip(found, KEPT_NAMES, strict=False):
        assert one["mp4"] == filtered.video(f"{DAY}/".encode() + name).read_bytes()
    both, with_missing, without = found[len(KEPT_NAMES) :]
    assert both["0.mp4"] == filtered.video("clips/a/x.mp4").read_bytes()
    assert both["1.mp4"] == filtered.video("clips/b/x.mp4").read_bytes()
    assert {"0.mp4", "1.mp4"} & with_missing.keys() == {"0.mp4"}
    assert {key for key in without if not key.startswith("__")} == {"json"}


def test_shards_are_bounded_and_hold_plain_names_alone(filtered: Filtered, tmp_path: Path) -> None:
    names = []
    for limit in (("--shard-samples", "2"), ("--shard-bytes", "1")):
        out = tmp_path / limit[0]
        assert export(filtered, out, "--format", "webdataset", "--date", DAY, *limit) == 0
        shards = sorted(out.iterdir())
        counts = []
        for shard in shards:
            with tarfile.open(shard) as tar:
                names += tar.getnames()
                counts.append(sum(name.endswith(".json") for name in tar.getnames()))
        assert counts == ([2, 2, 1] if "samples" in limit[0] else [1] * 5)
        assert [shard.name for shard in shards] == [f"{i:06d}.tar" for i in range(len(shards))]
    assert all(re.fullmatch(rf"{DAY}-\d{{8}}\.(mp4|json)", name) for name in names)


def test_the_same_samples_give_the_same_bytes_and_force_replaces_shards_alone(
    filtered: Filtered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shards"
    chosen = ("--format", "webdataset", "--date", DAY)
    assert export(filtered, out, *chosen, "--shard-samples", "1") == 0
    first = (out / "000000.tar").read_bytes()
    assert export(filtered, out, *chosen, "--force") == 0
    assert [path.name for path in out.iterdir()] == ["000000.tar"]
    assert (out / "000000.tar").read_bytes().startswith(first[:1024])
    (out / "notes.txt").touch()
    with pytest.raises(SystemExit, match="2"):
        export(filtered, out, *chosen, "--force")
    assert "holds notes.txt, which is no shard" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_rejected_samples_have_the_reason_in_their_json(filtered: Filtered, tmp_path: Path) -> None:
    out = tmp_path / "rejected"
    assert export(filtered, out, "--format", "webdataset", "--rejected") == 0
    found = read(out)
    metas = [json.loads(one["json"])["__dj__meta__"] for one in found]
    assert [meta["verdict"] for meta in metas] == ["quarantine", "drop", "drop", "quarantine"]
    assert "mkv" in found[2]


def test_a_day_without_samples_is_an_empty_shard(filtered: Filtered, tmp_path: Path) -> None:
    out = tmp_path / "none"
    assert export(filtered, out, "--format", "webdataset", "--date", EMPTY_DAY) == 0
    with tarfile.open(out / "000000.tar") as tar:
        assert tar.getnames() == []


def test_without_the_package_the_command_says_what_to_install(
    filtered: Filtered, tmp_path: Path
) -> None:
    arguments = ["export", "--data", str(filtered.data), "--format", "webdataset", "--out", "out"]
    program = (
        "import sys; sys.modules['webdataset'] = None\n"
        f"from ocr_assets.cli import main; sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "pip install 'ocr-assets[webdataset]'" in line
    assert not (tmp_path / "out").exists()
