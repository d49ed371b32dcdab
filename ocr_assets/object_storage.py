"""Folders that are no folders: `s3://bucket/prefix` and its like.

polars, deltalake and obstore stand on the same library, so that one mapping of options serves all
three, and each of them finds credentials in the environment (`AWS_ACCESS_KEY_ID` and so on) by
itself.

```python
store = open_store("s3://videos/2026", {"aws_endpoint_url": "http://127.0.0.1:9000"})
store.head("clip.mp4")["size"]
```
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.util
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

StorageOptions = Mapping[str, str]

# A drive letter is one character; file:// is a folder like any other, without the three slashes.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
CLIENT_OPTIONS = ("allow_http", "connect_timeout", "timeout", "proxy_url")
MAX_RETRIES, RETRY_TIMEOUT = "max_retries", "retry_timeout"
USER = re.compile(r"://[^/]*@")
SECRET = re.compile(r"secret|token|password|credential|key(?!_prefix)|sas|authorization", re.I)


class ObjectStorageUnavailableError(ImportError):
    """The packages for object storage are not installed; the message says how they are."""


class StorageOptionsError(ValueError):
    """The options of an object storage make no sense; the message names the one that does not."""


def is_url(text: str) -> bool:
    """Whether it names a place in an object storage and not a folder."""
    return URL.match(text) is not None


def refuse_secrets(options: StorageOptions) -> None:
    """Options are shown in the launchpad and kept with every run, so that keys do not belong there.

    Raises:
        ValueError: One of them looks like a key; its value is not in the message.
    """
    for name, value in options.items():
        if SECRET.search(name):
            raise ValueError(
                f"storage_options may not hold {name!r}: they are shown in the web UI and kept "
                f"with every run. Put it into the environment instead, as {name.upper()}"
            )
        if USER.search(value):
            raise ValueError(
                f"storage_options may not hold a user in the URL of {name!r}: they are shown in "
                "the web UI and kept with every run"
            )


def options_for_polars(options: StorageOptions) -> dict[str, object]:
    """The options as polars takes them, which has numbers where others have text."""
    given: dict[str, object] = {name.lower(): value for name, value in options.items()}
    given.pop(RETRY_TIMEOUT, None)
    if MAX_RETRIES in given:
        given[MAX_RETRIES] = int(str(given[MAX_RETRIES]))
    return given


def ensure_installed(url: str) -> None:
    """Looks for the package without importing it.

    Raises:
        ObjectStorageUnavailableError: It is not installed.
    """
    if importlib.util.find_spec("obstore") is None:
        raise ObjectStorageUnavailableError(
            f"{url} is in an object storage; `pip install 'ocr-assets[object-storage]'` installs "
            "what reads it"
        )


def open_store(url: str, options: StorageOptions) -> ObjectStore:
    """The objects below a place; opened once per process.

    Args:
        url: `s3://bucket/prefix`, `gs://`, `az://` and what else obstore knows.
        options: As polars and deltalake take them, `aws_endpoint_url` for example.

    Raises:
        ObjectStorageUnavailableError: obstore is not installed.
        StorageOptionsError: There is no such kind of storage, or no such option.
    """
    return _opened(url, tuple(sorted(options.items())))


@functools.lru_cache(maxsize=256)
def _opened(url: str, options: tuple[tuple[str, str], ...]) -> ObjectStore:
    ensure_installed(url)
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    given = {name.lower(): value for name, value in options}
    client: ClientConfig = {}
    for name in CLIENT_OPTIONS:
        value = given.pop(f"aws_{name}", given.pop(name, None))
        if value is not None:
            client[name] = value == "true" if name == "allow_http" else value  # type: ignore[literal-required]
    retry: RetryConfig = {}
    if MAX_RETRIES in given:
        retry["max_retries"] = int(given.pop(MAX_RETRIES))
    if RETRY_TIMEOUT in given:
        retry["retry_timeout"] = _seconds(given.pop(RETRY_TIMEOUT))
    try:
        return from_url(
            url,
            config=given or None,  # type: ignore[arg-type]
            client_options=client or None,
            retry_config=retry or None,
        )
    except BaseError as error:
        said = str(error).partition("\n")[0]
        raise StorageOptionsError(f"{url} cannot be opened: {said}") from None


def _seconds(text: str) -> dt.timedelta:
    found = re.fullmatch(r"(\d+) ?s", text)
    if found is None:
        raise StorageOptionsError(f"{RETRY_TIMEOUT} {text!r} is not a number of seconds like 30s")
    return dt.timedelta(seconds=int(found[1]))
