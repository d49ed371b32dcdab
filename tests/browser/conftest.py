"""A browser for the tests of a file, and a page with its screenshots for each."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog

from tests.browser.chromium import find_chromium, new_page, running_chromium
from tests.browser.recorded_page import RecordedPage
from tests.browser.report_days import RULE
from tests.browser.report_page import ReportPage, open_report
from tests.needed import is_missing

FAILED = pytest.StashKey[bool]()

OpenPage = Callable[..., AbstractContextManager[RecordedPage]]
OpenReport = Callable[..., AbstractContextManager[ReportPage]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lets a fixture know, when it is torn down, that the test has failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        is_missing("Chromium", "chromium")
    with running_chromium(path) as browser:
        yield browser


@pytest.fixture(scope="module")
def open_page(browser: Browser) -> OpenPage:
    """Opens pages under names, made by `new_page`; no script may ask or alert anything on them."""

    @contextmanager
    def opened(name: str, **options: Any) -> Iterator[RecordedPage]:
        recorded = RecordedPage(new_page(browser, **options), name)
        said: list[str] = []

        def refuse(dialog: Dialog) -> None:
            said.append(dialog.message)
            dialog.dismiss()

        recorded.page.on("dialog", refuse)
        try:
            yield recorded
        except BaseException:
            recorded.record("failed")
            raise
        finally:
            recorded.page.context.close()
        assert said == []

    return opened


@pytest.fixture
def recorded_page(open_page: OpenPage, request: pytest.FixtureRequest) -> Iterator[RecordedPage]:
    with open_page(request.node.name) as recorded:
        yield recorded
        if request.node.stash.get(FAILED, False):
            recorded.record("failed")


@pytest.fixture
def opened(
    reports: dict[str, Path], open_page: OpenPage, request: pytest.FixtureRequest
) -> OpenReport:
    """Opens the file's `reports`, of days that were judged by RULE."""

    def opened(day: str, step: str = "", **options: Any) -> AbstractContextManager[ReportPage]:
        return open_report(open_page, reports[day], f"{request.node.name} {step}", RULE, **options)

    return opened


@pytest.fixture
def several(opened: OpenReport) -> Iterator[ReportPage]:
    """The report of samples of several videos."""
    with opened("of several") as report:
        yield report
