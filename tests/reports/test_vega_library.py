from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from ocr_assets.reports.vega_library import vega_library

anew: Callable[[], str] = vega_library.__wrapped__


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = platformdirs.user_cache_path("ocr_assets")
    assert tmp_path in folder.parents
    return folder


def test_the_library_is_put_together_once_and_taken_from_the_cache_then(cache: Path) -> None:
    library = anew()
    assert "window.vegaEmbed=" in library
    assert "</script" not in library
    (kept,) = cache.iterdir()
    written = kept.stat().st_mtime_ns
    assert anew() == library
    assert kept.stat().st_mtime_ns == written


@pytest.mark.parametrize("left", ["", "half of it", None])
def test_what_is_kept_is_put_together_again_unless_it_is_whole(
    cache: Path, left: str | None
) -> None:
    library = anew()
    (kept,) = cache.iterdir()
    whole = kept.read_text()
    kept.write_text(whole[: len(whole) // 2] if left is None else left)
    assert anew() == library
    assert kept.read_text() == whole


def test_where_nothing_can_be_kept_the_library_is_there_all_the_same(cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("a file in the folder's place")
    assert "window.vegaEmbed=" in anew()
