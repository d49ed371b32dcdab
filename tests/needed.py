"""What some tests need and not every machine has."""

import os
from typing import NoReturn

import pytest


def is_missing(what: str, package: str) -> NoReturn:
    """Ends a test, or all that use a fixture, for want of a program.

    They are skipped, but fail where `CI` is set: nothing may be skipped unseen there.

    Args:
        what: The program.
        package: Debian's name of what installs it.
    """
    message = f"no {what}: install the package `{package}` of Debian"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
