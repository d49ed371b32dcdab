"""Debian's Chromium without a window, driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

# It runs as root in containers, without a GPU, and has nothing to look for outside this machine.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
WIDTH, HEIGHT = 1600, 1100
# Nobody waits this long: a busy machine shows a page late, and a page that is wrong is wrong then.
PATIENCE_SECONDS = 60


def find_chromium() -> str | None:
    """Where it is; None if it is not installed."""
    found = shutil.which("chromium") or "/usr/bin/chromium"
    return found if os.access(found, os.X_OK) else None


@contextmanager
def running_chromium(path: str) -> Iterator[Browser]:
    """A browser, for as long as needed.

    While it is open, playwright's event loop counts as running in this thread, so that nothing else
    in it can use `asyncio.run`: open it for a file of tests, not for a session.
    """
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=FLAGS) as browser,
    ):
        yield browser


def new_page(
    browser: Browser,
    *,
    scale: float = 1,
    width: int = WIDTH,
    height: int = HEIGHT,
    javascript: bool = True,
) -> Page:
    """A page of a fresh profile.

    Args:
        browser: Of which browser.
        scale: Pixels of a screenshot per pixel of the page, in each direction.
        width: The page's, in its own pixels.
        height: The same.
        javascript: Whether scripts run.
    """
    size = ViewportSize(width=width, height=height)
    page = browser.new_page(
        viewport=size,
        device_scale_factor=scale,
        reduced_motion="reduce",
        java_script_enabled=javascript,
    )
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    return page
