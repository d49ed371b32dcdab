"""A page of a browser, and what it showed, kept step by step for whoever looks into a test."""

import os
import re
import shutil
from pathlib import Path

from playwright.sync_api import Page

from tests.deployment import PROJECT

FOLDER_VARIABLE = "OCR_ASSETS_SCREENSHOTS"


def folder() -> Path:
    """Where they are kept: `OCR_ASSETS_SCREENSHOTS`, by default `build/screenshots`."""
    return Path(os.environ.get(FOLDER_VARIABLE) or PROJECT / "build" / "screenshots")


class RecordedPage:
    """A page with numbered screenshots, `<name>/<number>-<step>.png`."""

    def __init__(self, page: Page, name: str) -> None:
        """Begins with the first number.

        Args:
            page: What is shown.
            name: Of the test. Screenshots of its earlier runs are deleted.
        """
        self.page = page
        self._folder = folder() / _plain(name)
        self._taken = 0
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    def record(self, step: str, *, whole: bool = False) -> None:
        """Keeps a screenshot of what is shown now.

        Args:
            step: What has just been done, in a few words.
            whole: Whether what must be scrolled to is on it, too.
        """
        self._taken += 1
        path = self._folder / f"{self._taken:02}-{_plain(step)}.png"
        self.page.screenshot(path=path, full_page=whole)


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")
